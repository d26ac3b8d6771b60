//! What the filter is asked at each step, and how its verdicts become replies.

use ekitei_filter::{
    Client, Disposition, Envelope, Filter, Judgement, Login, Peer, SenderParameters, TlsSession, Verdict,
};
use ekitei_net::{Connection, TlsInfo};

use super::{Conversation, End, Step};
use crate::judge;
use crate::message::Message;
use crate::patience::Mistake;
use crate::proto::command::Command;
use crate::proto::params::{BodyType, MailParameters, Notify, RcptParameters};
use crate::proto::path::{ForwardPath, ReversePath};
use crate::proto::reply::Reply;
use crate::session::{Mechanism, Role, Transaction};

/// The filter's side of a connection. Only mail that comes from other hosts to the MX is judged.
pub(super) fn session(
    filter: &Filter,
    connection: &Connection,
    role: Role,
    trusted: bool,
) -> ekitei_filter::Session {
    let client = Client {
        address: connection.peer.ip().to_canonical(),
        trusted: trusted || role != Role::Mx,
        authenticated: false,
        tls: connection.tls.is_some(),
    };
    let mut session = filter.session(client, connection.peer.port());
    if let Some(tls) = &connection.tls {
        session.secured(tls_session(tls));
    }
    session
}

/// What the filter is told of TLS.
pub(super) fn tls_session(tls: &TlsInfo) -> TlsSession {
    TlsSession { version: tls.version.to_owned(), cipher: tls.cipher.clone() }
}

/// What scanners are told of a transaction.
fn envelope(transaction: &Transaction) -> Envelope {
    let recipients = transaction.recipients.iter().map(|recipient| recipient.path.as_str().to_owned());
    Envelope {
        id: transaction.id.clone(),
        sender: transaction.sender.as_str().to_owned(),
        recipients: recipients.collect(),
    }
}

impl Conversation {
    /// Asks about EHLO and HELO before they are carried out; `false` if the command was refused. What was known of a transaction is
    /// forgotten in both cases.
    pub(super) async fn hello_passes(&mut self, command: &Command) -> Step<bool> {
        let (Command::Ehlo(name) | Command::Helo(name)) = command else { return Ok(true) };
        let verdict = self.filter.hello(name).await;
        if verdict == Verdict::Continue {
            return Ok(true);
        }
        self.session.apply(Command::Rset, &self.offer);
        self.incoming = None;
        self.refuse(verdict, None).await?;
        Ok(false)
    }

    /// Asks about a sender; `false` if it was refused.
    pub(super) async fn sender_passes(
        &mut self,
        id: &str,
        sender: &ReversePath,
        parameters: &MailParameters,
    ) -> Step<bool> {
        let parameters = SenderParameters { transaction: id.to_owned(), parameters: words(parameters) };
        let verdict = self.filter.sender(sender.as_str(), parameters).await;
        if verdict == Verdict::Continue {
            return Ok(true);
        }
        self.refuse(verdict, None).await?;
        Ok(false)
    }

    /// Asks about a recipient whom the server would take; `false` if it was refused.
    pub(super) async fn recipient_passes(
        &mut self,
        path: &ForwardPath,
        local: bool,
        parameters: &RcptParameters,
    ) -> Step<bool> {
        let verdict = self.filter.recipient(path.as_str(), local, &recipient_words(parameters)).await;
        if verdict == Verdict::Continue {
            return Ok(true);
        }
        self.session.refuse();
        self.refuse(verdict, Some(path.as_str())).await?;
        Ok(false)
    }

    /// Answers with a refusal of the filter. One that is final counts as a mistake of the client.
    async fn refuse(&mut self, verdict: Verdict, about: Option<&str>) -> Step {
        let (refusal, disconnect) = match verdict {
            Verdict::Continue => return Ok(()),
            Verdict::Refuse(refusal) => (refusal, false),
            Verdict::Disconnect(refusal) => (refusal, true),
        };
        let mut reply = judge::reply(refusal);
        if let Some(address) = about {
            reply = reply.about(address);
        }
        if disconnect {
            return Err(End::Say(reply));
        }
        if reply.is_temporary() {
            self.answer(reply).await
        } else {
            self.complain(reply, Mistake::Refused).await
        }
    }

