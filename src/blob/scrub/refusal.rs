//! A store that refuses everything: the rights are gone, or the bucket, or the credentials. That is one fact, and not one for each object.

use std::time::Duration;

use ekitei_kv::lease::Lease;

use super::{Finding, FindingKind, FindingRow, ScrubState, Scrubber};
use crate::resilience::PROBE;
use crate::{Error, ObjectError, ObjectErrorKind, Result, rows};

/// What the finding is about.
const NAME: &str = "object store";

/// The row of the finding, which goes when the store gives something again.
pub(super) fn refusal_row() -> Vec<u8> {
    rows::finding(FindingKind::Refused, NAME)
}

/// Whether somebody must change something before the store gives what was asked for.
pub(super) fn is_refusal(kind: ObjectErrorKind) -> bool {
    matches!(kind, ObjectErrorKind::Denied | ObjectErrorKind::Invalid | ObjectErrorKind::Expired)
}

impl Scrubber {
    /// Whether the store, which did not give an object, refuses others, too: an object that was never written is missing where that may be known.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn is_refused(&self) -> Result<bool> {
        match self.blobs.inner.objects.head(PROBE).await {
            Ok(_) => Ok(false),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) if is_refusal(error.kind()) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells that nothing can be checked.
    pub(super) async fn tell_refusal(
        &self,
        lease: &Lease,
        state: &ScrubState,
        error: &ObjectError,
        now: Duration,
    ) -> Result<()> {
        tracing::error!(%error, "the object store refuses to be checked; that goes on when it does not any more");
        let what = format!("nothing can be checked: {error}");
        let finding = Finding { kind: FindingKind::Refused, name: NAME.to_owned(), what };
        let row = FindingRow::new(state.run, now, &finding).encode();
        let (key, row) = (&refusal_row(), &row);
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                transaction.set(key, row);
                Ok::<_, Error>(())
            })
            .await
    }
}
