//! The end of a message: one delivery for all its recipients, and the replies that follow from it.
//!
//! Recipients elsewhere are entries of the queue that are written in the same transaction.
//!
//! Over LMTP each recipient gets its own reply. SMTP has one reply for all of them. So what can be known before is looked at before: if one recipient cannot have the message (its account got full
//! since RCPT, or the message was delivered to it before), nobody gets it, and the reply says so. A client that tries
//! again is told at RCPT which recipient it is, and delivers to the others. After these checks quotas are not enforced again for
//! a message with several accounts: a full account is exceeded by what is being delivered in that moment, instead of a message being
//! lost for it or delivered twice to the others.
//!
//! A refusal is a promise too: a message that was refused must not appear. When the outcome is not known (the result of a commit stayed
//! unknown, the store did not answer in time, or failed in the middle of a delivery so large that it takes several
//! transactions), no reply would be true, so the connection is closed without one ([`OutcomeUnknown`]); the client repeats the
//! message, as RFC 5321 §6.1 prefers to losing it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_directory::{AccountId, LocalRecipient, Quota};
use ekitei_mailstore::{Companion, Delivery, Error, Flags, Folder, MailboxName, SpecialUse, Target};
use ekitei_telemetry::{trace_count, trace_span};
use tracing::Instrument as _;

use crate::message::Message;
use crate::outgoing::Submitter;
use crate::proto::path::ReversePath;
use crate::proto::reply::{self, Reply};
use crate::recipients::domain_of;
use crate::server::Server;
use crate::session::{Role, Transaction};
use crate::trace;

/// What became of each recipient.
pub(crate) type Verdicts = Vec<Result<(), Reply>>;

/// What became of each account, or why nobody has the message: recipients elsewhere included.
type Stored = Result<HashMap<AccountId, Result<(), Reply>>, Reply>;

/// The message may be there or not, for some recipients or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutcomeUnknown;

impl Server {
    /// Delivers a message to all its recipients: one result for each, in order. For SMTP either all are `Ok`, or all have the same
    /// refusal.
    ///
    /// # Errors
    /// [`OutcomeUnknown`]: nothing may be answered.
    pub(crate) async fn deliver(
        &self,
        transaction: &Transaction,
        message: Message,
        role: Role,
        submitter: Submitter,
        store_timeout: Duration,
    ) -> Result<Verdicts, OutcomeUnknown> {
        let mut verdicts = self.foresee(transaction, &message).await;
        if role != Role::Lmtp
            && let Some(refusal) = verdicts.iter().find_map(|verdict| verdict.as_ref().err().cloned())
        {
            return Ok(vec![Err(refusal); verdicts.len()]);
        }
        let report = self.report(transaction, &message, &verdicts);
        // What is read as a report is not refused after all.
        let strict = report.is_none() && self.enforces_quota(transaction, role);
        let mut targets: Vec<Target> = Vec::new();
        let mut never_fits = HashMap::new();
        for (recipient, verdict) in transaction.recipients.iter().zip(&mut verdicts) {
            let domain = domain_of(&recipient.path);
            for account in recipient.accounts.iter().filter(|_| verdict.is_ok()) {
                if let Entry::Vacant(first) = never_fits.entry(account.account) {
                    let quota = if strict { self.quota(account.account).await } else { None };
                    first.insert(quota.as_ref().is_some_and(|quota| quota.never_fits(message.size())));
                    let junk = message.is_junk_for(domain.as_ref());
                    targets.push(target(account, quota, &transaction.sender, junk));
                }
            }
        }
        let companions = match self.companions(transaction, &message, submitter, &verdicts).await {
            Ok(companions) => companions.into_iter().chain(report).collect::<Vec<_>>(),
            Err(refusal) => return Ok(vec![Err(refusal); verdicts.len()]),
        };
        if targets.is_empty() && companions.is_empty() {
            return Ok(verdicts);
        }
        let outcomes = match self.store(message, targets, companions, store_timeout).await? {
            Ok(outcomes) => outcomes,
            // Recipients elsewhere do not have it, either.
            Err(refusal) => {
                return Ok(verdicts.into_iter().map(|verdict| verdict.and(Err(refusal.clone()))).collect());
            }
        };
        for (recipient, verdict) in transaction.recipients.iter().zip(&mut verdicts) {
            for account in &recipient.accounts {
                if let (Ok(()), Some(Err(refusal))) = (&*verdict, outcomes.get(&account.account)) {
                    let never = *refusal == reply::MAILBOX_FULL && never_fits[&account.account];
                    *verdict = Err(if never { reply::MAILBOX_TOO_SMALL } else { refusal.clone() });
                }
            }
        }
        if role == Role::Lmtp { Ok(verdicts) } else { agree(verdicts) }
    }

