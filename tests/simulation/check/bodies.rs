//! Bodies as each process reads them, and as the scrubber finds them: what is there is read by all and found by none, what is spoiled or gone is found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Finding, FindingKind, ObjectStore as _, ScrubPhase};
use ekitei_kv::keys::subspace::BODIES;
use ekitei_kv::{Error, Transaction};
use ekitei_mailstore::{AccountId, MailboxId, MessageId, NewMessage};
use foundationdb_tuple::{Element, unpack};
use tokio::time::{sleep, timeout};

use crate::world::{NODES, World};

/// By then the scrubber has looked at everything.
const SCRUBBED: Duration = Duration::from_secs(5 * 60);
const LOOK: Duration = Duration::from_secs(1);
/// So many things are spoiled until one is that somebody needs.
const ATTEMPTS: usize = 5;

/// All messages, and their octets as they are read past all faults and caches; `None` for those that cannot be read.
async fn all(world: &World) -> BTreeMap<(AccountId, MessageId), Option<Bytes>> {
    let judge = world.fresh_eyes();
    let mut all = BTreeMap::new();
    for account in world.accounts() {
        for mailbox in judge.mailboxes(account).await.unwrap_or_default() {
            let Some(stored) = world.stored(account, mailbox.id).await else { continue };
            for entry in &stored.entries {
                let read = judge.read(account, entry.message, 0..u64::MAX).await.ok();
                let read = read.filter(|octets| octets.len() as u64 == entry.size);
                all.insert((account, entry.message), read);
            }
        }
    }
    all
}

/// Every process reads every message as it is, whatever it kept of it.
pub async fn read_everywhere(world: &Arc<World>) {
    let all = all(world).await;
    for node in (0..NODES).filter_map(|place| world.node(place)) {
        for ((account, message), octets) in &all {
            let read = node.mailstore.read(*account, *message, 0..u64::MAX).await;
            if read.as_ref().ok() != octets.as_ref() {
                let read = read.map(|octets| octets.len());
                let what = format!("{} reads {message} as {read:?}", node.wire.name());
                world.ledger().accuse(what);
            }
        }
    }
}

/// Who waits for news of an account hears of what another process does.
pub async fn wake_everywhere(world: &Arc<World>) {
    let (Some(one), Some(other), Some(&account)) = (world.node(0), world.node(1), world.accounts().first())
    else {
        return world.ledger().accuse("there is nobody to be woken");
    };
    let mut changes = one.mailstore.watch(account);
    // The first news is that the watch is set; that it was before, another.
    while timeout(LOOK, changes.changed()).await.is_ok_and(|changed| changed.is_ok()) {}
    let message = NewMessage {
        message: Bytes::from_static(b"Subject: wake\r\n\r\n"),
        flags: ekitei_mailstore::Flags::NONE,
        keywords: ekitei_mailstore::Keywords::default(),
        received: None,
    };
    let appended = other.mailstore.append(account, MailboxId::INBOX, vec![message], None).await;
    let woken = timeout(LOOK, changes.changed()).await;
    if appended.is_err() || woken.is_err() {
        let what = format!(
            "{} adds a message ({appended:?}), and {} does not hear of it",
            other.wire.name(),
            one.wire.name()
        );
        world.ledger().accuse(what);
    }
}

/// What is spoiled, so that it can be put right again.
enum Harm {
    Object { name: String, octets: Bytes, gone: bool },
    Row { key: Bytes, value: Bytes },
}

impl Harm {
    /// Something that can be spoiled.
    async fn pick(world: &World, dice: &mut crate::dice::Dice) -> Option<Self> {
        let names = world.objects.names();
        let rows = world.rows().await.into_iter().filter(|row| is_chunk(&row.key));
        let chunks: Vec<_> = rows.collect();
        if names.is_empty() || (!chunks.is_empty() && dice.chance(0.3)) {
            let row = dice.pick(&chunks)?;
            return Some(Self::Row { key: row.key.clone(), value: row.value.clone() });
        }
        let name = dice.pick(&names)?.clone();
        let octets = world.objects.get(&name, 0..u64::MAX).await.ok()?;
        Some(Self::Object { name, octets, gone: dice.chance(0.4) })
    }

