//! What is stored, put in force: every process follows the changes, and its next handshakes have the new certificates.
//!
//! What is shown of a certificate is small and has its revision; only those whose revision is another are read and opened. One that cannot be opened is
//! counted, logged once, and tried again at every look; until then the one that this process had goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use ekitei_kv::{KeyValue, Transaction};
use ekitei_net::Certificate;
use futures_util::{StreamExt as _, stream};

use crate::certificates::{Certificates, Stored};
use crate::error::{Error, Result};
use crate::model::{CertificateName, Revision};
use crate::rows::{self, InfoRow, MaterialRow};

/// Certificates that are read at the same time.
const CONCURRENT: usize = 16;

/// What of the stored certificates is in force in this process.
#[derive(Default)]
pub(crate) struct Followed {
    usable: BTreeMap<CertificateName, Usable>,
    /// Those that cannot be opened, and the revision that the log was told of.
    unusable: BTreeMap<CertificateName, Option<Revision>>,
    /// What TLS was given, the default first.
    in_force: Vec<(CertificateName, Revision)>,
}

struct Usable {
    revision: Revision,
    created: u64,
    certificate: Arc<Certificate>,
}

/// What a look found of the certificates.
type Found = BTreeMap<CertificateName, Result<InfoRow>>;

impl Certificates {
    /// Puts in force what is stored. What cannot be opened is logged and counted.
    ///
    /// # Errors
    /// `Store`; then everything stays as it was.
    pub async fn load(&self) -> Result<()> {
        let mut followed = self.inner.followed.lock().await;
        let found = self.infos().await?;
        followed.usable.retain(|name, _| found.contains_key(name));
        followed.unusable.retain(|name, _| found.contains_key(name));
        let known = &followed.usable;
        let changed = found.into_iter().filter(|(name, info)| {
            let known = known.get(name).map(|known| known.revision);
            known.is_none() || known != info.as_ref().ok().map(|info| info.revision)
        });
        let changed: Vec<_> = changed.collect();
        let read = changed.into_iter().map(|(name, info)| async move {
            let revision = info.as_ref().ok().map(|info| info.revision);
            let read = match info {
                Ok(_) => self.read(&name).await,
                Err(error) => Err(error),
            };
            (name, revision, read)
        });
        let mut read = stream::iter(read).buffer_unordered(CONCURRENT);
        while let Some((name, revision, read)) = read.next().await {
            match read {
                Ok(Some(usable)) => followed.took(name, usable),
                // Removed in between: the next look finds that.
                Ok(None) => {}
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => followed.failed(name, revision, &error),
            }
        }
        drop(read);
        self.inner.unusable.set(i64::try_from(followed.unusable.len()).unwrap_or(i64::MAX));
        self.put_in_force(&mut followed)
    }

    /// Puts in force what other processes, or this one, store; runs until it is dropped.
    pub async fn follow_changes(&self) {
        let notice = |_version| self.load();
        // What was known goes on when the store is away.
        rows::changes().follow(&self.inner.db, "certificates", notice, || {}).await;
    }

    async fn infos(&self) -> Result<Found> {
        let mut found = Found::new();
        let page = |page: Vec<KeyValue>| {
            for row in &page {
                match rows::name_of(&row.key) {
                    Ok(name) => drop(found.insert(name, rows::decode(&row.value))),
                    Err(error) => tracing::error!(%error, "a stored certificate is passed over"),
                }
            }
            Ok::<_, Error>(())
        };
        self.inner.db.scan(rows::all_infos(), page).await?;
        Ok(found)
    }

    /// Reads and opens a certificate; `None` if it is gone.
    async fn read(&self, name: &CertificateName) -> Result<Option<Usable>> {
        let read = |tx: Transaction| async move {
            let info = rows::find::<InfoRow>(&tx, &rows::info_key(name)).await?;
            let material = rows::find::<MaterialRow>(&tx, &rows::material_key(name)).await?;
            Ok::<_, Error>((info, material))
        };
        let stored = match self.inner.db.read(read).await? {
            (None, _) => return Ok(None),
            (Some(info), Some(material)) => Stored { info, material },
            (Some(_), None) => return Err(Error::Unusable("its chain and key are missing".to_owned())),
        };
        let key = self.open_key(name, &stored.material)?;
        let certificate = Certificate::from_pem(stored.material.chain.as_bytes(), &key)
            .map_err(|error| Error::Unusable(error.to_string()))?;
        let Stored { info, .. } = stored;
        Ok(Some(Usable {
            revision: info.revision,
            created: info.created,
            certificate: Arc::new(certificate),
        }))
    }

    /// Gives TLS what is usable, if that is not what it has.
    fn put_in_force(&self, followed: &mut Followed) -> Result<()> {
        let config = self.inner.live.load();
        let mut order: Vec<(&CertificateName, &Usable)> = followed.usable.iter().collect();
        order.sort_by_key(|(name, usable)| {
            let is_chosen = config.tls.default_certificate.as_deref() == Some(name.as_str());
            (!is_chosen, !is_for(&usable.certificate, &config.hostname), usable.created)
        });
        let next: Vec<_> = order.iter().map(|(name, usable)| ((*name).clone(), usable.revision)).collect();
        if next == followed.in_force {
            return Ok(());
        }
        let stored =
            order.iter().map(|(name, usable)| (name.to_string(), Arc::clone(&usable.certificate))).collect();
        self.inner.tls.set_stored(stored)?;
        tracing::info!(certificates = next.len(), "the stored certificates are in force");
        followed.in_force = next;
        Ok(())
    }
}

impl Followed {
    fn took(&mut self, name: CertificateName, usable: Usable) {
        if usable.certificate.not_after < SystemTime::now() {
            tracing::warn!(certificate = %name, "a stored certificate has expired");
        }
        self.unusable.remove(&name);
        self.usable.insert(name, usable);
    }

    fn failed(&mut self, name: CertificateName, revision: Option<Revision>, error: &Error) {
        if self.unusable.insert(name.clone(), revision) != Some(revision) {
            let before = self.usable.contains_key(&name);
            tracing::error!(certificate = %name, %error, goes_on_with_the_one_before = before, "a stored certificate cannot be used");
        }
    }
}

/// Whether a client that asks for `host` takes it.
fn is_for(certificate: &Certificate, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    certificate.names.iter().any(|name| *name == host || Some(name) == wildcard.as_ref())
}
