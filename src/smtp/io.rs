//! Lines in, replies out: the buffers of one connection, which are empty while the client is silent.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ekitei_net::{Connection, Tls, TlsError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::metrics::Refusals;
use crate::proto::line::{LineError, LineReader};
use crate::proto::reply::Reply;

/// Octets read at once while a message comes in.
const MESSAGE_BLOCK: usize = 16 * 1024;
/// Octets read at once while commands come in.
const COMMAND_BLOCK: usize = 2048;
/// Replies are sent when so many octets of them wait, even if more commands are there.
const OUTPUT_BLOCK: usize = 8 * 1024;

/// How long, and for how much, a client is listened to after the last reply.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS: usize = 1 << 20;

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// A connection with its buffers.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) connection: Connection,
    /// What was read and not used.
    pub(crate) input: BytesMut,
    lines: LineReader,
    /// Replies that were not sent.
    output: Vec<u8>,
    write_timeout: Duration,
    refusals: Refusals,
}

impl Io {
    pub(crate) fn new(connection: Connection, write_timeout: Duration, refusals: Refusals) -> Self {
        Self {
            connection,
            input: BytesMut::new(),
            lines: LineReader::default(),
            output: Vec::new(),
            write_timeout,
            refusals,
        }
    }

    /// Puts a reply behind those that wait to be sent.
    pub(crate) fn queue(&mut self, reply: &Reply) {
        self.refusals.count(reply);
        reply.write(&mut self.output);
    }

    /// Sends what is queued and gives its memory back.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let stream = &mut self.connection.stream;
        let send = async {
            stream.write_all(&output).await?;
            stream.flush().await
        };
        Ok(tokio::time::timeout(self.write_timeout, send).await.map_err(|_| Gone)??)
    }

    /// Sends what is queued if it is much.
    pub(crate) async fn flush_if_full(&mut self) -> Result<(), Gone> {
        if self.output.len() >= OUTPUT_BLOCK { self.flush().await } else { Ok(()) }
    }

    /// The next line that is in the buffer already.
    pub(crate) fn buffered_line(
        &mut self,
        limit: impl Fn(&[u8]) -> usize,
    ) -> Option<Result<Bytes, LineError>> {
        let line = self.lines.next(&mut self.input, limit);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        line
    }

    /// Waits for input. Until it comes nothing is allocated: it is read to the stack first.
    pub(crate) async fn fill(&mut self) -> Result<(), Gone> {
        let Self { connection, input, .. } = self;
        let read = poll_fn(|cx| {
            let mut block = [0; COMMAND_BLOCK];
            let mut block = ReadBuf::new(&mut block);
            ready!(Pin::new(&mut connection.stream).poll_read(cx, &mut block))?;
            input.extend_from_slice(block.filled());
            io::Result::Ok(block.filled().len()).into()
        });
        if read.await? == 0 { Err(Gone) } else { Ok(()) }
    }

    /// Waits for input in the size of messages.
    pub(crate) async fn fill_block(&mut self) -> Result<(), Gone> {
        self.input.reserve(MESSAGE_BLOCK);
        let read = self.connection.stream.read_buf(&mut self.input).await?;
        if read == 0 { Err(Gone) } else { Ok(()) }
    }

    /// Begins TLS. The caller has made sure that no input waits and that the reply was sent.
    pub(crate) async fn start_tls(self, tls: &Tls) -> Result<Self, TlsError> {
        let connection = self.connection.start_tls(tls, &self.input).await?;
        Ok(Self::new(connection, self.write_timeout, self.refusals))
    }

    /// Sends what is queued and ends the connection. What the client is still sending is read for a moment: closing a socket
    /// with unread input would reset the connection, and the client might never see the last reply.
    pub(crate) async fn close(mut self) {
        if self.flush().await.is_err() {
            return;
        }
        let linger = async {
            self.connection.stream.shutdown().await?;
            let mut read = 0;
            while read < LINGER_OCTETS {
                self.input.clear();
                self.fill_block().await?;
                read += self.input.len();
            }
            Ok::<(), Gone>(())
        };
        // However that ends, nothing is left to say.
        let _ = tokio::time::timeout(LINGER, linger).await;
    }
}
