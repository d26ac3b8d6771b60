//! IDLE (RFC 2177): changes are told as they happen, without polling.

use std::io;
use std::time::Duration;

use ekitei_telemetry::GaugeGuard;

use crate::numbering::Expunges;
use crate::proto::Event;
use crate::proto::command::is_done;
use crate::proto::response::{Code, Status};
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;

/// What ended a wait.
enum Woken {
    /// The account's mail changed.
    Change,
    /// The client said something.
    Octets,
    /// Nothing happened for so long that a middlebox may forget the connection.
    Keepalive,
    /// The client is gone.
    End,
    /// The client was silent for too long.
    Silence,
    /// The service is stopping.
    Shutdown,
}

impl Session {
    pub(crate) async fn idle(&mut self) -> Outcome {
        let _idling = GaugeGuard::new(&self.shared.metrics.idling);
        let mut changes = self.shared.mailstore.watch(self.account()?);
        changes.mark_unchanged();
        self.wire.responses(self.encoding).continuation("idling");
        self.reader.expect_line();
        // What changed before the watch began.
        self.tell_changes().await?;
        let deadline = tokio::time::Instant::now() + self.patience();
        loop {
            match self.reader.next_event() {
                Event::NeedMore => {}
                Event::Line(line) if is_done(&line) => return Ok(Reply::ok("No longer idling")),
                Event::Rejected(rejected) => return Err(self.bad_line(&rejected).into()),
                _ => return Err(Reply::bad("DONE ends IDLE, and nothing else").into()),
            }
            self.wire.flush().await?;
            match self.wait(&mut changes, deadline).await? {
                Woken::Octets => {}
                Woken::Change => self.tell_changes().await?,
                Woken::Keepalive => {
                    self.wire.responses(self.encoding).untagged(Status::Ok, None, "Still here");
                }
                Woken::End => return Err(Stop::Lost(io::ErrorKind::UnexpectedEof.into())),
                Woken::Silence => {
                    self.say_bye(None, "You were silent for too long");
                    return Err(Stop::Lost(io::ErrorKind::TimedOut.into()));
                }
                Woken::Shutdown => {
                    self.say_bye(Some(Code::Unavailable), "The server is stopping, connect again");
                    return Err(Stop::Lost(io::ErrorKind::ConnectionAborted.into()));
                }
            }
        }
    }

    async fn wait(
        &mut self,
        changes: &mut tokio::sync::watch::Receiver<u64>,
        deadline: tokio::time::Instant,
    ) -> io::Result<Woken> {
        let keepalive = match self.config.imap.idle_keepalive.get() {
            Duration::ZERO => Duration::MAX,
            interval => interval,
        };
        let shutdown = self.shared.shutdown.clone();
        tokio::select! {
            read = self.wire.read(&mut self.reader) => {
                Ok(if read? == 0 { Woken::End } else { Woken::Octets })
            }
            // Without a sender there is nothing to wait for but the client.
            Ok(()) = changes.changed() => Ok(Woken::Change),
            () = tokio::time::sleep(keepalive) => Ok(Woken::Keepalive),
            () = tokio::time::sleep_until(deadline) => Ok(Woken::Silence),
            () = shutdown.graceful() => Ok(Woken::Shutdown),
        }
    }

    /// Tells what changed. While the store is away there is nothing to tell; the next change, or command, tells all.
    async fn tell_changes(&mut self) -> Result<(), Stop> {
        match self.sync(Expunges::Tell, false).await {
            Err(Stop::Reply(_)) => Ok(()),
            result => result,
        }
    }
}
