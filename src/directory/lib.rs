//! Domains, accounts, aliases, groups and credentials.
