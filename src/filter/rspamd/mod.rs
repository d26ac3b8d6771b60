//! rspamd: asked over HTTP about each message (`/checkv2`), and taught what users call spam ([`crate::learn`]).

pub mod answer;

use bytes::Bytes;
use ekitei_config::{GreylistAction, Objection, Rspamd as Config};
use http_body_util::Full;
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use tokio::time::{Instant, timeout};

use crate::edit::{self, Message};
use crate::http::{Bounds, HttpClient};
use crate::scan::{Envelope, Peer, ScanError, ScanMetrics, Scanned, on_failure};
use crate::servers::Servers;
use crate::{Disposition, Refusal};
use answer::{Action, Answer, Place};

/// The name in logs and metrics.
const NAME: &str = "rspamd";

/// rspamd as configured.
pub(crate) struct Rspamd {
    config: Config,
    servers: Servers,
    metrics: ScanMetrics,
    http: HttpClient,
}

impl Rspamd {
    pub(crate) fn new(config: Config, metrics: ScanMetrics) -> Self {
        let servers = Servers::new(config.servers.clone());
        Self { config, servers, metrics, http: HttpClient::default() }
    }

    /// What becomes of a message, and what it looks like then.
    pub(crate) async fn scan(&self, peer: &Peer, envelope: &Envelope, message: &Bytes) -> Scanned {
        let config = &self.config;
        if self.servers.is_empty() || peer.client.authenticated && !config.submissions {
            return Scanned::accept();
        }
        if message.len() as u64 > config.max_message_size.get() {
            self.metrics.verdict(NAME, "not scanned");
            return Scanned::accept();
        }
        let start = Instant::now();
        let answer = self.ask_all(peer, envelope, message).await;
        self.metrics.cost(NAME, start.elapsed());
        match answer {
            Ok(answer) => {
                self.metrics.verdict(NAME, answer.action.label());
                let (action, score) = (answer.action.label(), answer.score);
                tracing::info!(transaction = envelope.id, action, score, "rspamd");
                self.obey(&answer, message)
            }
            Err(error) => {
                self.metrics.failure(NAME, &error);
                Scanned { disposition: on_failure(config.on_failure), message: None }
            }
        }
    }

    /// Asks one server after the other, until one knows.
    async fn ask_all(&self, peer: &Peer, envelope: &Envelope, message: &Bytes) -> Result<Answer, ScanError> {
        let bounds =
            Bounds { connect: self.config.connect_timeout.get(), answer: self.config.max_answer_size.get() };
        let asking = async {
            let mut last = ScanError::Timeout;
            for asked in self.servers.in_turn() {
                let server = asked.endpoint();
                let request = self.request(peer, envelope, message)?;
                let answer = self.http.send(server, bounds, request).await;
                match answer.and_then(|(status, body)| self.understand(status, &body)) {
                    Ok(answer) => {
                        asked.answered();
                        return Ok(answer);
                    }
                    Err(error) => {
                        tracing::debug!(%server, %error, "rspamd gave no answer");
                        last = error;
                    }
                }
            }
            Err(last)
        };
        timeout(self.config.timeout.get(), asking).await.unwrap_or(Err(ScanError::Timeout))
    }

    fn understand(&self, status: StatusCode, body: &[u8]) -> Result<Answer, ScanError> {
        if !status.is_success() {
            return Err(ScanError::Refused(format!("it answered {}", status.as_u16())));
        }
        Answer::parse(body, self.config.max_header_changes)
    }

    fn request(
        &self,
        peer: &Peer,
        envelope: &Envelope,
        message: &Bytes,
    ) -> Result<Request<Full<Bytes>>, ScanError> {
        let mut request = post("/checkv2");
        let mut set = |name: &str, value: &str| {
            if !value.is_empty() {
                request = header(std::mem::take(&mut request), name, value);
            }
        };
        set("Queue-Id", &envelope.id);
        set("From", if envelope.sender.is_empty() { "<>" } else { &envelope.sender });
        for recipient in &envelope.recipients {
            set("Rcpt", recipient);
        }
        if let [only] = envelope.recipients.as_slice() {
            set("Deliver-To", only);
        }
        set("IP", &peer.client.address.to_canonical().to_string());
        set("Helo", &peer.hello);
        set("Hostname", peer.name.as_deref().unwrap_or("unknown"));
        set("MTA-Name", &peer.hostname);
        set("User", peer.login.as_ref().map_or("", |login| &login.name));
        if let Some(tls) = &peer.tls {
            set("TLS-Version", &tls.version);
            set("TLS-Cipher", &tls.cipher);
        }
        set("Settings-ID", &self.config.settings_id);
        set("Password", self.config.password.as_ref().map_or("", |password| password.expose()));
        finish(request, message.clone())
    }

