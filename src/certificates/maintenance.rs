//! Another encryption key: what is stored under an earlier one is stored anew.

use ekitei_kv::{KeyValue, Transaction};

use crate::certificates::Certificates;
use crate::error::{Error, Result};
use crate::model::CertificateName;
use crate::rows::{self, MaterialRow};

impl Certificates {
    /// Stores anew what is not under the encryption key in force; returns how many that were. What cannot be opened is passed over: every process says so
    /// already.
    ///
    /// # Errors
    /// `Store`.
    pub async fn maintain(&self) -> Result<usize> {
        let mut names: Vec<CertificateName> = Vec::new();
        let page = |page: Vec<KeyValue>| {
            names.extend(page.iter().filter_map(|row| rows::name_of(&row.key).ok()));
            Ok::<_, Error>(())
        };
        self.inner.db.scan(rows::all_infos(), page).await?;
        let mut done = 0;
        for name in &names {
            match self.reseal(name).await {
                Ok(resealed) => done += usize::from(resealed),
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(certificate = %name, %error, "a certificate cannot be stored anew")
                }
            }
        }
        Ok(done)
    }

    /// The certificate is the same, so its revision stays, and no process reads it again.
    async fn reseal(&self, name: &CertificateName) -> Result<bool> {
        self.inner
            .db
            .transact(|tx: Transaction| async move {
                let key = rows::material_key(name);
                let Some(material) = rows::find::<MaterialRow>(&tx, &key).await? else { return Ok(false) };
                let Some(resealed) = self.resealed(name, &material)? else { return Ok(false) };
                tx.set(&key, &rows::encode(&resealed)?);
                Ok(true)
            })
            .await
    }
}
