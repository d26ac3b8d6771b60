//! Which bodies need a data key: asked before it is destroyed.

use ekitei_kv::{Database, RangeOptions, prefix_end};

use crate::record::BodyRecord;
use crate::{BodyId, DataKeyId, Result, rows};

/// Rows that are read at a time: those of a hot body are large, and a page of them must be read in one transaction.
const PAGE: usize = 20;

/// A body that is encrypted with this key, if there is one. Reads the record of every body, and some rows of those that are hot.
///
/// # Errors
/// When the store fails, or a record is damaged: then nobody knows what it needs.
pub async fn body_under(database: &Database, key: DataKeyId) -> Result<Option<BodyId>> {
    let options = RangeOptions { limit: PAGE, snapshot: true, ..RangeOptions::default() };
    let mut range = rows::all_bodies();
    loop {
        let rest = &range;
        let page = database.read(|tx| async move { tx.get_range(rest.clone(), options).await }).await?;
        let Some(last) = page.last() else { return Ok(None) };
        let last = rows::body_of_any(&last.key)
            .ok_or_else(|| ekitei_kv::Error::Corrupt("the key of a row of a body".into()))?;
        for row in page {
            let Some(body) = rows::body_of_record(&row.key) else { continue };
            let record = BodyRecord::decode(body, &row.value)?;
            if record.key.is_some_and(|seal| seal.data_key == key) {
                return Ok(Some(body));
            }
        }
        // Its record was read; what else there is of it says nothing of keys.
        let prefix = rows::body_prefix(last);
        range.start = prefix_end(&prefix).unwrap_or(prefix);
    }
}