    /// Does to the message what the answer asks for.
    fn obey(&self, answer: &Answer, message: &Bytes) -> Scanned {
        let disposition = self.disposition(answer);
        if matches!(disposition, Disposition::Refuse(_) | Disposition::Discard) {
            return Scanned { disposition, message: None };
        }
        let mut edited = Message::parse(message);
        let spam_header = self.config.spam_header.as_bytes();
        if !spam_header.is_empty() {
            edited.remove(spam_header, 0);
        }
        for (name, nth) in &answer.removed {
            edited.remove(name.as_bytes(), *nth);
        }
        edited.settle();
        for added in &answer.added {
            if let Some(field) = edit::field(added.name.as_bytes(), added.value.as_bytes()) {
                put(&mut edited, added.place, field);
            }
        }
        if answer.action == Action::AddHeader
            && let Some(field) = edit::field(spam_header, b"Yes")
        {
            edited.insert(0, field);
        }
        if let (Action::RewriteSubject, Some(subject)) = (&answer.action, &answer.subject) {
            edited.change(b"Subject", 1, edit::field(b"Subject", subject.as_bytes()));
        }
        if self.config.dkim_signature {
            for signature in &answer.dkim_signatures {
                if let Some(field) = edit::field(b"DKIM-Signature", signature.as_bytes()) {
                    edited.insert(0, field);
                }
            }
        }
        Scanned { disposition, message: edited.changed() }
    }

    fn disposition(&self, answer: &Answer) -> Disposition {
        let text = |default: &str| answer.message.clone().unwrap_or_else(|| default.to_owned());
        let object = |objection| match objection {
            Objection::Tag => Disposition::Accept,
            Objection::Junk => Disposition::Junk,
            Objection::Discard => Disposition::Discard,
            Objection::Reject => {
                Disposition::Refuse(Refusal::new(550, "5.7.1", text("The message looks like spam")))
            }
        };
        let later = || Disposition::Refuse(Refusal::new(451, "4.7.1", text("Try again later")));
        match answer.action {
            Action::NoAction | Action::Other => Disposition::Accept,
            Action::Greylist if self.config.on_greylist == GreylistAction::Accept => Disposition::Accept,
            Action::Greylist | Action::SoftReject => later(),
            Action::AddHeader => object(self.config.on_add_header),
            Action::RewriteSubject => object(self.config.on_rewrite_subject),
            Action::Quarantine => Disposition::Junk,
            Action::Discard => Disposition::Discard,
            Action::Reject => object(self.config.on_reject),
        }
    }
}

/// Puts a field where rspamd wants it: counted from the top, or from the end if negative.
fn put(message: &mut Message, place: Place, field: Bytes) {
    match place {
        Place::End => message.append(field),
        Place::At(place) => match usize::try_from(place) {
            // As milters count: 0 is our Received field, which is not in this message yet.
            Ok(place) => message.insert(place.saturating_sub(1), field),
            Err(_) => {
                let back = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
                message.insert((message.field_count() + 1).saturating_sub(back), field);
            }
        },
    }
}

/// A request to rspamd.
pub(crate) fn post(path: &str) -> Builder {
    Request::post(path).header("Host", NAME)
}

/// The request with one more field. A value that no field can have, as an address with a control character, is left out.
pub(crate) fn header(request: Builder, name: &str, value: &str) -> Builder {
    match hyper::header::HeaderValue::from_bytes(value.as_bytes()) {
        Ok(value) => request.header(name, value),
        Err(_) => request,
    }
}

/// The request with its body.
pub(crate) fn finish(request: Builder, body: Bytes) -> Result<Request<Full<Bytes>>, ScanError> {
    request.body(Full::new(body)).map_err(|error| ScanError::Nonsense(error.to_string()))
}
