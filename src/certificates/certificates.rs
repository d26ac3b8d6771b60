//! The handle of this crate: storing certificates, and showing them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ekitei_config::Live;
use ekitei_keyring::{MasterSecrets, SealingKeys};
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, RangeOptions, Transaction, decode_counter};
use ekitei_net::{Certificate, CertificateError, Tls};
use ekitei_telemetry::{Gauge, Registry};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::follow::Followed;
use crate::model::{CertificateInfo, CertificateName, NewCertificate, Revision};
use crate::rows::{self, InfoRow, MaterialRow};

/// What the keys are derived for that private keys are encrypted with.
const PURPOSE: &str = "ekitei certificate keys";
/// Octets of the longest chain, and of the longest key: what fits a value of the store.
const MAX_CHAIN: usize = 64 << 10;
const MAX_KEY: usize = 16 << 10;
/// Certificates on a page, if the client does not say, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// What certificates are made of.
pub struct Parts {
    /// Where they are stored.
    pub database: Database,
    /// The configuration in force. The encryption keys are read once.
    pub live: Live,
    /// The time.
    pub clock: SharedClock,
    /// A file for the encryption key, made if it is not there and the configuration has none: beside the embedded store. `None` for a cluster.
    pub key_file: Option<PathBuf>,
    /// Where they are put in force.
    pub tls: Tls,
    /// Metrics.
    pub registry: Registry,
}

/// The stored certificates: cheap to clone.
#[derive(Clone)]
pub struct Certificates {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Database,
    pub(crate) live: Live,
    pub(crate) tls: Tls,
    clock: SharedClock,
    keys: SealingKeys,
    /// What of them is in force here; held while that is brought up to date.
    pub(crate) followed: Mutex<Followed>,
    pub(crate) unusable: Gauge,
}

/// A certificate as its rows have it.
pub(crate) struct Stored {
    pub(crate) info: InfoRow,
    pub(crate) material: MaterialRow,
}

impl Certificates {
    /// Opens them. Call [`Certificates::load`], then spawn [`Certificates::follow_changes`].
    ///
    /// # Errors
    /// [`Error::EncryptionKey`].
    pub fn open(parts: Parts) -> Result<Self> {
        let Parts { database, live, clock, key_file, tls, registry } = parts;
        let secrets = MasterSecrets::open(&live.load().signing, key_file.as_deref())?;
        let keys = secrets.sealing(PURPOSE)?;
        let unusable = registry.gauge(
            "certificates_unusable",
            "Stored certificates that this process cannot use; its log says why.",
        );
        let followed = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { db: database, live, tls, clock, keys, followed, unusable }) })
    }

    /// Stores a certificate under a name, in place of the one that it has, with `expected` only if that is its revision. The same chain and key again change
    /// nothing.
    ///
    /// # Errors
    /// `Invalid`, `Stale`, `Full`, `NoEncryptionKey`, `Store`.
    pub async fn put(
        &self,
        name: &CertificateName,
        new: &NewCertificate,
        expected: Option<Revision>,
    ) -> Result<CertificateInfo> {
        let certificate = check(new)?;
        let key = self.inner.keys.seal(new.key.as_bytes(), &rows::binding(name))?;
        let material = MaterialRow { chain: new.chain.clone(), key };
        let (revision, certificate, material) = (Revision::random(), &certificate, &material);
        let most = u64::from(self.inner.live.load().tls.max_stored_certificates);
        let row = self
            .inner
            .db
            .transact(|tx: Transaction| async move {
                let before = self.stored(&tx, name).await?;
                if let Some(before) = before.as_ref().filter(|before| before.info.revision == revision) {
                    // A repeated transaction finds its own work.
                    return Ok(before.info.clone());
                }
                check_expected(name, before.as_ref(), expected)?;
                if let Some(before) = before.as_ref().filter(|before| self.is_same(name, before, new)) {
                    return Ok(before.info.clone());
                }
                if tx.get(&rows::info_key(name)).await?.is_none() {
                    count_one_more(&tx, most).await?;
                }
                let now = self.inner.clock.now().as_secs();
                let created = before.map_or(now, |before| before.info.created);
                let info = info_row(certificate, created, now, revision);
                tx.set(&rows::info_key(name), &rows::encode(&info)?);
                tx.set(&rows::material_key(name), &rows::encode(material)?);
                rows::changes().touch(&tx);
                Ok::<_, Error>(info)
            })
            .await?;
        Ok(row.into_info(name.clone()))
    }

    /// A certificate.
    ///
    /// # Errors
    /// `NoSuchCertificate`, `Unusable`, `Store`.
    pub async fn find(&self, name: &CertificateName) -> Result<CertificateInfo> {
        let read = |tx: Transaction| async move { rows::find(&tx, &rows::info_key(name)).await };
        let row: Option<InfoRow> = self.inner.db.read(read).await?;
        row.map(|row| row.into_info(name.clone())).ok_or_else(|| Error::NoSuchCertificate(name.to_string()))
    }

    /// The certificates after that name, in the order of names, and whether there are more. What is damaged is left out.
    ///
    /// # Errors
    /// `Invalid` for a page that none of ours named, `Store`.
    pub async fn list(
        &self,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<(Vec<CertificateInfo>, bool)> {
        let mut range = rows::all_infos();
        if let Some(after) = after {
            range.start = rows::info_key(&after.parse()?);
            range.start.push(0);
        }
        let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let (range, options) = (&range, RangeOptions { limit: limit + 1, ..RangeOptions::default() });
        let read =
            |tx: Transaction| async move { Ok::<_, Error>(tx.get_range(range.clone(), options).await?) };
        let found = self.inner.db.read(read).await?;
        let info = |row: &ekitei_kv::KeyValue| {
            let row = (rows::name_of(&row.key).ok()?, rows::decode::<InfoRow>(&row.value).ok()?);
            Some(row.1.into_info(row.0))
        };
        Ok((found.iter().take(limit).filter_map(info).collect(), found.len() > limit))
    }

    /// Removes a certificate.
    ///
    /// # Errors
    /// `NoSuchCertificate`, `Store`.
    pub async fn remove(&self, name: &CertificateName) -> Result<()> {
        self.inner
            .db
            .transact(|tx: Transaction| async move {
                if tx.get(&rows::info_key(name)).await?.is_none() {
                    // A repeated transaction finds its own work.
                    return if tx.may_have_committed() {
                        Ok(())
                    } else {
                        Err(Error::NoSuchCertificate(name.to_string()))
                    };
                }
                tx.clear(&rows::info_key(name));
                tx.clear(&rows::material_key(name));
                tx.add(&rows::count_key(), -1);
                rows::changes().touch(&tx);
                Ok(())
            })
            .await
    }

    /// What is stored under a name, as this transaction sees it; what is damaged counts as if it were not there, so that it can be replaced.
    async fn stored(&self, tx: &Transaction, name: &CertificateName) -> Result<Option<Stored>> {
        let info = rows::find(tx, &rows::info_key(name)).await;
        let material = rows::find(tx, &rows::material_key(name)).await;
        match (info, material) {
            (Ok(Some(info)), Ok(Some(material))) => Ok(Some(Stored { info, material })),
            (Err(Error::Store(error)), _) | (_, Err(Error::Store(error))) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Whether this is what is stored.
    fn is_same(&self, name: &CertificateName, stored: &Stored, new: &NewCertificate) -> bool {
        stored.material.chain == new.chain
            && self.open_key(name, &stored.material).is_ok_and(|key| *key == new.key.as_bytes())
    }

    /// The private key in PEM.
    pub(crate) fn open_key(
        &self,
        name: &CertificateName,
        material: &MaterialRow,
    ) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.inner.keys.open(&material.key, &rows::binding(name))?)
    }

    /// Stores the private key anew, under the encryption key in force; `None` if it is.
    pub(crate) fn resealed(
        &self,
        name: &CertificateName,
        material: &MaterialRow,
    ) -> Result<Option<MaterialRow>> {
        if !self.inner.keys.is_outdated(&material.key) {
            return Ok(None);
        }
        let key = self.inner.keys.seal(&self.open_key(name, material)?, &rows::binding(name))?;
        Ok(Some(MaterialRow { chain: material.chain.clone(), key }))
    }
}