    /// Which recipients cannot have the message, as far as it can be known.
    async fn foresee(&self, transaction: &Transaction, message: &Message) -> Verdicts {
        let delivered_to = message.delivered_to();
        let several = transaction.destination_count() > 1 || transaction.success_is_told();
        let mut verdicts = Vec::with_capacity(transaction.recipients.len());
        for recipient in &transaction.recipients {
            let mut verdict = Ok(());
            if recipient.accounts.is_empty() && !self.may_leave(message, recipient) {
                verdict = Err(reply::JUNK_NOT_FORWARDED);
            } else if recipient.forwarded_as().is_some_and(|address| delivered_to.contains(&address)) {
                verdict = Err(reply::DELIVERY_LOOP);
            }
            for account in &recipient.accounts {
                if delivered_to.contains(&account.address) {
                    verdict = Err(reply::DELIVERY_LOOP);
                } else if several && verdict.is_ok() {
                    verdict = self.check_quota(account.account, message.size()).await;
                }
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Whether a refusal by one account concerns nobody else, so that its quota can be enforced within the delivery.
    fn enforces_quota(&self, transaction: &Transaction, role: Role) -> bool {
        if transaction.success_is_told() {
            return false;
        }
        !transaction.leaves() && transaction.account_count() == 1
            || role == Role::Lmtp
                && transaction
                    .recipients
                    .iter()
                    .all(|recipient| recipient.accounts.len() == 1 && recipient.forwards.is_empty())
    }

    async fn quota(&self, account: AccountId) -> Option<Quota> {
        // It was known at RCPT; if it is not now, what RCPT found counts.
        self.context.directory.quota(account).await.ok()
    }

    /// Stores the message, and returns what became of each account; or why nobody has it.
    ///
    /// # Errors
    /// [`OutcomeUnknown`].
    async fn store(
        &self,
        message: Message,
        targets: Vec<Target>,
        companions: Vec<Arc<dyn Companion>>,
        timeout: Duration,
    ) -> Result<Stored, OutcomeUnknown> {
        let accounts: Vec<AccountId> = targets.iter().map(|target| target.account).collect();
        let delivery = Delivery {
            message: message.into_bytes(),
            received: (self.context.clock)(),
            targets,
            companions,
            fence: None,
        };
        let trace = trace_span!(
            "mail.delivery",
            accounts = trace_count(accounts.len()),
            octets = trace_count(delivery.message.len()),
            queued = trace_count(delivery.companions.len()),
        );
        let delivered = self.context.mailstore.deliver(delivery).instrument(trace);
        let outcome = tokio::time::timeout(timeout, delivered).await;
        match outcome {
            Ok(Ok(outcomes)) if outcomes.len() == accounts.len() => {
                let each =
                    outcomes.into_iter().map(|outcome| outcome.map(|_| ()).map_err(|error| refusal(&error)));
                Ok(Ok(accounts.into_iter().zip(each).collect()))
            }
            Ok(Ok(_)) => {
                tracing::error!("the mailstore did not answer for each account");
                Err(OutcomeUnknown)
            }
            Ok(Err(error)) if error.is_outcome_unknown() => {
                tracing::warn!("whether a message is stored is not known");
                Err(OutcomeUnknown)
            }
            Ok(Err(error)) => Ok(Err(refusal(&error))),
            Err(_) => {
                tracing::warn!(seconds = timeout.as_secs(), "a delivery takes too long");
                Err(OutcomeUnknown)
            }
        }
    }
}

/// One verdict for all recipients, or none if some have the message and others not.
fn agree(verdicts: Verdicts) -> Result<Verdicts, OutcomeUnknown> {
    let Some(refusal) = verdicts.iter().find_map(|verdict| verdict.as_ref().err().cloned()) else {
        return Ok(verdicts);
    };
    if verdicts.iter().any(Result::is_ok) {
        tracing::warn!("a message was stored for some of its recipients only; the client has to repeat it");
        return Err(OutcomeUnknown);
    }
    Ok(vec![Err(refusal); verdicts.len()])
}

/// One account that gets the message. Return-Path is the first field of a delivered message (RFC 5321 §4.4), so it stands with the
/// recipient's own fields, in front of the octets that all share.
fn target(recipient: &LocalRecipient, quota: Option<Quota>, sender: &ReversePath, junk: bool) -> Target {
    let named = recipient.detail.as_deref().and_then(|detail| MailboxName::new(detail).ok());
    Target {
        account: recipient.account,
        folder: match named {
            _ if junk => Folder::SpecialUse(SpecialUse::Junk),
            Some(named) => Folder::Named(named),
            None => Folder::Inbox,
        },
        flags: Flags::NONE,
        quota,
        header: Bytes::from(format!(
            "{}Delivered-To: {}\r\n",
            trace::return_path(sender),
            recipient.address.to_wire()
        )),
    }
}

fn refusal(error: &Error) -> Reply {
    match error {
        Error::OverQuota => reply::MAILBOX_FULL,
        Error::TooLarge => reply::TOO_LARGE,
        Error::Limit(_) => reply::TOO_COMPLEX,
        Error::Body(_) if !error.is_of_a_key() => {
            tracing::warn!(%error, "a message body cannot be stored");
            reply::NO_MEMORY
        }
        _ => {
            tracing::warn!(%error, "a message cannot be stored");
            reply::TEMPORARY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smtp_has_no_reply_for_a_message_that_only_some_have() {
        let some = vec![Ok(()), Err(reply::MAILBOX_FULL)];
        assert_eq!(agree(some), Err(OutcomeUnknown));
        let none = vec![Err(reply::TOO_LARGE), Err(reply::TOO_LARGE)];
        assert_eq!(agree(none.clone()), Ok(none));
        assert_eq!(agree(vec![Ok(()), Ok(())]), Ok(vec![Ok(()), Ok(())]));
    }
}
