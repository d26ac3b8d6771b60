//! Harm that is done behind everybody's back, to see that the simulation finds it: a check that cannot fail checks nothing.

use ekitei_blob::body_under;
use ekitei_kv::keys::subspace::{BODIES, INDEX, KEYRING, MAILBOXES, MESSAGES, QUEUE};
use ekitei_kv::{Error, KeyValue, Transaction};
use foundationdb_tuple::{Element, unpack};

use crate::world::World;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A message vanishes from its mailbox, and counters know nothing of it.
    LoseIndexRow,
    /// What is known of a message is lost.
    LoseMessage,
    /// The reverse index of a message is lost.
    LosePlace,
    /// Where a body is, is lost.
    LoseBody,
    /// That an account has a body, is lost.
    LoseReference,
    /// A counter of a mailbox begins anew.
    LoseCounter,
    /// What an account holds is forgotten.
    LoseUsage,
    /// UIDs are given out anew.
    LoseUidNext,
    /// A message that waits is not sent, and nobody is told.
    LoseQueueEntry,
    /// Objects are empty.
    EmptyObjects,
    /// Octets of objects are others.
    SpoilObjects,
    /// A body is kept that nobody has.
    KeepBody,
    /// A key that bodies are encrypted with is lost.
    LoseDataKey,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::LoseIndexRow,
        Self::LoseMessage,
        Self::LosePlace,
        Self::LoseBody,
        Self::LoseReference,
        Self::LoseCounter,
        Self::LoseUsage,
        Self::LoseUidNext,
        Self::LoseQueueEntry,
        Self::EmptyObjects,
        Self::SpoilObjects,
        Self::KeepBody,
        Self::LoseDataKey,
    ];

    /// Whether it takes away a row of this key: the subspace and the numbers of kinds in it.
    fn takes(self, elements: &[Element<'_>]) -> bool {
        let number = |at: usize| elements.get(at).and_then(Element::as_i64).unwrap_or(-1);
        let of = |subspace: u32| number(0) == i64::from(subspace);
        match self {
            Self::LoseIndexRow => of(INDEX),
            Self::LoseMessage => of(MESSAGES) && number(3) == 0,
            Self::LosePlace => of(MESSAGES) && number(3) == 1,
            Self::LoseBody => of(BODIES) && number(1) == 0 && number(3) == 0,
            Self::LoseReference => of(BODIES) && number(1) == 0 && number(3) == 2,
            Self::LoseCounter => of(MAILBOXES) && number(2) == 3,
            Self::LoseUsage => of(MAILBOXES) && number(2) == 5,
            Self::LoseUidNext => of(MAILBOXES) && number(2) == 2,
            Self::LoseQueueEntry => of(QUEUE) && number(1) == 0 && number(3) == 1,
            Self::EmptyObjects | Self::SpoilObjects | Self::KeepBody | Self::LoseDataKey => false,
        }
    }

    /// Does it; whether there was anything to do it to.
    pub async fn strike(self, world: &World) -> bool {
        let struck = match self {
            Self::EmptyObjects => change_objects(world, Vec::clear),
            Self::SpoilObjects => {
                change_objects(world, |octets| octets.iter_mut().for_each(|octet| *octet ^= 1))
            }
            Self::KeepBody => keep_body(world).await,
            Self::LoseDataKey => lose_data_key(world).await,
            _ => self.take_row(world).await,
        };
        world.trace.note("enemy", format_args!("{self:?}: {struck:?}"));
        struck.is_some()
    }

    async fn take_row(self, world: &World) -> Option<String> {
        let taken = |row: &KeyValue| {
            let elements = unpack::<Vec<Element<'_>>>(&row.key).ok()?;
            // A counter at zero says what an absent one says.
            (self.takes(&elements) && row.value[..] != [0; 8]).then(|| format!("{elements:?}"))
        };
        let mut found = None;
        for row in world.rows().await {
            found = taken(&row).map(|what| (row, what)).or(found);
        }
        let (row, what) = found?;
        let key = &row.key;
        let clear = |transaction: Transaction| async move {
            transaction.clear(key);
            Ok::<_, Error>(())
        };
        world.database.transact(clear).await.ok().map(|()| what)
    }
}

/// Changes all objects: of one alone, nobody may have anything.
fn change_objects(world: &World, change: impl Fn(&mut Vec<u8>)) -> Option<String> {
    let names = world.objects.names();
    names.iter().for_each(|name| _ = world.objects.damage(name, &change));
    (!names.is_empty()).then(|| format!("{} objects", names.len()))
}

/// Takes away the row of a key that some body needs.
async fn lose_data_key(world: &World) -> Option<String> {
    for key in world.fresh_keyring().list(None, None, 1_000).await.ok()?.items {
        let Ok(Some(body)) = body_under(&world.database, key.id).await else { continue };
        let row = &ekitei_kv::keys::key(&(KEYRING, 2u32, key.id.get()));
        let clear = |transaction: Transaction| async move {
            transaction.clear(row);
            Ok::<_, Error>(())
        };
        return world.database.transact(clear).await.ok().map(|()| format!("key {:?} of {body}", key.id));
    }
    None
}

/// Copies the record of a body under another id.
async fn keep_body(world: &World) -> Option<String> {
    let rows = world.rows().await;
    let is_record = |row: &&KeyValue| {
        unpack::<Vec<Element<'_>>>(&row.key).is_ok_and(|elements| Sabotage::LoseBody.takes(&elements))
    };
    let row = rows.iter().find(is_record)?;
    let elements = unpack::<Vec<Element<'_>>>(&row.key).ok()?;
    let other = elements.get(2).and_then(Element::as_bytes)?.iter().map(|octet| octet ^ 0x55);
    let other: Vec<u8> = other.collect();
    let key = &ekitei_kv::keys::key(&(BODIES, 0u32, other.as_slice(), 0u32));
    let value = &row.value;
    let keep = |transaction: Transaction| async move {
        transaction.set(key, value);
        Ok::<_, Error>(())
    };
    world.database.transact(keep).await.ok().map(|()| format!("{other:?}"))
}
