//! Points at which tests let the operator fail. Released builds have none.
//!
//! `EKITEI_OPERATOR_FAIL_AT=records.applied:2` fails the first two times that this point is passed, without a number each time.
//! With `EKITEI_OPERATOR_FAIL_BY=exit` the process ends there, as if it were killed.

#[cfg(any(debug_assertions, feature = "testing"))]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::error::{Error, Result};

    struct Wish {
        step: String,
        times: AtomicU64,
        exit: bool,
    }

    static WISH: LazyLock<Option<Wish>> = LazyLock::new(|| {
        let wish = std::env::var("EKITEI_OPERATOR_FAIL_AT").ok()?;
        let (step, times) = match wish.split_once(':') {
            Some((step, times)) => (step, times.parse().ok()?),
            None => (wish.as_str(), u64::MAX),
        };
        let exit = std::env::var("EKITEI_OPERATOR_FAIL_BY").is_ok_and(|by| by == "exit");
        Some(Wish { step: step.to_owned(), times: AtomicU64::new(times), exit })
    });

    /// Fails here if a test wants it.
    ///
    /// # Errors
    /// [`Error::FailPoint`].
    pub fn point(step: &'static str) -> Result<()> {
        let Some(wish) = WISH.as_ref().filter(|wish| wish.step == step) else { return Ok(()) };
        let less = |times: u64| times.checked_sub(1);
        if wish.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            return Ok(());
        }
        if wish.exit {
            tracing::warn!(step, "ends, since the test wants it");
            std::process::exit(70);
        }
        Err(Error::FailPoint(step))
    }
}

#[cfg(any(debug_assertions, feature = "testing"))]
pub use armed::point;

/// Never fails: this is a released build.
///
/// # Errors
/// None.
#[cfg(not(any(debug_assertions, feature = "testing")))]
#[allow(clippy::unnecessary_wraps)]
pub fn point(_: &'static str) -> crate::error::Result<()> {
    Ok(())
}
