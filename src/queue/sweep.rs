//! Removing rows that mean nothing any more: figures of destinations that nothing waits for, and failures of addresses that are long over.

use ekitei_kv::{Transaction, decode_counter};

use crate::{Error, Queue, Result, rows};

/// Rows that one transaction removes.
const BATCH: usize = 500;

impl Queue {
    /// Removes what is void; to be called every hour or so, by any process.
    ///
    /// # Errors
    /// When the store fails; what is left waits for the next time.
    pub async fn sweep(&self) -> Result<u64> {
        let inner = &self.spool().inner;
        crate::quota::sweep(inner).await?;
        let now = inner.now();
        let mut void = Vec::new();
        let zero = |value: &[u8]| decode_counter(Some(value)) == 0;
        let over = |value: &[u8]| rows::decode_suppression(value).is_ok_and(|row| row.expires <= now);
        inner
            .database
            .scan(rows::counts(), |page| {
                void.extend(page.into_iter().filter(|row| zero(&row.value)).map(|row| row.key));
                Ok::<_, Error>(())
            })
            .await?;
        let figures = void.len();
        inner
            .database
            .scan(rows::suppressions(), |page| {
                void.extend(page.into_iter().filter(|row| over(&row.value)).map(|row| row.key));
                Ok::<_, Error>(())
            })
            .await?;
        for (keys, is_void) in
            [(&void[..figures], &zero as &(dyn Fn(&[u8]) -> bool + Sync)), (&void[figures..], &over)]
        {
            for keys in keys.chunks(BATCH) {
                inner
                    .database
                    .transact(|transaction: Transaction| async move {
                        for key in keys {
                            // Read again: something may have come meanwhile.
                            if transaction.get(key).await?.is_some_and(|value| is_void(&value)) {
                                transaction.clear(key);
                            }
                        }
                        Ok::<_, Error>(())
                    })
                    .await?;
            }
        }
        Ok(void.len() as u64)
    }
}
