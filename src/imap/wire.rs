//! The way out to one client: one bounded buffer, and a limit on how long the client may not read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ekitei_net::Stream;
use ekitei_telemetry::Counter;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::proto::response::ResponseWriter;
use crate::proto::{Encoding, Reader};

/// What is read from a client at once: a record of TLS.
const READ_SIZE: usize = 16 * 1024;

/// A client's stream with what waits to be sent to it.
///
/// Responses are written to [`Wire::out`] and leave with [`Wire::drain`] once there is more than the limit, or with [`Wire::flush`].
/// Both wait for a slow client, so whoever makes responses goes no faster than the client takes them.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    /// What waits to be sent.
    pub(crate) out: BytesMut,
    /// How many octets may wait.
    limit: usize,
    /// How long the client may take none.
    write_timeout: Duration,
    /// Octets were written since the stream was flushed.
    unflushed: bool,
    received: Counter,
    sent: Counter,
}

impl Wire {
    pub(crate) fn new(
        stream: Stream,
        limit: usize,
        write_timeout: Duration,
        received: Counter,
        sent: Counter,
    ) -> Self {
        Self { stream, out: BytesMut::new(), limit, write_timeout, unflushed: false, received, sent }
    }

    /// Writes responses in `encoding` to the buffer.
    pub(crate) fn responses(&mut self, encoding: Encoding) -> ResponseWriter<'_> {
        ResponseWriter::new(&mut self.out, encoding)
    }

    /// Sends what waits if that is more than the limit.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        if self.out.len() >= self.limit { self.flush().await } else { Ok(()) }
    }

    /// Sends everything that waits. The buffer's memory is given back, so that an idle connection holds none.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            let out = std::mem::take(&mut self.out);
            self.write(&out).await?;
        }
        if self.unflushed {
            self.within_timeout(Self::flush_stream).await?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Sends octets after what waits, without copying many of them.
    pub(crate) async fn send(&mut self, octets: &Bytes) -> io::Result<()> {
        if self.out.len() + octets.len() <= self.limit {
            self.out.extend_from_slice(octets);
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.write(&out).await?;
        self.write(octets).await
    }

    async fn flush_stream(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    async fn within_timeout<T>(
        &mut self,
        action: impl AsyncFnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let timeout = self.write_timeout;
        tokio::time::timeout(timeout, action(self)).await.map_err(|_| stopped_reading())?
    }

    async fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            // Each piece has its own time: a slow client may take long, if only it takes something.
            let write = self.stream.write(octets);
            let written =
                tokio::time::timeout(self.write_timeout, write).await.map_err(|_| stopped_reading())??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent.inc_by(written as u64);
            self.unflushed = true;
            octets = &octets[written..];
        }
        Ok(())
    }

    /// Waits for octets of the client and feeds them to the reader; 0 when the client has closed the connection. May be dropped
    /// while it waits.
    pub(crate) async fn read(&mut self, reader: &mut Reader) -> io::Result<usize> {
        // Polled by hand so that the buffer is on the stack only while there is something to read: a silent client holds none.
        let length = poll_fn(|cx| {
            let mut buffer = [0; READ_SIZE];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            reader.feed(read.filled());
            Poll::Ready(io::Result::Ok(read.filled().len()))
        });
        let length = length.await?;
        self.received.inc_by(length as u64);
        Ok(length)
    }

    /// Says goodbye to the transport, after a flush.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.within_timeout(async |wire| wire.stream.shutdown().await).await
    }

    /// Takes the stream out, for STARTTLS; nothing may wait to be sent.
    pub(crate) fn take_stream(&mut self) -> Stream {
        std::mem::replace(&mut self.stream, Stream::over(tokio::io::empty()))
    }

    /// Goes on over another stream.
    pub(crate) fn set_stream(&mut self, stream: Stream) {
        self.stream = stream;
    }
}

fn stopped_reading() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client has stopped reading")
}
