//! Addresses that keep bouncing: after some failures for good within a window, mail to them is not even tried for a while, which keeps
//! our reputation with those who count such attempts.
//!
//! Only failures of the address itself count (`5.1.x`, RFC 3463 §3.2), not those of a policy or of the message.

use std::time::Duration;

use ekitei_directory::EmailAddress;
use ekitei_kv::Transaction;
use ekitei_relay::{Failure, FailureKind, Status};

use crate::admin::MAX_PAGE;
use crate::rows::{self, SuppressionRow};
use crate::spool::{Inner, behind, snapshot};
use crate::{Error, Queue, Result};

/// Octets that are kept of what a server said.
const MAX_TEXT: usize = 300;

/// An address that mail is not sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// The address, its domain as A-labels, in lower case.
    pub address: String,
    /// Failures that led to it.
    pub bounces: u32,
    /// The last of them, since the epoch.
    pub last: Duration,
    /// Until when, since the epoch.
    pub until: Duration,
    /// What was said last.
    pub text: String,
}

impl Suppressed {
    /// The failure that its recipients get.
    pub fn failure(&self) -> Failure {
        Failure {
            kind: FailureKind::Recipient,
            // RFC 3463 §3.2: X.1.1 is "bad destination mailbox address".
            status: Status(5, 1, 1),
            code: None,
            text: format!(
                "mail to this address failed {} times and is not tried now: {}",
                self.bounces, self.text
            ),
            remote: None,
        }
    }
}

/// The form of an address in keys: local parts differ in case only in theory, and to suppress too much is no loss here.
fn folded(address: &str) -> String {
    address.to_lowercase()
}

impl SuppressionRow {
    fn in_force(self, address: String, now: Duration) -> Option<Suppressed> {
        let until = self.until.filter(|&until| until > now)?;
        Some(Suppressed { address, bounces: self.bounces, last: self.last, until, text: self.text })
    }
}

/// Whether a server said that there is no such address. (Our own failure of an address that is suppressed already does not prolong that.)
fn is_of_address(failure: &Failure) -> bool {
    /// X.1.7 and X.1.8 are about the sender's address.
    const OF_SENDER: [u16; 2] = [7, 8];
    let Status(class, subject, detail) = failure.status;
    let is_address = class == 5 && subject == 1 && !OF_SENDER.contains(&detail);
    is_address && failure.kind == FailureKind::Recipient && failure.remote.is_some()
}

/// Counts a failure of an address, if it is one of the address itself.
pub(crate) async fn count(
    inner: &Inner,
    transaction: &Transaction,
    address: &str,
    failure: &Failure,
) -> Result<()> {
    let settings = inner.live.load().queue.suppression.clone();
    if settings.bounces == 0 || !is_of_address(failure) {
        return Ok(());
    }
    let now = rows::whole_millis(inner.now());
    let (window, duration) = (settings.window.get(), settings.duration.get());
    let key = rows::suppression(&folded(address));
    let known = transaction.get(&key).await?.as_deref().map(rows::decode_suppression).transpose()?;
    let known = known.filter(|row| row.expires > now);
    let (bounces, first) = known.map_or((1, now), |row| (row.bounces.saturating_add(1), row.first));
    let until = (bounces >= settings.bounces).then_some(now + duration);
    let text = &failure.text[..failure.text.floor_char_boundary(MAX_TEXT)];
    let expires = until.unwrap_or(first + window);
    let row = SuppressionRow { bounces, first, last: now, until, expires, text: text.to_owned() };
    transaction.set(&key, &rows::encode(&row));
    Ok(())
}

impl Inner {
    /// Whether mail to an address is not tried now.
    pub(crate) async fn suppressed_in(
        &self,
        transaction: &Transaction,
        address: &str,
    ) -> Result<Option<Suppressed>> {
        if self.live.load().queue.suppression.bounces == 0 {
            return Ok(None);
        }
        let address = folded(address);
        let row = transaction.get_snapshot(&rows::suppression(&address)).await?;
        let row = row.as_deref().map(rows::decode_suppression).transpose()?;
        Ok(row.and_then(|row| row.in_force(address, self.now())))
    }
}

impl Queue {
    /// A page of addresses that mail is not sent to now, in their order, behind `after`; at most `limit`. The second value is where to go on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn suppressions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Suppressed>, Option<String>)> {
        let inner = &self.spool().inner;
        let limit = limit.clamp(1, MAX_PAGE);
        let range = &behind(rows::suppressions(), after.map(|address| rows::suppression(&folded(address))));
        let read = |transaction: Transaction| async move {
            Ok::<_, Error>(transaction.get_range(range.clone(), snapshot(limit)).await?)
        };
        let found = inner.database.read(read).await?;
        let mut suppressed = Vec::with_capacity(found.len());
        let mut next = None;
        for row in &found {
            let address = rows::suppressed_address(&row.key)?;
            next = Some(address.clone());
            suppressed.extend(rows::decode_suppression(&row.value)?.in_force(address, inner.now()));
        }
        Ok((suppressed, next.filter(|_| found.len() == limit)))
    }

    /// Lets mail go to an address again, and forgets its failures.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing is known of it; failures of the store.
    pub async fn unsuppress(&self, address: &EmailAddress) -> Result<()> {
        let key = &rows::suppression(&folded(&address.to_wire()));
        self.spool()
            .inner
            .database
            .transact(|transaction: Transaction| async move {
                let known = transaction.get(key).await?.is_some();
                if !known && !transaction.may_have_committed() {
                    return Err(Error::NotFound);
                }
                transaction.clear(key);
                Ok(())
            })
            .await
    }
}
