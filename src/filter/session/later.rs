//! Checks that begin when all that they need is known, and are waited for when somebody needs what they found.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// A check that runs while the dialogue goes on. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Later<T>(JoinHandle<T>);

impl<T: Send + 'static> Later<T> {
    /// Begins it.
    pub(super) fn begin(check: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(check.in_current_span()))
    }

    /// What it found. A check that panicked panics here.
    pub(super) async fn found(mut self) -> T {
        match (&mut self.0).await {
            Ok(found) => found,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Nobody but we could have ended it, or the runtime, with which this ends too.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl<T> Drop for Later<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
