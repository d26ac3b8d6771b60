//! Keys: bodies are encrypted since that was promised, and no key that one of them needs is gone.

use std::sync::Arc;

use ekitei_blob::{DataKeys as _, body_under};
use ekitei_keyring::{KeyInfo, KeyState, Keyring};
use ekitei_kv::KeyValue;
use ekitei_kv::keys::subspace::BODIES;
use foundationdb_tuple::{Element, unpack};

use crate::objects::AllSeeing;
use crate::plan::Encryption;
use crate::world::World;

/// What every message has in it before the number that it is named by.
const MARK: &[u8] = b"Subject: m";

/// Compares the keys with what was promised.
pub async fn check(world: &Arc<World>) {
    let mut wrong = Vec::new();
    let from = world.ledger().encrypted_from.filter(|_| !world.plan.compresses);
    if let Some(from) = from {
        wrong.extend(plain(world, from).await);
    }
    let keyring = world.fresh_keyring();
    for key in keys(world, &keyring).await {
        wrong.extend(wrong_with(world, &keyring, &key).await);
    }
    wrong.into_iter().for_each(|wrong| world.ledger().accuse(wrong));
}

/// What is wrong with a key.
async fn wrong_with(world: &World, keyring: &Keyring, key: &KeyInfo) -> Option<String> {
    let number = key.id.get();
    if key.state != KeyState::Destroyed {
        if world.ledger().destroyed_keys.contains(&key.id) {
            return Some(format!("key {number} was destroyed, and is {:?}", key.state));
        }
        let got = keyring.get(key.id).await;
        return got.err().map(|error| format!("key {number} cannot be had: {error}"));
    }
    match body_under(&world.database, key.id).await {
        Ok(None) => None,
        Ok(Some(body)) => Some(format!("key {number} was destroyed, and body {body} needs it")),
        Err(error) => Some(format!("who needs key {number} cannot be read: {error}")),
    }
}

async fn keys(world: &World, keyring: &Keyring) -> Vec<KeyInfo> {
    match keyring.list(None, None, 10_000).await {
        Ok(page) => page.items,
        Err(error) => {
            world.ledger().accuse(format!("the keys cannot be listed: {error}"));
            Vec::new()
        }
    }
}

/// Messages that are stored as they are, of those that have this number or a higher one.
async fn plain(world: &World, from: usize) -> Vec<String> {
    let mut found = Vec::new();
    for row in world.rows().await.iter().filter(|row| is_chunk(row)) {
        found.extend(numbers(&row.value).map(|number| (number, "in rows".to_owned())));
    }
    let objects = AllSeeing(world.objects.clone());
    for name in world.objects.names() {
        let octets = objects.look(&name).unwrap_or_default();
        found.extend(numbers(&octets).map(|number| (number, format!("in object {name}"))));
    }
    let found = found.into_iter().filter(|(number, _)| *number >= from);
    found
        .map(|(number, place)| format!("m{number} is not encrypted {place}, as all from m{from} on"))
        .collect()
}

fn is_chunk(row: &KeyValue) -> bool {
    let elements = unpack::<Vec<Element<'_>>>(&row.key).unwrap_or_default();
    let number = |at: usize| elements.get(at).and_then(Element::as_i64);
    (number(0), number(1), number(3)) == (Some(i64::from(BODIES)), Some(0), Some(1))
}

/// The numbers of messages that are found in octets.
fn numbers(octets: &[u8]) -> impl Iterator<Item = usize> {
    let starts = octets.iter().enumerate().filter(|(_, octet)| **octet == MARK[0]).map(|(at, _)| at);
    starts.filter_map(|at| {
        let rest = octets[at..].strip_prefix(MARK)?;
        let end = rest.iter().position(|octet| !octet.is_ascii_digit())?;
        std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
    })
}

/// When all bodies are gone, every key can be destroyed.
pub async fn check_after_deletion(world: &Arc<World>) {
    if world.plan.encryption == Encryption::Off {
        return;
    }
    let keyring = world.fresh_keyring();
    for key in keys(world, &keyring).await {
        if key.state == KeyState::Destroyed {
            continue;
        }
        if let Err(error) = keyring.destroy(key.id, false).await {
            world
                .ledger()
                .accuse(format!("nobody needs key {}, and it cannot be destroyed: {error}", key.id.get()));
        }
    }
}
