//! Proving that what is in a repository can be restored.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::index::Index;
use crate::repository::pack::{self, PackId};
use crate::repository::{Lock, Repository};
use crate::walk::Walk;

/// How much is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    /// All documents; of bodies, that some pack has them in their length.
    #[default]
    Quick,
    /// Every pack: every chunk is decrypted, decompressed and hashed.
    Full,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Snapshots.
    pub snapshots: u64,
    /// Accounts in all snapshots together; likewise the messages.
    pub accounts: u64,
    /// Messages.
    pub messages: u64,
    /// Bodies, each once.
    pub bodies: u64,
    /// Packs.
    pub packs: u64,
    /// Octets of them.
    pub pack_bytes: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Chunks that were decrypted and compared with their checksums; of bodies only by a full verification.
    pub checked: u64,
    /// Chunks that no snapshot needs: pruning removes them.
    pub unneeded: u64,
    /// What is missing or damaged, and what needs it. Empty if everything can be restored.
    pub problems: Vec<String>,
}

impl Repository {
    /// Looks whether everything is there and as it was written.
    ///
    /// # Errors
    /// When the store fails. What is missing or damaged is no error, but in the report.
    pub async fn verify(&self, lock: &Lock, depth: Depth, progress: &Progress) -> Result<Report> {
        // Before the index: what another store adds meanwhile is not looked at.
        let ids = self.snapshot_ids().await?;
        let index = self.index(progress).await?;
        let mut report = Report {
            packs: index.packs().len() as u64,
            pack_bytes: index.packs().iter().map(|(_, size)| size).sum(),
            chunks: index.len() as u64,
            problems: index.problems.clone(),
            ..Report::default()
        };
        progress.step("looking at the snapshots");
        let mut walk = Walk::new(self, &index, progress);
        for id in ids {
            lock.check()?;
            let snapshot = match self.snapshot(&id).await {
                Ok(snapshot) => snapshot,
                Err(Error::Damaged(problem)) => {
                    report.problems.push(problem);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let found = walk.snapshot(&id, &snapshot).await?;
            report.snapshots += 1;
            report.accounts += found.accounts;
            report.messages += found.messages;
            let (counted, noted) = (
                (found.accounts, found.mailboxes, found.messages, found.bytes, found.queued),
                (
                    snapshot.totals.accounts,
                    snapshot.totals.mailboxes,
                    snapshot.totals.messages,
                    snapshot.totals.bytes,
                    snapshot.totals.queued,
                ),
            );
            if counted != noted && walk.problems.is_empty() {
                report
                    .problems
                    .push(format!("snapshot {id} has not what it says: {counted:?} instead of {noted:?}"));
            }
        }
        report.bodies = walk.bodies;
        report.unneeded = index.len().saturating_sub(walk.needed.len()) as u64;
        report.problems.append(&mut walk.problems);
        report.problems.extend(index.lost_packs().map(|pack| format!("{} is missing", pack.object_name())));
        if depth == Depth::Full {
            self.read_packs(lock, &index, progress, &mut report).await?;
        }
        Ok(report)
    }

    async fn read_packs(
        &self,
        lock: &Lock,
        index: &Index,
        progress: &Progress,
        report: &mut Report,
    ) -> Result<()> {
        let packs = index.packs().len();
        for (n, (id, size)) in index.packs().iter().enumerate() {
            lock.check()?;
            progress.check()?;
            progress.step(format!("reading pack {} of {packs}", n + 1));
            match self.read_pack(*id, *size, progress).await? {
                Ok(chunks) => report.checked += chunks,
                Err(problem) => report.problems.push(format!("{}: {problem}", id.object_name())),
            }
        }
        Ok(())
    }

    /// Reads a pack and every chunk of it: how many, or what is wrong.
    async fn read_pack(&self, id: PackId, size: u64, progress: &Progress) -> Result<Result<u64, String>> {
        let octets = match self.get(&id.object_name(), 0..u64::MAX).await {
            Ok(octets) => octets,
            Err(Error::Objects(error)) if error.is_not_found() => return Ok(Err("it is missing".to_owned())),
            Err(error) => return Err(error),
        };
        progress.read(octets.len() as u64);
        if octets.len() as u64 != size {
            return Ok(Err(format!("it has {} octets, and was written with {size}", octets.len())));
        }
        let list = pack::list_length(size, &octets).and_then(|length| {
            let begin = octets.len().checked_sub(usize::try_from(length).ok()?)?;
            pack::read_list(self.keys(), id, &octets[begin..])
        });
        let Some(list) = list else { return Ok(Err("its list is damaged".to_owned())) };
        let mut damaged = 0;
        for (number, chunk) in (0..).zip(&list) {
            let (begin, length) = (chunk.offset as usize, chunk.stored as usize);
            let stored = octets.get(begin..begin.saturating_add(length)).unwrap_or_default();
            let read = pack::read_chunk(self.keys(), id, number, chunk, stored);
            damaged += u64::from(read.is_none());
        }
        Ok(match damaged {
            0 => Ok(list.len() as u64),
            damaged => Err(format!("{damaged} of its {} chunks are not as they were written", list.len())),
        })
    }
}
