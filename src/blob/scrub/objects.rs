//! Objects: each is one that rows know of. Others are told, not deleted: they may be of another installation, or of rows that are lost.

use super::{FindingKind, Scrubber, Step};
use crate::{BodyId, Error, ObjectInfo, Result, SegmentId, rows};

/// Objects of a step.
const OBJECTS: usize = 1_000;

impl Scrubber {
    /// Looks at the objects after the cursor.
    pub(super) async fn objects(&self, cursor: &[u8]) -> Result<Step> {
        let mut step = Step::default();
        let after = String::from_utf8_lossy(cursor);
        let page = self.blobs.inner.objects.list("", &after, OBJECTS).await?;
        for object in &page {
            step.tally.objects += 1;
            if self.is_orphan(object).await? {
                let what = format!("{} octets that no row knows of", object.size);
                step.find(FindingKind::Orphan, &object.name, what);
            }
        }
        if page.len() == OBJECTS {
            step.next = page.last().map(|last| next_to_look_at(&last.name).into_bytes());
        }
        Ok(step)
    }

    /// Whether no row knows of the object, although it is older than what is on its way can be.
    async fn is_orphan(&self, object: &ObjectInfo) -> Result<bool> {
        let grace = self.blobs.inner.settings.grace;
        if object.modified + grace * 2 > self.blobs.inner.clock.now() {
            return Ok(false);
        }
        let keys = match (BodyId::parse(&object.name), SegmentId::of_object(&object.name)) {
            (Some(body), _) => [rows::record(body), rows::intent(body)],
            (_, Some(segment)) => [rows::segment(segment), rows::segment_intent(segment)],
            // Somebody else's: backups lie in folders of their own.
            _ => return Ok(false),
        };
        let keys = &keys;
        self.blobs
            .inner
            .database
            .read(|transaction| async move {
                for key in keys {
                    if transaction.get_snapshot(key).await?.is_some() {
                        return Ok::<_, Error>(false);
                    }
                }
                Ok(true)
            })
            .await
    }
}

/// Where to go on after an object; folders that are somebody else's are passed over.
fn next_to_look_at(name: &str) -> String {
    match name.split_once('/') {
        // The octet after the slash: past all that is in the folder.
        Some((folder, _)) if SegmentId::of_object(name).is_none() => format!("{folder}0"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_others_are_passed_over() {
        assert_eq!(next_to_look_at("backup/2026/data"), "backup0");
        let body = "00112233445566778899aabbccddeeff";
        assert_eq!(next_to_look_at(body), body);
        let segment = format!("segments/{body}");
        assert_eq!(next_to_look_at(&segment), segment);
    }
}
