//! One connection to a milter: commands out, answers in, each within its time.

use bytes::BytesMut;
use ekitei_config::{Endpoint, Milter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::codec::{self, Answer, Change, Command, FrameError, Negotiation, Stage, actions, steps};
use super::macros::{self, Facts};
use crate::scan::ScanError;
use crate::socket::{self, Socket};

impl From<FrameError> for ScanError {
    fn from(error: FrameError) -> Self {
        Self::Nonsense(error.to_string())
    }
}

/// How much is read at once.
const READ: usize = 16 << 10;
/// How much may wait to be sent before it is sent.
const WRITE: usize = 64 << 10;

/// A connection whose options are agreed on.
pub(super) struct Connection {
    socket: Socket,
    input: BytesMut,
    output: Vec<u8>,
    /// What was agreed on.
    options: Negotiation,
}

impl Connection {
    /// Connects and negotiates.
    pub(super) async fn open(config: &Milter, endpoint: &Endpoint) -> Result<Self, ScanError> {
        let socket = socket::connect(endpoint, config.connect_timeout.get()).await?;
        let offer = Negotiation {
            version: codec::VERSION,
            actions: actions::ALL,
            steps: steps::OFFERED,
            macros: Vec::new(),
        };
        let mut connection =
            Self { socket, input: BytesMut::new(), output: Vec::new(), options: offer.clone() };
        let deadline = Instant::now() + config.timeout.get();
        connection.queue(&Command::Negotiate(&offer));
        match connection.answer(deadline).await? {
            Answer::Negotiated(wanted) => connection.options = agree(&offer, wanted)?,
            other => return Err(ScanError::Nonsense(format!("{other:?} to the offer"))),
        }
        Ok(connection)
    }

    /// Whether one of these bits of [`steps`] was agreed on.
    pub(super) fn agreed(&self, steps: u32) -> bool {
        self.options.steps & steps != 0
    }

    /// Whether the milter may make a change.
    pub(super) fn may(&self, change: &Change) -> bool {
        self.options.actions & change.action() != 0
    }

    /// The version that is spoken.
    pub(super) fn version(&self) -> u32 {
        self.options.version
    }

    /// Appends the macros of a stage, if there are any.
    pub(super) fn queue_macros(&mut self, stage: Stage, facts: &Facts<'_>) {
        let chosen = Stage::ALL.iter().position(|known| *known == stage);
        let chosen = chosen.and_then(|number| u32::try_from(number).ok());
        let lists = &self.options.macros;
        let chosen = lists.iter().find(|(of, _)| Some(*of) == chosen).map(|(_, names)| names.as_slice());
        let values = macros::at(stage, chosen, facts);
        if !values.is_empty() {
            self.queue(&Command::Macros(stage, &values));
        }
    }

    /// Appends a command to what is to be sent.
    pub(super) fn queue(&mut self, command: &Command<'_>) {
        command.encode(&mut self.output);
    }

    /// Sends what is queued, if it is much.
    pub(super) async fn flush_if_full(&mut self, deadline: Instant) -> Result<(), ScanError> {
        if self.output.len() >= WRITE { self.flush(deadline).await } else { Ok(()) }
    }

    /// Sends what is queued.
    pub(super) async fn flush(&mut self, deadline: Instant) -> Result<(), ScanError> {
        let sent = timeout_at(deadline, self.socket.write_all(&self.output)).await;
        self.output.clear();
        Ok(sent.map_err(|_| ScanError::Timeout)??)
    }

    /// Sends what is queued, and waits for the next answer that says more than that the milter is working.
    pub(super) async fn verdict(&mut self, deadline: Instant) -> Result<Answer, ScanError> {
        loop {
            match self.answer(deadline).await? {
                Answer::Progress => {}
                answer => return Ok(answer),
            }
        }
    }

    async fn answer(&mut self, deadline: Instant) -> Result<Answer, ScanError> {
        self.flush(deadline).await?;
        loop {
            if let Some((letter, data)) = codec::take_frame(&mut self.input)? {
                return Ok(Answer::decode(letter, data)?);
            }
            self.input.reserve(READ);
            let read = timeout_at(deadline, self.socket.read_buf(&mut self.input)).await;
            if read.map_err(|_| ScanError::Timeout)?? == 0 {
                return Err(ScanError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// What both sides can do.
fn agree(offer: &Negotiation, wanted: Negotiation) -> Result<Negotiation, ScanError> {
    if !(codec::OLDEST_VERSION..=offer.version).contains(&wanted.version) {
        return Err(ScanError::Nonsense(format!("version {}", wanted.version)));
    }
    let surplus = (wanted.actions & !offer.actions, wanted.steps & !offer.steps);
    if surplus != (0, 0) {
        return Err(ScanError::Nonsense(format!("options that were not offered: {surplus:x?}")));
    }
    Ok(wanted)
}
