//! MAIL and RCPT, as far as they need to ask somebody.

use ekitei_directory::{AccountId, EmailAddress, LocalRecipient};

use super::{Conversation, Step, new_id};
use crate::patience::Mistake;
use crate::proto::params::{MailParameters, RcptParameters};
use crate::proto::path::{ForwardPath, ReversePath};
use crate::proto::reply::{self, Reply};
use crate::recipients::unavailable;
use crate::session::{AcceptedRecipient, Role, Transaction};

impl Conversation {
    pub(super) async fn check_sender(&mut self, sender: ReversePath, parameters: MailParameters) -> Step {
        if let Err(refusal) = self.may_send(&sender).await {
            return self.answer(refusal).await;
        }
        let id = new_id();
        tracing::debug!(transaction = %id, sender = sender.as_str(), "transaction begins");
        self.session.begin(Transaction::new(id, sender, parameters));
        self.answer(reply::SENDER_OK).await
    }

    /// Whether a message of this sender may begin now.
    async fn may_send(&self, sender: &ReversePath) -> Result<(), Reply> {
        let (limits, rates) = (&self.config.smtp, &self.server.rates);
        let limited = self.offer.role == Role::Mx && !self.trusted;
        if limited && !rates.message_from(self.peer(), limits.messages_per_address_per_minute) {
            return Err(reply::TOO_FAST);
        }
        let Some(account) = self.session.account() else { return Ok(()) };
        if let ReversePath::Mailbox(mailbox) = sender {
            let address = EmailAddress::parse(mailbox.as_str()).map_err(|_| reply::BAD_SENDER)?;
            if !self.owns(account.account, &address).await? {
                return Err(reply::SENDER_NOT_OWNED);
            }
        }
        if rates.message_of(account.account, limits.submission.messages_per_account_per_minute) {
            Ok(())
        } else {
            Err(reply::TOO_FAST)
        }
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
            Ok(accounts) => {
                self.session.accept(AcceptedRecipient { path, parameters, accounts });
                self.answer(reply::RECIPIENT_OK).await
            }
            Err(refusal) => {
                self.session.refuse();
                let mistake = match &refusal {
                    refusal if *refusal == reply::UNKNOWN_RECIPIENT => Some(Mistake::UnknownRecipient),
                    // Who asks for it again and again is looking for an open relay.
                    refusal if *refusal == reply::RELAY_DENIED => Some(Mistake::Command),
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

    /// The accounts behind a recipient, which have room for the message as far as its size is known.
    async fn find_recipient(&self, path: &ForwardPath) -> Result<Vec<LocalRecipient>, Reply> {
        let server = &self.server;
        let may_relay = self.offer.role != Role::Lmtp && (self.trusted || self.session.account().is_some());
        let accounts = server.route(path, may_relay).await?;
        let (size, known) = self.session.transaction().map_or((0, 0), |transaction| {
            (transaction.parameters.size.unwrap_or(0), transaction.account_count())
        });
        let limit = usize::try_from(self.config.smtp.max_recipients).unwrap_or(usize::MAX);
        if known > 0 && known + accounts.len() > limit {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        for account in &accounts {
            server.check_quota(account.account, size.max(1)).await?;
        }
        if let Some(account) = self.session.account() {
            let per_day = self.config.smtp.submission.recipients_per_account_per_day;
            if !server.rates.recipient_of(account.account, per_day, (server.context.clock)()) {
                return Err(reply::TOO_FAST);
            }
        }
        Ok(accounts)
    }

    fn count_recipient(&self, outcome: &Result<Vec<LocalRecipient>, Reply>) {
        let outcome = match outcome {
            Ok(_) => "accepted",
            Err(refusal) if *refusal == reply::UNKNOWN_RECIPIENT => "unknown",
            Err(refusal) if refusal.enhanced == Some("5.7.1") => "relay_denied",
            Err(refusal) if refusal.is_temporary() => "deferred",
            Err(_) => "rejected",
        };
        self.server.context.metrics.recipients.with(&[self.offer.role.name(), outcome]).inc();
    }
}
