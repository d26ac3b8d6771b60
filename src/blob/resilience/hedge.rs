//! Second requests for slow reads ("hedging"): most of the slowest answers come from one slow disk or connection, and the same question asked
//! again finds another.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::Metrics;
use crate::object_error::ObjectError;

/// The first good answer of `first` and, if that has not come after `slow`, of `second` too; where both fail, the error of the first.
pub(super) async fn first_answer<T, F>(
    first: impl Future<Output = Result<T, ObjectError>>,
    slow: Duration,
    second: impl FnOnce() -> Option<F>,
    metrics: &Metrics,
) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let mut first = pin!(first);
    tokio::select! {
        biased;
        result = &mut first => return result,
        () = tokio::time::sleep(slow) => {}
    }
    let Some(second) = second() else {
        metrics.hedged("refused");
        return first.await;
    };
    let mut second = pin!(second);
    let (won, result, other) = tokio::select! {
        biased;
        result = &mut first => ("lost", result, Other::Second),
        result = &mut second => ("won", result, Other::First),
    };
    let Err(error) = result else {
        metrics.hedged(won);
        return result;
    };
    let result = match other {
        Other::First => first.await,
        Other::Second => second.await,
    };
    metrics.hedged(if result.is_ok() == (won == "lost") { "won" } else { "lost" });
    result.map_err(|_| error)
}

/// Which request is still on its way.
enum Other {
    First,
    Second,
}