/// Whether it can be used: the chain can be read, it is for some host, and the key is its.
fn check(new: &NewCertificate) -> Result<Certificate> {
    let within = |what: &str, octets: usize, most: usize| match octets <= most {
        true => Ok(()),
        false => Err(Error::Invalid(format!("the {what} has {octets} octets; {most} are allowed"))),
    };
    within("certificate", new.chain.len(), MAX_CHAIN)?;
    within("key", new.key.len(), MAX_KEY)?;
    let certificate = Certificate::from_pem(new.chain.as_bytes(), new.key.as_bytes());
    let certificate = certificate.map_err(|error| match error {
        CertificateError::Chain(reason) => Error::Invalid(format!("certificate: {reason}")),
        CertificateError::Key(reason) => Error::Invalid(format!("key: {reason}")),
        CertificateError::Mismatch(_) => Error::Invalid(error.to_string()),
    })?;
    if certificate.names.is_empty() {
        return Err(Error::Invalid(
            "certificate: it has no DNS name in its SubjectAlternativeName, so no client would get it"
                .to_owned(),
        ));
    }
    Ok(certificate)
}

fn check_expected(name: &CertificateName, before: Option<&Stored>, expected: Option<Revision>) -> Result<()> {
    match expected {
        Some(expected) if before.is_none_or(|before| before.info.revision != expected) => {
            Err(Error::Stale(name.to_string()))
        }
        _ => Ok(()),
    }
}

/// Counts a certificate that is new, if there may be one more.
async fn count_one_more(tx: &Transaction, most: u64) -> Result<()> {
    // Two at once may be one too many, and need not wait for each other.
    let count = decode_counter(tx.get_snapshot(&rows::count_key()).await?.as_deref());
    if u64::try_from(count).unwrap_or(0) >= most {
        return Err(Error::Full(most));
    }
    tx.add(&rows::count_key(), 1);
    Ok(())
}

fn info_row(certificate: &Certificate, created: u64, updated: u64, revision: Revision) -> InfoRow {
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    InfoRow {
        names: certificate.names.clone(),
        not_before: seconds(certificate.not_before),
        not_after: seconds(certificate.not_after),
        sha256: certificate.sha256,
        spki_sha256: certificate.spki_sha256,
        created,
        updated,
        revision,
    }
}