    /// What the filter makes of a message, which is changed as it says; or the refusal.
    pub(super) async fn judge(
        &mut self,
        message: &mut Message,
        transaction: &Transaction,
    ) -> Result<Judgement, Reply> {
        let octets = message.take_octets();
        let content = octets.slice(message.start()..);
        let judgement = match self.session.account() {
            // Nobody holds on to the content when the octets are put back, so that they need not be copied.
            Some(account) => {
                let peer = self.submitting_peer(account.address.to_wire());
                let filter = &self.server.context.filter;
                let judgement = filter.submitted(&peer, &envelope(transaction), &content).await;
                drop(content);
                judgement
            }
            None => self.filter.message(content).await,
        };
        message.put_octets(octets);
        if let Disposition::Refuse(refusal) = judgement.disposition {
            return Err(judge::reply(refusal));
        }
        message.judged(&judgement);
        Ok(judgement)
    }

    /// What scanners are told of a user's connection.
    fn submitting_peer(&self, login: String) -> Peer {
        let client = Client {
            address: self.peer(),
            trusted: self.trusted,
            authenticated: true,
            tls: self.io.connection.tls.is_some(),
        };
        let mechanism = self.session.mechanism().map_or("", Mechanism::name);
        Peer {
            client,
            port: self.io.connection.peer.port(),
            name: None,
            hello: self.session.hello().map(|hello| hello.name.clone()).unwrap_or_default(),
            login: Some(Login { name: login, mechanism: mechanism.to_owned() }),
            tls: self.io.connection.tls.as_ref().map(tls_session),
            hostname: self.config.hostname.clone(),
        }
    }

    /// Makes the changes to the envelope that milters asked for.
    ///
    /// # Errors
    /// Where a new recipient leads cannot be found out now: the client has to come again.
    pub(super) async fn change_envelope(
        &self,
        transaction: &mut Transaction,
        judgement: &Judgement,
    ) -> Result<(), Reply> {
        let changes = &judgement.envelope;
        if let Some(sender) = &changes.sender {
            judge::change_sender(transaction, sender);
        }
        judge::remove_recipients(transaction, &changes.removed);
        for address in &changes.added {
            let Some(path) = judge::forward_path(address) else { continue };
            match self.server.route(&path, self.submitter().may_relay()).await {
                Ok(route) => judge::add_recipient(transaction, path, route),
                Err(refusal) if refusal.is_temporary() => return Err(refusal),
                Err(refusal) => {
                    tracing::warn!(code = refusal.code, "a recipient that a milter added is not taken")
                }
            }
        }
        Ok(())
    }
}

/// Parameters of MAIL as milters are told of them.
fn words(parameters: &MailParameters) -> Vec<String> {
    let size = parameters.size.map(|size| format!("SIZE={size}"));
    let body = parameters.body.map(|body| {
        let value = match body {
            BodyType::SevenBit => "7BIT",
            BodyType::EightBitMime => "8BITMIME",
            BodyType::BinaryMime => "BINARYMIME",
        };
        format!("BODY={value}")
    });
    let utf8 = parameters.smtputf8.then(|| "SMTPUTF8".to_owned());
    size.into_iter().chain(body).chain(utf8).collect()
}

/// Parameters of RCPT as milters are told of them.
fn recipient_words(parameters: &RcptParameters) -> Vec<String> {
    let notify = parameters.notify.map(|Notify { success, failure, delay }| {
        let on = [("SUCCESS", success), ("FAILURE", failure), ("DELAY", delay)];
        let on: Vec<&str> = on.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect();
        format!("NOTIFY={}", if on.is_empty() { "NEVER".to_owned() } else { on.join(",") })
    });
    let original = parameters.original_recipient.as_ref();
    let original = original.map(|original| format!("ORCPT={};{}", original.address_type, original.address));
    notify.into_iter().chain(original).collect()
}
