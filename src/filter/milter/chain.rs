//! All milters during one connection, in their order.

use std::sync::Arc;

use bytes::Bytes;
use ekitei_config::Milter;

use super::codec::Change;
use super::content;
use super::macros::Facts;
use super::session::{Opinion, Session};
use crate::edit::Message;
use crate::scan::{Envelope, Peer, ScanMetrics};
use crate::{Disposition, Verdict};

/// What the milters make of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milled {
    /// What becomes of it; [`Disposition::Junk`] if a milter wants it quarantined.
    pub disposition: Disposition,
    /// The message as they changed it; `None` if they did not.
    pub message: Option<Bytes>,
    /// The new reverse-path, without brackets; empty for the null reverse-path.
    pub sender: Option<String>,
    /// More recipients, without brackets. Whether the message may go to them is the server's to say.
    pub added: Vec<String>,
    /// Recipients who are not to have it, without brackets, as they were given.
    pub removed: Vec<String>,
}

impl Milled {
    fn of(disposition: Disposition) -> Self {
        Self { disposition, message: None, sender: None, added: Vec::new(), removed: Vec::new() }
    }
}

/// The milters' side of one connection. Each step is called when the server itself has nothing against it; what one milter refuses, those
/// behind it do not hear of.
pub struct Chain {
    milters: Vec<Session>,
    /// The connection as it was last told.
    peer: Option<Peer>,
    /// The id of the transaction.
    id: String,
    /// One of them wants the current message dropped.
    discard: bool,
    /// They heard of DATA.
    data: bool,
}

