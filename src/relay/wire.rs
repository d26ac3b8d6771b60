//! One connection as replies that come and octets that go, each within a time and a size.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ekitei_net::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::proto::reply::{Reply, ReplyError, ReplyLimits, ReplyReader};

/// What is read at once.
const READ: usize = 4096;
/// Replies that are kept while we write. A server that sends more has to wait until we read them.
const HEARD: usize = 64 * 1024;
/// What has to be taken by the server within the time for a block.
const BLOCK: usize = 64 * 1024;
/// Pieces that are handed to the system at once.
const SLICES: usize = 32;
/// How long a reply may take that explains why the server closed the connection: it is under way or it does not come.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The most time for QUIT: nobody waits for what comes of it.
const QUIT: Duration = Duration::from_secs(5);

/// Why the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The server took too long.
    #[error("the server took too long")]
    Timeout,
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The server spoke or left before it was its turn.
    #[error("the server did not wait for the end of the message")]
    Unasked,
    /// What the server sent is no reply.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// A connection with its buffers.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    buffer: BytesMut,
    replies: ReplyReader,
}

impl Wire {
    pub(crate) fn new(stream: Stream, limits: ReplyLimits) -> Self {
        Self { stream, buffer: BytesMut::new(), replies: ReplyReader::new(limits) }
    }

    /// The stream below, for a handshake; `None` if the server sent more than it was asked for, which was not protected and must not be believed
    /// afterwards (RFC 3207 §4.2).
    pub(crate) fn into_stream(self) -> Option<Stream> {
        self.buffer.is_empty().then_some(self.stream)
    }

