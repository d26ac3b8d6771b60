//! The life of a key: published, signing, retired, removed.
//!
//! A key that begins to sign retires the one of the same algorithm before it, so a message has one signature for each algorithm.

use ekitei_directory::{Domain, Page, PageRequest};
use ekitei_kv::{RangeOptions, Transaction};

use crate::error::{Error, Result};
use crate::key::{self, Algorithm, NewPair};
use crate::model::{Activation, KeyInfo, NewKey, Stage};
use crate::rows::{self, KeyRow, NamedRow};
use crate::selector;
use crate::signing::Signing;

/// Keys that are to be made.
pub(crate) struct Wanted {
    pub(crate) algorithms: Vec<Algorithm>,
    /// Of the one key, if it is one.
    pub(crate) selector: Option<String>,
    /// They sign at once.
    pub(crate) now: bool,
    pub(crate) activation: Activation,
}

/// A key that was made and is not stored yet.
struct Draft {
    algorithm: Algorithm,
    pair: NewPair,
    selector: Option<String>,
    activation: Activation,
}

impl Signing {
    /// Makes keys for a domain: one, or one for each configured algorithm. They are published, and sign when they are activated; then those of the same
    /// algorithms before them retire, which is how keys are rotated.
    ///
    /// # Errors
    /// `NoSuchDomain`, `AlreadyExists`, `Invalid`, `NotYet`, `NoEncryptionKey`, `Store`.
    pub async fn create(&self, domain: &Domain, new: NewKey) -> Result<Vec<KeyInfo>> {
        let NewKey { algorithm, selector, now, activation } = new;
        if activation == Activation::Manual && !(self.inner.manual_gate)() {
            return Err(Error::NotYet);
        }
        if let Some(selector) = &selector {
            selector::check(selector)?;
            if algorithm.is_none() {
                return Err(Error::Invalid("a selector is for one key: say its algorithm too".to_owned()));
            }
        }
        if !self.inner.directory.is_local_domain(domain).await? {
            return Err(Error::NoSuchDomain(domain.to_string()));
        }
        let algorithms = algorithm.map_or_else(|| self.configured_algorithms(), |one| vec![one]);
        self.store_new(domain, Wanted { algorithms, selector, now, activation }, |_| true).await
    }

