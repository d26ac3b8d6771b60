//! Mailboxes, messages, flags, the change log, quota, search and delivery.
