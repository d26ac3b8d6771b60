//! Lines in, replies out, with small buffers that are given back while a client is silent.

use std::io;
use std::time::Duration;

use ekitei_net::{Connection, Tls, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Replies are sent when so much has gathered, or when no further command is waiting.
const FLUSH_AT: usize = 16 * 1024;
/// How much is read at once.
const READ: usize = 2 * 1024;

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A line without its line end.
    Line(Vec<u8>),
    /// A line that was longer than allowed; it was skipped.
    TooLong,
    /// The client is gone.
    End,
}

/// A connection as lines and replies.
pub(crate) struct Wire {
    connection: Connection,
    /// What was read and not used.
    input: Vec<u8>,
    /// What is to be sent.
    output: Vec<u8>,
    /// The rest of a line that is too long is being skipped.
    skipping: bool,
    write_timeout: Duration,
}

impl Wire {
    pub(crate) fn new(connection: Connection, write_timeout: Duration) -> Self {
        Self { connection, input: Vec::new(), output: Vec::new(), skipping: false, write_timeout }
    }

    /// The connection, for what it says about the client.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the client has sent more than the last line.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Sends what is waiting, unless the client has sent the next command already: replies to pipelined commands go
    /// out together (RFC 2449 §6.8).
    ///
    /// # Errors
    /// As for [`Wire::send`].
    pub(crate) async fn flush_before_waiting(&mut self) -> io::Result<()> {
        if self.input.contains(&b'\n') { Ok(()) } else { self.flush().await }
    }

    /// The next line of at most `max` bytes with its line end. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn line(&mut self, max: usize) -> io::Result<Input> {
        loop {
            if let Some(input) = self.take_line(max) {
                return Ok(input);
            }
            if self.input.is_empty() {
                self.input = Vec::new();
            }
            let mut piece = [0; READ];
            let read = self.connection.stream.read(&mut piece).await?;
            if read == 0 {
                return Ok(Input::End);
            }
            self.input.extend_from_slice(&piece[..read]);
        }
    }

    fn take_line(&mut self, max: usize) -> Option<Input> {
        let end = self.input.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(self.input.len(), |end| end + 1);
        if self.skipping || length > max {
            self.input.drain(..length);
            self.skipping = end.is_none();
            return end.map(|_| Input::TooLong);
        }
        let mut line: Vec<u8> = self.input.drain(..=end?).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(Input::Line(line))
    }

    /// Adds to the replies, and sends them when much has gathered.
    ///
    /// # Errors
    /// When the connection fails, or the client has stopped reading.
    pub(crate) async fn send(&mut self, reply: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(reply);
        if self.output.len() >= FLUSH_AT { self.flush().await } else { Ok(()) }
    }

    /// Sends everything that is waiting.
    ///
    /// # Errors
    /// As for [`Wire::send`].
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let stream = &mut self.connection.stream;
        // By pieces, so that the timeout is about a client that has stopped, not about one that is slow.
        for piece in output.chunks(FLUSH_AT) {
            in_time(self.write_timeout, stream.write_all(piece)).await?;
        }
        in_time(self.write_timeout, stream.flush()).await
    }

    /// Begins TLS; what was read before must have been used (see [`Connection::start_tls`]).
    ///
    /// # Errors
    /// [`TlsError`]; the connection is gone.
    pub(crate) async fn start_tls(self, tls: &Tls) -> Result<Self, TlsError> {
        let connection = self.connection.start_tls(tls, &self.input).await?;
        Ok(Self::new(connection, self.write_timeout))
    }

    /// Sends what is waiting and ends the stream, with TLS's own end where it is spoken.
    pub(crate) async fn close(mut self) {
        if self.flush().await.is_ok() {
            // The client may be gone already.
            let _ = in_time(self.write_timeout, self.connection.stream.shutdown()).await;
        }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}