    pub(crate) fn configured_algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for configured in &self.inner.live.load().signing.algorithms {
            let algorithm = Algorithm::from(*configured);
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Stores new keys, if `still_wanted` by the keys that are there.
    pub(crate) async fn store_new(
        &self,
        domain: &Domain,
        wanted: Wanted,
        still_wanted: impl Fn(&[NamedRow]) -> bool,
    ) -> Result<Vec<KeyInfo>> {
        let Wanted { algorithms, selector, now, activation } = wanted;
        let mut drafts = Vec::with_capacity(algorithms.len());
        for algorithm in algorithms {
            let pair = tokio::task::spawn_blocking(move || key::generate(algorithm)).await;
            let pair = pair.map_err(|error| Error::Key(error.to_string()))??;
            drafts.push(Draft { algorithm, pair, selector: selector.clone(), activation });
        }
        let (operation, drafts, still_wanted) = (rand::random::<[u8; 16]>(), &drafts, &still_wanted);
        self.change(|tx| async move {
            let mut present = rows::of_domain(&tx, domain).await?;
            let done = present.iter().any(|named| named.row.operation == operation);
            if !done && still_wanted(&present) {
                for draft in drafts {
                    let named = self.draft_row(domain, draft, operation, &present)?;
                    rows::put(&tx, domain, &named.selector, &named.row)?;
                    present.push(named);
                }
                if now {
                    activate(&tx, &mut present, self.now(), |named| named.row.operation == operation)?;
                }
            }
            let made = present.into_iter().filter(|named| named.row.operation == operation);
            Ok(made.map(KeyInfo::from).collect())
        })
        .await
    }

    /// The row of a new key that does not collide with those that are there.
    fn draft_row(
        &self,
        domain: &Domain,
        draft: &Draft,
        operation: [u8; 16],
        present: &[NamedRow],
    ) -> Result<NamedRow> {
        let config = self.inner.live.load();
        let most = usize::try_from(config.signing.max_keys).unwrap_or(usize::MAX);
        if present.len() >= most {
            return Err(Error::Invalid(format!(
                "{domain} has {most} keys already (signing.maxKeys); remove some"
            )));
        }
        let taken = |name: &str| present.iter().any(|named| named.selector == name);
        let selector = match &draft.selector {
            Some(chosen) if taken(chosen) => {
                return Err(Error::AlreadyExists { domain: domain.to_string(), selector: chosen.clone() });
            }
            Some(chosen) => chosen.clone(),
            None => selector::choose(&config.signing.selector, draft.algorithm, self.now(), taken)?,
        };
        let row = KeyRow {
            algorithm: draft.algorithm,
            stage: Stage::Published,
            created: self.now(),
            activated: None,
            retired: None,
            public: draft.pair.public.clone(),
            private: self.inner.vault.seal(&draft.pair.private, &rows::binding(domain, &selector))?,
            operation,
            manual: draft.activation == Activation::Manual,
        };
        Ok(NamedRow { domain: domain.clone(), selector, row })
    }

    /// A key.
    ///
    /// # Errors
    /// `NoSuchKey`, `Store`.
    pub async fn key(&self, domain: &Domain, selector: &str) -> Result<KeyInfo> {
        let row = self.inner.db.read(|tx| async move { rows::find(&tx, domain, selector).await }).await?;
        let row = row.ok_or_else(|| no_such_key(domain, selector))?;
        Ok(NamedRow { domain: domain.clone(), selector: selector.to_owned(), row }.into())
    }

    /// The keys of a domain, or of all, in the order of domains and selectors. Pages of all domains go on from `selector._domainkey.domain`.
    ///
    /// # Errors
    /// `Invalid` for a page that none of our pages named, `Store`.
    pub async fn list(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<KeyInfo>> {
        let mut range = rows::keys_of(domain);
        if let Some(after) = &page.after {
            let mut key = key_after(after)?;
            key.push(0);
            range.start = range.start.max(key).min(range.end.clone());
        }
        let limit = match page.limit {
            0 => PageRequest::DEFAULT_LIMIT,
            some => some.min(PageRequest::MAX_LIMIT),
        };
        let range = &range;
        let options = RangeOptions { limit: limit + 1, ..RangeOptions::default() };
        let read =
            |tx: Transaction| async move { Ok::<_, Error>(tx.get_range(range.clone(), options).await?) };
        let found = self.inner.db.read(read).await?;
        let more = found.len() > limit;
        let items: Vec<KeyInfo> =
            found.iter().take(limit).map(|row| Ok(rows::named(row)?.into())).collect::<Result<_>>()?;
        let next = if more { items.last().map(|key| key.record.name.clone()) } else { None };
        Ok(Page { items, next })
    }

    /// Lets a key sign, and retires the one of the same algorithm before it.
    ///
    /// # Errors
    /// `NoSuchKey`, `Invalid` for a retired key, `Store`.
    pub async fn activate(&self, domain: &Domain, selector: &str) -> Result<KeyInfo> {
        self.change(|tx| async move {
            let mut present = rows::of_domain(&tx, domain).await?;
            let found = present.iter().find(|named| named.selector == selector);
            match found.map(|named| named.row.stage) {
                None => return Err(no_such_key(domain, selector)),
                Some(Stage::Retired) => {
                    return Err(Error::Invalid(format!(
                        "the key {selector} is retired, and does not sign again"
                    )));
                }
                Some(Stage::Published | Stage::Signing) => {}
            }
            activate(&tx, &mut present, self.now(), |named| named.selector == selector)?;
            let found = present.into_iter().find(|named| named.selector == selector);
            found.map(KeyInfo::from).ok_or_else(|| no_such_key(domain, selector))
        })
        .await
    }

    /// Lets a key sign no more. If no other of the domain signs, its mail leaves unsigned.
    ///
    /// # Errors
    /// `NoSuchKey`, `Store`.
    pub async fn retire(&self, domain: &Domain, selector: &str) -> Result<KeyInfo> {
        self.change(|tx| async move {
            let row = rows::find(&tx, domain, selector).await?;
            let mut row = row.ok_or_else(|| no_such_key(domain, selector))?;
            if row.stage != Stage::Retired {
                row.stage = Stage::Retired;
                row.retired = Some(self.now());
                rows::put(&tx, domain, selector, &row)?;
            }
            Ok(NamedRow { domain: domain.clone(), selector: selector.to_owned(), row }.into())
        })
        .await
    }

    /// Removes a key. Without `force` only one that never signed, or is retired for `signing.keepRetired`.
    ///
    /// # Errors
    /// `NoSuchKey`, `InUse`, `Store`.
    pub async fn remove(&self, domain: &Domain, selector: &str, force: bool) -> Result<()> {
        let keep = self.inner.live.load().signing.keep_retired.get().as_secs();
        self.change(|tx| async move {
            let Some(row) = rows::find(&tx, domain, selector).await? else {
                // A repeated transaction finds its own work.
                return if tx.may_have_committed() { Ok(()) } else { Err(no_such_key(domain, selector)) };
            };
            let removable = match row.stage {
                Stage::Published => true,
                Stage::Signing => false,
                Stage::Retired => row.is_over(self.now(), keep),
            };
            if !removable && !force {
                return Err(Error::InUse(selector.to_owned()));
            }
            tx.clear(&rows::key_key(domain, selector));
            Ok(())
        })
        .await
    }
}

impl KeyRow {
    /// Whether no mail that it signed can still be under way.
    pub(crate) fn is_over(&self, now: u64, keep: u64) -> bool {
        let signed = self.activated.is_some();
        self.stage == Stage::Retired && (!signed || self.retired.is_some_and(|retired| retired + keep <= now))
    }
}

/// Lets those `chosen` sign. Of the same algorithm, the others that sign retire, and so do older ones that wait: their turn does not come any more, unless it is
/// their maker's to say so.
pub(crate) fn activate(
    tx: &Transaction,
    present: &mut [NamedRow],
    now: u64,
    chosen: impl Fn(&NamedRow) -> bool,
) -> Result<()> {
    let signing: Vec<(Algorithm, u64)> = present
        .iter()
        .filter(|named| chosen(named))
        .map(|named| (named.row.algorithm, named.row.created))
        .collect();
    for named in present {
        let is_chosen = chosen(named);
        let row = &mut named.row;
        let successor = signing.iter().find(|(algorithm, _)| *algorithm == row.algorithm);
        match row.stage {
            Stage::Published if is_chosen => {
                row.stage = Stage::Signing;
                row.activated = Some(now);
            }
            Stage::Published
                if !row.manual && successor.is_some_and(|(_, created)| row.created <= *created) =>
            {
                row.stage = Stage::Retired;
                row.retired = Some(now);
            }
            Stage::Signing if !is_chosen && successor.is_some() => {
                row.stage = Stage::Retired;
                row.retired = Some(now);
            }
            _ => continue,
        }
        rows::put(tx, &named.domain, &named.selector, &named.row)?;
    }
    Ok(())
}

pub(crate) fn no_such_key(domain: &Domain, selector: &str) -> Error {
    Error::NoSuchKey { domain: domain.to_string(), selector: selector.to_owned() }
}

/// The row that `next` of a page names.
fn key_after(name: &str) -> Result<Vec<u8>> {
    let invalid = || Error::Invalid(format!("{name:?} is not where a page ends"));
    let (selector, domain) = name.split_once("._domainkey.").ok_or_else(invalid)?;
    let domain = Domain::parse(domain).map_err(|_| invalid())?;
    Ok(rows::key_key(&domain, selector))
}
