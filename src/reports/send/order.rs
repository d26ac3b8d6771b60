//! Sending at an administrator's word, without waiting for the reports' hour: a row asks whichever process sends, and takes its answer.

use std::time::Duration;

use ekitei_kv::{Transaction, Watch};
use serde::{Deserialize, Serialize};

use super::{Days, Sent, Turn};
use crate::error::{Error, Result};
use crate::reports::Reports;
use crate::rows;

/// How long the others have for writing down what they collected.
const SETTLE: Duration = Duration::from_secs(1);

/// What was ordered, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OrderRow {
    id: [u8; 16],
    days: Days,
    done: Option<Sent>,
}

impl Reports {
    /// Has everything sent that was collected on days that are over, or until now; returns what was done, or `None` if that takes longer than
    /// `patience`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn order(&self, days: Days, patience: Duration) -> Result<Option<Sent>> {
        self.flush().await?;
        let order = &OrderRow { id: rand::random(), days, done: None };
        let write = |tx: Transaction| async move {
            tx.set(&rows::order(), &rows::encode(order)?);
            Ok::<_, Error>(())
        };
        self.inner.database.transact(write).await?;
        let obeyed = async {
            loop {
                let (now, watch) = self.ordered().await?;
                match now.filter(|now| now.id == order.id) {
                    Some(OrderRow { done: None, .. }) => watch.changed().await?,
                    // If there is a later one, that includes it.
                    now => return Ok(now.and_then(|now| now.done)),
                }
            }
        };
        tokio::time::timeout(patience, obeyed).await.unwrap_or(Ok(None))
    }

    /// The last order, and a watch for the next change of it.
    pub(crate) async fn ordered(&self) -> Result<(Option<OrderRow>, Watch)> {
        let tx = self.inner.database.begin();
        let watch = tx.watch(&rows::order());
        let order = tx.get(&rows::order()).await?;
        tx.commit().await?;
        Ok((order.map(|order| rows::decode(&order)).transpose()?, watch))
    }

    /// Carries out the order that waits, if there is one; returns a watch for the next.
    pub(crate) async fn obey(&self, turn: &Turn<'_>) -> Result<Watch> {
        loop {
            let (order, watch) = self.ordered().await?;
            let Some(order @ OrderRow { done: None, .. }) = order else { return Ok(watch) };
            tokio::time::sleep(SETTLE).await;
            self.flush().await?;
            let sent = self.send(order.days, turn).await?;
            tracing::info!(?sent, days = ?order.days, "reports were sent as ordered");
            let (id, done) = (order.id, &OrderRow { done: Some(sent), ..order });
            let answer = |tx: Transaction| async move {
                let now = tx.get(&rows::order()).await?;
                let now: Option<OrderRow> = now.map(|row| rows::decode(&row)).transpose()?;
                if now.is_some_and(|now| now.id == id) {
                    tx.set(&rows::order(), &rows::encode(done)?);
                }
                Ok::<_, Error>(())
            };
            self.inner.database.transact(answer).await?;
        }
    }
}
