//! What a cluster says of itself.

use bytes::Bytes;

use super::{FdbDatabase, error};
use crate::Result;

/// Where the client library puts the cluster's status document.
const STATUS: &[u8] = b"\xff\xff/status/json";

impl FdbDatabase {
    /// The status document, in JSON.
    pub(crate) async fn status(&self) -> Result<Option<Bytes>> {
        let transaction = self.database.create_trx().map_err(error::of_read)?;
        let status = transaction.get(STATUS, true).await.map_err(error::of_read)?;
        Ok(status.map(|json| Bytes::copy_from_slice(&json)))
    }
}
