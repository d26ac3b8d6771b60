//! Figures of the queue: totals and destinations, from counters; no message is looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use ekitei_kv::{KeyValue, Transaction, decode_counter};

use crate::rows::{self, Count, Named, Total};
use crate::spool::snapshot;
use crate::{Error, Queue, Result};

/// Entries by where they wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// To be tried as soon as may be, or being tried.
    pub active: u64,
    /// For their next attempt.
    pub deferred: u64,
    /// Held by an administrator.
    pub held: u64,
}

impl Figures {
    /// All of them.
    pub fn entries(self) -> u64 {
        self.active + self.deferred + self.held
    }

    fn add(&mut self, count: Count, n: u64) {
        *match count {
            Count::Fresh => &mut self.active,
            Count::Deferred => &mut self.deferred,
            Count::Held => &mut self.held,
        } += n;
    }
}

/// What is in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Messages.
    pub messages: u64,
    /// Octets of the messages.
    pub bytes: u64,
    /// Entries: a message has one for each destination.
    pub figures: Figures,
    /// When the oldest message came, since the epoch.
    pub oldest: Option<Duration>,
    /// Destinations that something waits for.
    pub destinations: u64,
    /// Those of them with the most entries, beginning with the most.
    pub top: Vec<DestinationStatistics>,
}

/// What waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationStatistics {
    /// The domain as A-labels, or an address literal.
    pub destination: String,
    /// Its entries.
    pub figures: Figures,
}

impl Queue {
    /// When the oldest message came, since the epoch. Reads one row.
    pub(crate) async fn oldest(&self) -> Result<Option<Duration>> {
        let read = |transaction: Transaction| async move {
            arrival(&transaction.get_range(rows::messages(), snapshot(1)).await?)
        };
        self.spool().inner.database.read(read).await
    }

    /// Figures, with the `top` destinations that most waits for. Reads a few rows for each destination, none for each message.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn statistics(&self, top: usize) -> Result<QueueStatistics> {
        let inner = &self.spool().inner;
        let (messages, bytes, oldest) = inner
            .database
            .read(|transaction: Transaction| async move {
                let messages = transaction.get_snapshot(&rows::total(Total::Messages)).await?;
                let bytes = transaction.get_snapshot(&rows::total(Total::Bytes)).await?;
                Ok::<_, Error>((messages, bytes, transaction.get_range(rows::messages(), snapshot(1)).await?))
            })
            .await?;
        let oldest = arrival(&oldest)?;
        let mut destinations: BTreeMap<String, Figures> = BTreeMap::new();
        let mut figures = Figures::default();
        inner
            .database
            .scan(rows::counts(), |page| {
                for row in page {
                    let (destination, count) = rows::count_of(&row.key)?;
                    let n = unsigned(decode_counter(Some(&row.value)));
                    figures.add(count, n);
                    if n > 0 {
                        destinations.entry(destination).or_default().add(count, n);
                    }
                }
                Ok::<_, Error>(())
            })
            .await?;
        let mut all: Vec<DestinationStatistics> = destinations
            .into_iter()
            .map(|(destination, figures)| DestinationStatistics { destination, figures })
            .collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.figures.entries()));
        let count = all.len() as u64;
        all.truncate(top);
        Ok(QueueStatistics {
            messages: unsigned(decode_counter(messages.as_deref())),
            bytes: unsigned(decode_counter(bytes.as_deref())),
            figures,
            oldest,
            destinations: count,
            top: all,
        })
    }
}

/// When the first of these messages came.
fn arrival(messages: &[KeyValue]) -> Result<Option<Duration>> {
    let named = messages.first().map(|row| rows::named(&row.key)).transpose()?;
    Ok(named.map(|named| match named {
        Named::Message(id) => id.time(),
        Named::Entry(id) => id.message.time(),
    }))
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