    /// Does it, or puts it right.
    async fn set(&self, world: &World, is_done: bool) {
        let flip = |octets: &Bytes| octets.iter().map(|octet| octet ^ u8::from(is_done)).collect::<Bytes>();
        let result = match self {
            Self::Object { name, gone: true, .. } if is_done => {
                world.objects.delete(name).await.map_err(|error| error.to_string())
            }
            Self::Object { name, octets, .. } => {
                world.objects.put(name, vec![flip(octets)]).await.map_err(|error| error.to_string())
            }
            Self::Row { key, value } => {
                let value = &flip(value);
                let set = |transaction: Transaction| async move {
                    // It may be in a segment meanwhile.
                    if transaction.get(key).await?.is_some() {
                        transaction.set(key, value);
                    }
                    Ok::<_, Error>(())
                };
                world.database.transact(set).await.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = result {
            world.ledger().accuse(format!("no harm can be done: {error}"));
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Object { name, gone, .. } => format!("{name}, gone: {gone}"),
            Self::Row { key, .. } => format!("{:?}", unpack::<Vec<Element<'_>>>(key)),
        }
    }
}

fn is_chunk(key: &[u8]) -> bool {
    let elements = unpack::<Vec<Element<'_>>>(key).unwrap_or_default();
    let number = |at: usize| elements.get(at).and_then(Element::as_i64);
    (number(0), number(1), number(3)) == (Some(i64::from(BODIES)), Some(0), Some(1))
}

/// The scrubber finds nothing but what is spoiled, and that.
pub async fn scrub(world: &Arc<World>) {
    let Some(findings) = scrubbed(world).await else { return };
    accuse_all(world, "all is well", &unexpected(world, &findings, &BTreeSet::new()));
    let mut dice = world.dice("harm to bodies");
    for _ in 0..ATTEMPTS {
        let Some(harm) = Harm::pick(world, &mut dice).await else { return };
        harm.set(world, true).await;
        let lost: BTreeSet<String> = all(world)
            .await
            .into_iter()
            .filter(|(_, octets)| octets.is_none())
            .map(|((_, message), _)| message.to_string())
            .collect();
        if lost.is_empty() {
            harm.set(world, false).await;
            continue;
        }
        world.trace.note("enemy", format_args!("spoils {}, which {lost:?} need", harm.name()));
        let expected = match &harm {
            Harm::Object { name, gone: true, .. } => BTreeSet::from([(FindingKind::Missing, name.clone())]),
            _ => lost.into_iter().map(|body| (FindingKind::Damaged, body)).collect(),
        };
        let Some(findings) = scrubbed(world).await else { return };
        accuse_all(world, &format!("spoiled is {}", harm.name()), &unexpected(world, &findings, &expected));
        harm.set(world, false).await;
        let Some(findings) = scrubbed(world).await else { return };
        accuse_all(world, "all is well again", &unexpected(world, &findings, &BTreeSet::new()));
        return;
    }
}

fn accuse_all(world: &World, when: &str, wrong: &[String]) {
    wrong.iter().for_each(|wrong| world.ledger().accuse(format!("scrubber, when {when}: {wrong}")));
}

/// What was found, and should not be, and the other way round.
fn unexpected(
    world: &World,
    findings: &[Finding],
    expected: &BTreeSet<(FindingKind, String)>,
) -> Vec<String> {
    let kept = world.kept_objects();
    let is_late = |finding: &&Finding| finding.kind == FindingKind::Orphan && !kept.contains(&finding.name);
    let findings: Vec<&Finding> = findings.iter().filter(|finding| !is_late(finding)).collect();
    let found: BTreeSet<_> = findings.iter().map(|finding| (finding.kind, finding.name.clone())).collect();
    let mut wrong: Vec<String> = findings
        .iter()
        .filter(|finding| !expected.contains(&(finding.kind, finding.name.clone())))
        .map(|finding| format!("it finds {finding:?}"))
        .collect();
    wrong.extend(
        expected.difference(&found).map(|(kind, name)| format!("it does not find {name} {}", kind.name())),
    );
    wrong
}

/// Lets the scrubber look at everything; what it found.
async fn scrubbed(world: &World) -> Option<Vec<Finding>> {
    let end = world.elapsed() + SCRUBBED;
    let mut requested = None;
    while world.elapsed() < end {
        let report = match world.god_blobs.scrub_report().await {
            Ok(report) => report,
            Err(error) => {
                world.ledger().accuse(format!("what the scrubber found cannot be read: {error}"));
                return None;
            }
        };
        match requested {
            // It begins with what is there then, not in the middle.
            None if report.phase == ScrubPhase::Idle => {
                let _ = world.god_blobs.request_scrub().await;
                requested = Some(report.ended);
            }
            Some(before) if report.phase == ScrubPhase::Idle && report.ended != before => {
                return Some(report.findings);
            }
            None | Some(_) => {}
        }
        sleep(LOOK).await;
    }
    world.ledger().accuse("the scrubber does not come to an end");
    None
}

/// What the scrubber found while things went wrong: only what was spoiled on its way more than once, or could not be reached, may look as if it were damaged.
pub async fn judge_findings(world: &World) {
    let Ok(report) = world.god_blobs.scrub_report().await else { return };
    let kept = world.kept_objects();
    for finding in report.findings {
        let object = match finding.what.strip_prefix("in segment ").and_then(|rest| rest.split_once(':')) {
            Some((segment, _)) => format!("segments/{segment}"),
            None => finding.name.clone(),
        };
        let spoiled = world.faulty.count(&object);
        let excused = match finding.kind {
            FindingKind::Damaged => spoiled > 1,
            FindingKind::Refused => true,
            FindingKind::Missing => spoiled > 0,
            FindingKind::Orphan => !kept.contains(&finding.name),
            FindingKind::Unreferenced => false,
        };
        if !excused {
            world.ledger().accuse(format!("the scrubber finds {finding:?}, and nothing happened to that"));
        }
    }
}
