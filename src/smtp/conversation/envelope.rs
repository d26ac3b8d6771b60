//! MAIL and RCPT, as far as they need to ask somebody.

use ekitei_directory::{AccountId, EmailAddress};

use super::{Conversation, Step, new_id};
use crate::outgoing::Submitter;
use crate::patience::Mistake;
use crate::proto::params::{MailParameters, RcptParameters};
use crate::proto::path::{ForwardPath, ReversePath};
use crate::proto::reply::{self, Reply};
use crate::recipients::{Route, unavailable};
use crate::session::{AcceptedRecipient, Role, Transaction};

impl Conversation {
    pub(super) async fn check_sender(&mut self, sender: ReversePath, parameters: MailParameters) -> Step {
        if let Err(refusal) = self.may_send(&sender).await {
            return self.answer(refusal).await;
        }
        let id = new_id();
        if !self.sender_passes(&id, &sender, &parameters).await? {
            return Ok(());
        }
        tracing::debug!(transaction = %id, sender = sender.as_str(), "transaction begins");
        self.session.begin(Transaction::new(id, sender, parameters));
        self.answer(reply::SENDER_OK).await
    }

    /// Whether a message of this sender may begin now.
    async fn may_send(&self, sender: &ReversePath) -> Result<(), Reply> {
        let limits = &self.server.context.limits;
        let limited = self.offer.role == Role::Mx && !self.trusted;
        if limited && !limits.message_from(self.peer()) {
            return Err(reply::TOO_FAST);
        }
        let Some(account) = self.session.account() else { return Ok(()) };
        if let ReversePath::Mailbox(mailbox) = sender {
            let address = EmailAddress::parse(mailbox.as_str()).map_err(|_| reply::BAD_SENDER)?;
            if !self.owns(account.account, &address).await? {
                return Err(reply::SENDER_NOT_OWNED);
            }
        }
        if limits.message_of(account.account).await { Ok(()) } else { Err(reply::TOO_FAST) }
    }

    /// Whether an account may use an address as its own.
    pub(super) async fn owns(&self, account: AccountId, address: &EmailAddress) -> Result<bool, Reply> {
        let allowed = self.server.context.directory.may_send_as(account, address).await;
        allowed.map_err(|error| unavailable(&error))
    }

    pub(super) async fn check_recipient(&mut self, path: ForwardPath, parameters: RcptParameters) -> Step {
        let outcome = self.find_recipient(&path).await;
        self.count_recipient(&outcome);
        tracing::debug!(recipient = path.as_str(), accepted = outcome.is_ok(), "recipient");
        match outcome {
            Ok(Route { accounts, relayed, forwards }) => {
                if !self.recipient_passes(&path, relayed.is_none(), &parameters).await? {
                    return Ok(());
                }
                let accepted = AcceptedRecipient { path, parameters, accounts, relayed, forwards };
                self.session.accept(accepted);
                self.answer(reply::RECIPIENT_OK).await
            }
            Err(refusal) => {
                self.session.refuse();
                let mistake = match &refusal {
                    refusal if *refusal == reply::UNKNOWN_RECIPIENT => Some(Mistake::UnknownRecipient),
                    // Who asks for it again and again is looking for an open relay.
                    refusal if *refusal == reply::RELAY_DENIED => Some(Mistake::Relay),
                    _ => None,
                };
                let refusal = refusal.about(path.as_str());
                match mistake {
                    Some(mistake) => self.complain(refusal, mistake).await,
                    None => self.answer(refusal).await,
                }
            }
        }
    }

    /// Who brings the mail of this conversation. What a load balancer says of its client never counts, nor does LMTP.
    pub(super) fn submitter(&self) -> Submitter {
        Submitter {
            account: self.session.account().map(|account| account.account),
            trusted: self.trusted && self.offer.role != Role::Lmtp,
        }
    }

    /// Whether the message has nobody to answer to, as a notification of failure has.
    fn is_notification(&self) -> bool {
        self.session.transaction().is_some_and(|transaction| transaction.sender == ReversePath::Null)
    }

    /// Where a recipient leads; accounts have room for the message as far as its size is known.
    async fn find_recipient(&self, path: &ForwardPath) -> Result<Route, Reply> {
        let server = &self.server;
        let routed = server.route(path, self.submitter().may_relay()).await;
        // What came back to an address that we made is for whom it stands for, not for who has what nobody has.
        let is_here = match &routed {
            Ok(route) => route.relayed.is_none(),
            Err(refusal) => *refusal == reply::UNKNOWN_RECIPIENT,
        };
        let rewritten = if is_here && self.is_notification() { server.rewritten_sender(path) } else { None };
        let route = match rewritten {
            Some(sender) => Route { forwards: vec![sender], ..Route::default() },
            None => routed?,
        };
        let (size, known) = self.session.transaction().map_or((0, 0), |transaction| {
            (transaction.parameters.size.unwrap_or(0), transaction.destination_count())
        });
        let limit = usize::try_from(self.config.smtp.max_recipients).unwrap_or(usize::MAX);
        if known > 0 && known + route.destinations() > limit {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        for account in &route.accounts {
            server.check_quota(account.account, size.max(1)).await?;
        }
        if let Some(account) = self.session.account()
            && !server.context.limits.recipient_of(account.account).await
        {
            return Err(reply::TOO_FAST);
        }
        if let Some(address) = &route.relayed {
            self.may_write_to(address).await?;
        }
        Ok(route)
    }

    /// Whether mail of this user to an address elsewhere is queued: not if mail to it keeps bouncing, or the user has sent too much.
    async fn may_write_to(&self, address: &EmailAddress) -> Result<(), Reply> {
        let Some(account) = self.session.account() else { return Ok(()) };
        let queue = &self.server.context.queue;
        let failed = |error: ekitei_queue::Error| {
            tracing::warn!(%error, "the queue cannot be asked about a recipient");
            reply::TEMPORARY
        };
        if queue.suppressed(address).await.map_err(failed)?.is_some() {
            return Err(reply::SUPPRESSED_RECIPIENT);
        }
        let exceeded =
            queue.check_quota(account.account, account.address.domain(), 1).await.map_err(failed)?;
        exceeded.map_or(Ok(()), |exceeded| Err(reply::TOO_MUCH_MAIL.with_text(exceeded.to_string())))
    }

    fn count_recipient(&self, outcome: &Result<Route, Reply>) {
        let outcome = match outcome {
            Ok(route) if route.relayed.is_some() => "relayed",
            Ok(_) => "accepted",
            Err(refusal) if *refusal == reply::UNKNOWN_RECIPIENT => "unknown",
            Err(refusal) if refusal.enhanced.as_deref() == Some("5.7.1") => "relay_denied",
            Err(refusal) if refusal.is_temporary() => "deferred",
            Err(_) => "rejected",
        };
        self.server.context.metrics.recipients.with(&[self.offer.role.name(), outcome]).inc();
    }
}
