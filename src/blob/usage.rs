//! Which bodies need a data key: asked before it is destroyed.

use ekitei_kv::{AsKvError, Database};

use crate::record::BodyRecord;
use crate::{BodyId, DataKeyId, Error, Result, rows};

/// Why the search ends early.
enum End {
    Found(BodyId),
    Failed(Error),
}

impl From<ekitei_kv::Error> for End {
    fn from(error: ekitei_kv::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl AsKvError for End {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Found(_) => None,
            Self::Failed(error) => error.as_kv_error(),
        }
    }
}

/// A body that is encrypted with this key, if there is one. Reads the record of every body, and the rows of those that are hot.
///
/// # Errors
/// When the store fails, or a record is damaged: then nobody knows what it needs.
pub async fn body_under(database: &Database, key: DataKeyId) -> Result<Option<BodyId>> {
    let search = database.scan(rows::all_bodies(), |page| {
        for row in page {
            let Some(body) = rows::body_of_record(&row.key) else { continue };
            let record = BodyRecord::decode(body, &row.value).map_err(End::Failed)?;
            if record.key.is_some_and(|seal| seal.data_key == key) {
                return Err(End::Found(body));
            }
        }
        Ok(())
    });
    match search.await {
        Ok(()) => Ok(None),
        Err(End::Found(body)) => Ok(Some(body)),
        Err(End::Failed(error)) => Err(error),
    }
}