    /// The next reply, whole within `limit`.
    ///
    /// # Errors
    /// [`WireError`].
    pub(crate) async fn reply(&mut self, limit: Duration) -> Result<Reply, WireError> {
        if let Some(reply) = self.replies.next(&mut self.buffer)? {
            return Ok(reply);
        }
        let read = async {
            loop {
                self.buffer.reserve(READ);
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(WireError::Closed);
                }
                if let Some(reply) = self.replies.next(&mut self.buffer)? {
                    return Ok(reply);
                }
            }
        };
        timeout(limit, read).await.map_err(|_| WireError::Timeout)?
    }

    /// Writes all pieces; the server must take each block of them within `limit`. Replies that come meanwhile are kept, so that neither side waits for
    /// the other (RFC 2920 §3.1).
    ///
    /// # Errors
    /// [`WireError`]. If the server said something before it closed the connection, [`Wire::last_words`] has it.
    pub(crate) async fn write(
        &mut self,
        mut pieces: VecDeque<Bytes>,
        limit: Duration,
    ) -> Result<(), WireError> {
        pieces.retain(|piece| !piece.is_empty());
        while !pieces.is_empty() {
            timeout(limit, self.write_block(&mut pieces)).await.map_err(|_| WireError::Timeout)??;
        }
        timeout(limit, self.stream.flush()).await.map_err(|_| WireError::Timeout)??;
        Ok(())
    }

    /// Writes one short command.
    ///
    /// # Errors
    /// As for [`Wire::write`].
    pub(crate) async fn command(
        &mut self,
        command: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<(), WireError> {
        self.write(VecDeque::from([command.into()]), limit).await
    }

    /// What the server said before it closed the connection.
    pub(crate) async fn last_words(&mut self) -> Option<Reply> {
        self.reply(LAST_WORDS).await.ok()
    }

    /// Whether nothing came and the connection is open, as it should be when it is our turn. What came is kept.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.listen(&mut context).is_ok() && self.buffer.is_empty()
    }

    /// Gives back the memory of the buffers.
    pub(crate) fn rest(&mut self) {
        self.buffer = BytesMut::new();
    }

    /// Ends the session politely, without waiting for the answer.
    pub(crate) async fn quit(mut self) {
        // The other side may be gone, which is what we want.
        let _ = self.command("QUIT\r\n", QUIT).await;
        let _ = timeout(LAST_WORDS, self.stream.shutdown()).await;
    }

    async fn write_block(&mut self, pieces: &mut VecDeque<Bytes>) -> Result<(), WireError> {
        let mut left = BLOCK;
        poll_fn(|cx| {
            while left > 0 && !pieces.is_empty() {
                self.listen(cx)?;
                let written = ready!(write_some(&mut self.stream, cx, pieces, left))?;
                left = left.saturating_sub(written);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes what has come, without waiting.
    fn listen(&mut self, cx: &mut Context<'_>) -> Result<(), WireError> {
        while self.buffer.len() < HEARD {
            let mut octets = [0; READ];
            let mut read = ReadBuf::new(&mut octets);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Err(WireError::Closed),
                Poll::Ready(Ok(())) => self.buffer.extend_from_slice(read.filled()),
            }
        }
        Ok(())
    }
}

/// Writes from the front of `pieces` at most `most` octets, as many as the system takes.
fn write_some(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    pieces: &mut VecDeque<Bytes>,
    most: usize,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let (mut count, mut room) = (0, most);
    for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
        if room == 0 {
            break;
        }
        let part = &piece[..piece.len().min(room)];
        *slice = IoSlice::new(part);
        room -= part.len();
        count += 1;
    }
    let written = ready!(Pin::new(stream).poll_write_vectored(cx, &slices[..count]))?;
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    let mut left = written;
    while left > 0 {
        let Some(front) = pieces.front_mut() else { break };
        let taken = left.min(front.len());
        front.advance(taken);
        left -= taken;
        if front.is_empty() {
            pieces.pop_front();
        }
    }
    Poll::Ready(Ok(written))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMITS: ReplyLimits = ReplyLimits { octets: 1000, lines: 10 };
    const MINUTE: Duration = Duration::from_secs(60);

    fn pieces(pieces: &[&'static [u8]]) -> VecDeque<Bytes> {
        pieces.iter().map(|piece| Bytes::from_static(piece)).collect()
    }

    #[tokio::test]
    async fn both_sides_may_write_at_once() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::new(Stream::over(near), LIMITS);
        let server = tokio::spawn(async move {
            // It does not read before all its replies are taken.
            for _ in 0..20 {
                far.write_all(b"250 ok\r\n").await.unwrap();
            }
            let mut heard = vec![0; 60];
            far.read_exact(&mut heard).await.unwrap();
            heard
        });
        wire.write(pieces(&[b"", &[b'a'; 30], &[b'b'; 29], b"c"]), MINUTE).await.unwrap();
        assert_eq!(server.await.unwrap(), [[b'a'; 30].as_slice(), &[b'b'; 29], b"c"].concat());
        for _ in 0..20 {
            assert_eq!(wire.reply(MINUTE).await.unwrap().code(), 250);
        }
    }

    #[tokio::test]
    async fn what_was_said_before_the_end_is_heard() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::new(Stream::over(near), LIMITS);
        far.write_all(b"421 bye\r\n").await.unwrap();
        drop(far);
        assert!(wire.write(pieces(&[&[b'a'; 30]]), MINUTE).await.is_err());
        assert_eq!(wire.last_words().await.unwrap().code(), 421);
        assert!(wire.last_words().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_nothing_is_given_up() {
        let (near, _far) = duplex(16);
        let mut wire = Wire::new(Stream::over(near), LIMITS);
        let sent = wire.write(pieces(&[&[b'a'; 30]]), MINUTE).await;
        assert!(matches!(sent, Err(WireError::Timeout)));
    }

    #[tokio::test]
    async fn a_connection_at_rest_is_open_and_silent() {
        let (near, mut far) = duplex(64);
        let mut wire = Wire::new(Stream::over(near), LIMITS);
        assert!(wire.is_quiet());
        far.write_all(b"421 too long\r\n").await.unwrap();
        assert!(!wire.is_quiet());
        let (near, far) = duplex(64);
        let mut wire = Wire::new(Stream::over(near), LIMITS);
        drop(far);
        assert!(!wire.is_quiet());
    }
}
