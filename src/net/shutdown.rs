//! Stopping in an orderly way: say it once, let work end, then cut off what did not.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Accept nothing new; end at the next convenient point.
    Graceful,
    /// The grace is over.
    Abort,
}

/// A handle to the shutdown of the service. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    /// How many tracked tasks are running.
    running: Arc<watch::Sender<usize>>,
}

/// Counts one tracked task while it lives.
struct Tracked(Arc<watch::Sender<usize>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A service that is running.
    pub fn new() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Running)), running: Arc::new(watch::Sender::new(0)) }
    }

    /// Begins the shutdown: [`Shutdown::graceful`] resolves everywhere. Repeating it does nothing.
    pub fn begin(&self) {
        self.advance(Phase::Graceful);
    }

    /// Whether it has begun.
    pub fn is_shutting_down(&self) -> bool {
        *self.phase.borrow() != Phase::Running
    }

    /// Resolves when the shutdown begins; at once if it has. Servers wait for it beside the next command, and
    /// answer `421` or `BYE`.
    pub async fn graceful(&self) {
        self.reached(Phase::Graceful).await;
    }

    /// Runs `task` so that [`Shutdown::finish`] waits for it. It is dropped at its next `await` when the grace is
    /// over.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.send_modify(|count| *count += 1);
        let tracked = Tracked(Arc::clone(&self.running));
        let shutdown = self.clone();
        tokio::spawn(async move {
            let _tracked = tracked;
            tokio::select! {
                biased;
                () = task => {}
                () = shutdown.reached(Phase::Abort) => {}
            }
        })
    }

    /// How many tracked tasks are running.
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Begins the shutdown if nobody did, waits until all tracked tasks have ended or `grace` is over, and then
    /// drops those that are left. Returns how many had to be dropped.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.begin();
        let mut running = self.running.subscribe();
        if tokio::time::timeout(grace, running.wait_for(|count| *count == 0)).await.is_ok() {
            return 0;
        }
        let left = self.running();
        self.advance(Phase::Abort);
        // Each task ends at its next await; one that computes without end must not keep the process.
        let _ = tokio::time::timeout(Duration::from_secs(1), running.wait_for(|count| *count == 0)).await;
        left
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    async fn reached(&self, at_least: Phase) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= at_least).await;
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_end_in_time_are_waited_for() {
        let shutdown = Shutdown::new();
        let inner = shutdown.clone();
        shutdown.spawn(async move { inner.graceful().await });
        assert_eq!(shutdown.running(), 1);
        assert!(!shutdown.is_shutting_down());
        assert_eq!(shutdown.finish(Duration::from_secs(5)).await, 0);
        assert!(shutdown.is_shutting_down());
        shutdown.graceful().await;
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_end_are_dropped_after_the_grace() {
        struct Held(Arc<watch::Sender<bool>>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.send_replace(true);
            }
        }
        let dropped = Arc::new(watch::Sender::new(false));
        let held = Held(Arc::clone(&dropped));
        let shutdown = Shutdown::new();
        shutdown.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert_eq!(shutdown.finish(Duration::from_secs(20)).await, 1);
        assert!(*dropped.borrow());
        assert_eq!(shutdown.running(), 0);
    }
}