impl Chain {
    pub(crate) fn new<'a>(milters: impl IntoIterator<Item = &'a Milter>, metrics: &ScanMetrics) -> Self {
        let session = |milter: &Milter| Session::new(Arc::new(milter.clone()), metrics.clone());
        let milters = milters.into_iter().map(session).collect();
        Self { milters, peer: None, id: String::new(), discard: false, data: false }
    }

    /// Whether there are none, so that nothing needs to be asked.
    pub fn is_empty(&self) -> bool {
        self.milters.is_empty()
    }

    /// When the client has connected, before the greeting.
    pub async fn connect(&mut self, peer: &Peer) -> Verdict {
        self.peer = Some(peer.clone());
        for milter in &mut self.milters {
            if let Some(verdict) = verdict(milter.connect(peer).await) {
                return verdict;
            }
        }
        Verdict::Continue
    }

    /// At EHLO and HELO, also the one behind STARTTLS.
    pub async fn hello(&mut self, peer: &Peer) -> Verdict {
        self.peer = Some(peer.clone());
        for milter in &mut self.milters {
            if let Some(verdict) = verdict(milter.hello(peer).await) {
                return verdict;
            }
        }
        Verdict::Continue
    }

    /// At MAIL: `id` is that of the transaction, `reverse_path` is without brackets, and empty for the null reverse-path; `parameters` are as the
    /// client gave them, such as `SIZE=1000`.
    pub async fn sender(
        &mut self,
        peer: &Peer,
        id: &str,
        reverse_path: &str,
        parameters: &[String],
    ) -> Verdict {
        self.reset();
        self.peer = Some(peer.clone());
        id.clone_into(&mut self.id);
        let facts = Facts { peer, id, address: reverse_path };
        for milter in &mut self.milters {
            match milter.sender(&facts, parameters).await {
                Opinion::Discard => self.discard = true,
                opinion => {
                    if let Some(verdict) = verdict(opinion) {
                        return verdict;
                    }
                }
            }
        }
        Verdict::Continue
    }

    /// At RCPT, for a recipient whom the server takes.
    pub async fn recipient(&mut self, forward_path: &str, parameters: &[String]) -> Verdict {
        let Some(peer) = &self.peer else { return Verdict::Continue };
        let facts = Facts { peer, id: &self.id, address: forward_path };
        for milter in &mut self.milters {
            match milter.recipient(&facts, parameters).await {
                Opinion::Discard => self.discard = true,
                opinion => {
                    if let Some(verdict) = verdict(opinion) {
                        return verdict;
                    }
                }
            }
        }
        Verdict::Continue
    }

    /// At DATA or the first BDAT, before the reply. A server that does not call it has it called with the message.
    pub async fn data(&mut self) -> Verdict {
        let Some(peer) = &self.peer else { return Verdict::Continue };
        self.data = true;
        let facts = Facts { peer, id: &self.id, address: "" };
        for milter in &mut self.milters {
            match milter.data(&facts).await {
                Opinion::Discard => self.discard = true,
                opinion => {
                    if let Some(verdict) = verdict(opinion) {
                        return verdict;
                    }
                }
            }
        }
        Verdict::Continue
    }

    /// At the end of the message. `message` is as the client sent it, without this server's trace fields.
    pub async fn message(&mut self, message: &Bytes) -> Milled {
        let milled = self.mill(message).await;
        self.reset();
        milled
    }

    async fn mill(&mut self, message: &Bytes) -> Milled {
        if !self.data
            && let Verdict::Refuse(refusal) | Verdict::Disconnect(refusal) = self.data().await
        {
            return Milled::of(Disposition::Refuse(refusal));
        }
        let Some(peer) = &self.peer else { return Milled::of(Disposition::Accept) };
        if self.discard {
            return Milled::of(Disposition::Discard);
        }
        let facts = Facts { peer, id: &self.id, address: "" };
        let mut milled = Milled::of(Disposition::Accept);
        let mut edited = Message::parse(message);
        for milter in &mut self.milters {
            let (opinion, changes) = milter.message(&facts, &edited).await;
            match opinion {
                Opinion::Continue => {}
                Opinion::Discard => return Milled::of(Disposition::Discard),
                Opinion::Refuse(refusal) | Opinion::Disconnect(refusal) => {
                    return Milled::of(Disposition::Refuse(refusal));
                }
            }
            content::apply(&mut edited, &changes);
            changes.into_iter().for_each(|change| envelope_change(&mut milled, change));
        }
        milled.message = edited.changed();
        milled
    }

    /// All steps of a message at once, for one that is complete before anybody is asked. A step that is refused refuses the message.
    pub async fn whole(&mut self, peer: &Peer, envelope: &Envelope, message: &Bytes) -> Milled {
        if self.is_empty() {
            return Milled::of(Disposition::Accept);
        }
        match self.introduce(peer, envelope).await {
            Verdict::Continue => self.message(message).await,
            Verdict::Refuse(refusal) | Verdict::Disconnect(refusal) => {
                Milled::of(Disposition::Refuse(refusal))
            }
        }
    }

    async fn introduce(&mut self, peer: &Peer, envelope: &Envelope) -> Verdict {
        let mut verdict = self.connect(peer).await;
        if verdict == Verdict::Continue {
            verdict = self.hello(peer).await;
        }
        if verdict == Verdict::Continue {
            verdict = self.sender(peer, &envelope.id, &envelope.sender, &[]).await;
        }
        for recipient in &envelope.recipients {
            if verdict != Verdict::Continue {
                break;
            }
            verdict = self.recipient(recipient, &[]).await;
        }
        verdict
    }

    /// At RSET, and whenever a transaction ends without a message.
    pub fn reset(&mut self) {
        self.milters.iter_mut().for_each(Session::reset);
        self.discard = false;
        self.data = false;
        self.id.clear();
    }

    /// When the connection ends.
    pub async fn quit(&mut self) {
        for milter in &mut self.milters {
            milter.quit().await;
        }
    }
}

/// What the client is told; `None` to go on. Only messages can be dropped: before there is one, a milter that wants to is not understood.
fn verdict(opinion: Opinion) -> Option<Verdict> {
    match opinion {
        Opinion::Continue | Opinion::Discard => None,
        Opinion::Refuse(refusal) => Some(Verdict::Refuse(refusal)),
        Opinion::Disconnect(refusal) => Some(Verdict::Disconnect(refusal)),
    }
}

/// Makes a change that is about the envelope.
fn envelope_change(milled: &mut Milled, change: Change) {
    match change {
        Change::AddRecipient(address) => {
            let address = bare(&address);
            milled.removed.retain(|removed| *removed != address);
            if !address.is_empty() && !milled.added.contains(&address) {
                milled.added.push(address);
            }
        }
        Change::DeleteRecipient(address) => {
            let address = bare(&address);
            milled.added.retain(|added| *added != address);
            milled.removed.push(address);
        }
        Change::Sender(address) => milled.sender = Some(bare(&address)),
        Change::Quarantine(reason) => {
            tracing::info!(reason, "a milter wants a message quarantined");
            milled.disposition = Disposition::Junk;
        }
        Change::AddHeader { .. }
        | Change::InsertHeader { .. }
        | Change::ChangeHeader { .. }
        | Change::Body(_) => {}
    }
}

/// An address without its brackets.
fn bare(address: &str) -> String {
    let address = address.trim();
    let inner = address.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    inner.unwrap_or(address).to_owned()
}
