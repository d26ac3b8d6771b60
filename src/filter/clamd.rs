//! clamd: messages are sent to it with INSTREAM, over a connection of their own.

use bytes::Bytes;
use ekitei_config::{Clamd as Config, Endpoint, Objection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout};

use crate::scan::{Peer, ScanError, ScanMetrics, on_failure};
use crate::servers::Servers;
use crate::socket::{self, Socket};
use crate::{Disposition, Refusal};

/// The name in logs and metrics.
const NAME: &str = "clamd";
/// How clamd names what it did not look at to its end.
const LIMITS: &str = "Heuristics.Limits.Exceeded";
/// The longest name of a virus in a reply to a client.
const MAX_NAME: usize = 120;

/// What clamd says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing was found.
    Clean,
    /// This was found.
    Found(String),
    /// The message is larger than StreamMaxLength.
    TooLarge,
    /// clamd cannot.
    Error(String),
}

impl Reply {
    /// Reads a reply, without the NUL at its end: `stream: OK`, `stream: NAME FOUND`, `... ERROR`.
    ///
    /// # Errors
    /// [`ScanError::Nonsense`]
    pub fn parse(reply: &[u8]) -> Result<Self, ScanError> {
        let text = String::from_utf8_lossy(reply);
        let text = text.trim_ascii();
        if let Some(reason) = text.strip_suffix("ERROR") {
            if reason.contains("size limit exceeded") {
                return Ok(Self::TooLarge);
            }
            let reason = reason.trim().trim_end_matches('.');
            return Ok(Self::Error(printable(reason)));
        }
        let verdict = text.split_once(": ").map(|(_, verdict)| verdict);
        match verdict {
            Some("OK") => Ok(Self::Clean),
            Some(verdict) if let Some(name) = verdict.strip_suffix(" FOUND") => {
                // `NAME(md5:size)` with ExtendedDetectionInfo.
                let name = printable(name.split('(').next().unwrap_or(name));
                if name.trim().is_empty() {
                    return Err(ScanError::Nonsense("a virus without a name".to_owned()));
                }
                Ok(Self::Found(name))
            }
            _ => Err(ScanError::Nonsense(printable(text))),
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~')).take(MAX_NAME).collect()
}

/// clamd as configured.
pub(crate) struct Clamd {
    config: Config,
    servers: Servers,
    metrics: ScanMetrics,
}

impl Clamd {
    pub(crate) fn new(config: Config, metrics: ScanMetrics) -> Self {
        Self { servers: Servers::new(config.servers.clone()), config, metrics }
    }

    /// What becomes of a message.
    pub(crate) async fn scan(&self, peer: &Peer, message: &Bytes) -> Disposition {
        let config = &self.config;
        if self.servers.is_empty() || peer.client.authenticated && !config.submissions {
            return Disposition::Accept;
        }
        let start = Instant::now();
        let too_large = message.len() as u64 > config.max_message_size.get();
        let reply = if too_large { Ok(Reply::TooLarge) } else { self.ask_all(message).await };
        if !too_large {
            self.metrics.cost(NAME, start.elapsed());
        }
        let (verdict, disposition) = match reply {
            Ok(Reply::Clean) => ("clean", Disposition::Accept),
            Ok(Reply::TooLarge) => ("limit", on_failure(config.on_limit)),
            Ok(Reply::Found(name)) if name.starts_with(LIMITS) => {
                tracing::info!(name, "clamd did not look at a message to its end");
                ("limit", on_failure(config.on_limit))
            }
            Ok(Reply::Found(name)) => {
                tracing::info!(name, "a virus was found");
                ("virus", objection(config.on_virus, &name))
            }
            Ok(Reply::Error(reason)) => return self.failed(&ScanError::Refused(reason)),
            Err(error) => return self.failed(&error),
        };
        self.metrics.verdict(NAME, verdict);
        disposition
    }

    fn failed(&self, error: &ScanError) -> Disposition {
        self.metrics.failure(NAME, error);
        on_failure(self.config.on_failure)
    }

    /// Asks one server after the other, until one knows.
    async fn ask_all(&self, message: &Bytes) -> Result<Reply, ScanError> {
        let asking = async {
            let mut last = Err(ScanError::Timeout);
            for asked in self.servers.in_turn() {
                let server = asked.endpoint();
                last = self.ask(server, message).await;
                match &last {
                    Ok(Reply::Error(reason)) => tracing::debug!(%server, reason, "clamd cannot"),
                    Ok(_) => {
                        asked.answered();
                        break;
                    }
                    Err(error) => tracing::debug!(%server, %error, "clamd gave no answer"),
                }
            }
            last
        };
        timeout(self.config.timeout.get(), asking).await.unwrap_or(Err(ScanError::Timeout))
    }

    async fn ask(&self, server: &Endpoint, message: &Bytes) -> Result<Reply, ScanError> {
        let socket = socket::connect(server, self.config.connect_timeout.get()).await?;
        let (mut reader, mut writer) = tokio::io::split(socket);
        let reading = self.read_reply(&mut reader);
        tokio::pin!(reading);
        // clamd answers before it has read everything if the message is too large for it, and then closes.
        let reply = tokio::select! {
            biased;
            reply = &mut reading => reply?,
            sent = self.send(&mut writer, message) => {
                if let Err(error) = sent {
                    tracing::debug!(%server, %error, "clamd stopped reading");
                }
                reading.await?
            }
        };
        Reply::parse(&reply)
    }

    async fn send(&self, writer: &mut WriteHalf<Socket>, message: &Bytes) -> std::io::Result<()> {
        writer.write_all(b"zINSTREAM\0").await?;
        // What clamd takes is bounded by a 32-bit length; a chunk of nothing would be the end.
        let size = self.config.chunk_size.as_usize().clamp(1, 1 << 30);
        for chunk in message.chunks(size) {
            let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            writer.write_all(&length.to_be_bytes()).await?;
            writer.write_all(chunk).await?;
        }
        writer.write_all(&0_u32.to_be_bytes()).await?;
        writer.flush().await
    }

    /// Reads up to the NUL, or to the end of the connection.
    async fn read_reply(&self, reader: &mut ReadHalf<Socket>) -> Result<Vec<u8>, ScanError> {
        let limit = self.config.max_answer_size.get();
        let mut reply = Vec::new();
        let mut buffer = [0; 512];
        loop {
            let count = reader.read(&mut buffer).await?;
            let end = memchr::memchr(0, &buffer[..count]);
            reply.extend_from_slice(&buffer[..end.unwrap_or(count)]);
            if reply.len() as u64 > limit {
                return Err(ScanError::TooLarge { limit });
            }
            if end.is_some() {
                return Ok(reply);
            }
            if count == 0 {
                return Err(ScanError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn objection(objection: Objection, name: &str) -> Disposition {
    match objection {
        Objection::Tag => Disposition::Accept,
        Objection::Junk => Disposition::Junk,
        Objection::Discard => Disposition::Discard,
        Objection::Reject => {
            Disposition::Refuse(Refusal::new(550, "5.7.1", format!("The message has a virus: {name}")))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_are_read_as_clamd_writes_them() {
        for (text, wanted) in [
            ("stream: OK", Reply::Clean),
            ("stream: Eicar-Signature FOUND", Reply::Found("Eicar-Signature".to_owned())),
            (
                "stream: Win.Test.EICAR_HDB-1(44d88612fea8a8f36de82e1278abb02f:68) FOUND",
                Reply::Found("Win.Test.EICAR_HDB-1".to_owned()),
            ),
            ("INSTREAM size limit exceeded. ERROR", Reply::TooLarge),
            ("COMMAND READ TIMED OUT ERROR", Reply::Error("COMMAND READ TIMED OUT".to_owned())),
            ("stream: Can't allocate memory ERROR", Reply::Error("stream: Can't allocate memory".to_owned())),
        ] {
            assert_eq!(Reply::parse(text.as_bytes()).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_reply_is_a_failure_and_never_clean() {
        for text in [
            "",
            "OK",
            "stream: ",
            "stream: ok",
            "stream: FOUND",
            "stream:  FOUND",
            "stream: OK, nearly",
            "PONG",
        ] {
            assert!(Reply::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Reply::Found(name) | Reply::Error(name)) = Reply::parse(&octets) {
                prop_assert!(name.len() <= MAX_NAME && name.bytes().all(|b| (b' '..=b'~').contains(&b)));
            }
        }
    }
}
