//! Listings in pages: a page is one range read, and ends with the name to go on from.

use std::ops::Range;

use ekitei_kv::{KeyValue, RangeOptions, Transaction};

use crate::model::{Page, PageRequest};
use crate::rows::TxResult;

/// Which rows a page reads.
pub(crate) struct Bounds {
    range: Range<Vec<u8>>,
    limit: usize,
}

impl Bounds {
    /// The rows of `range` after the row `after`.
    pub(crate) fn new(mut range: Range<Vec<u8>>, after: Option<Vec<u8>>, page: &PageRequest) -> Self {
        if let Some(mut key) = after {
            key.push(0);
            range.start = range.start.max(key);
        }
        // A page from behind the end of the range is empty, not an inverted range.
        range.start = range.start.min(range.end.clone());
        Self { range, limit: page.effective_limit() }
    }

    /// The rows, and whether there are more.
    pub(crate) async fn rows(&self, tx: &Transaction) -> TxResult<(Vec<KeyValue>, bool)> {
        let options = RangeOptions { limit: self.limit + 1, ..RangeOptions::default() };
        let mut rows = tx.get_range(self.range.clone(), options).await?;
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        Ok((rows, more))
    }
}

/// Makes the page; `name` is what the next one goes on from.
pub(crate) fn page<T>(items: Vec<T>, more: bool, name: impl Fn(&T) -> String) -> Page<T> {
    let next = if more { items.last().map(name) } else { None };
    Page { items, next }
}
