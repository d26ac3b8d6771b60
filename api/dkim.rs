//! DKIM keys (RFC 6376).

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// How far a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DkimStage {
    /// Its record should be in DNS; it does not sign yet.
    Published,
    /// It signs.
    Signing,
    /// It signs no more; its record must stay while mail that it signed is under way.
    Retired,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DkimAlgorithm {
    /// RSA with 2048 bits and SHA-256.
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463).
    Ed25519,
}

/// Who decides when a key begins and ceases to sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DkimActivation {
    /// The service, by `signing` in its configuration: new keys sign when they were published long enough, and old ones are removed.
    #[default]
    Automatic,
    /// Whoever made it: the service lets it sign, retires and removes it only when it is told to. The domain gets no new keys by schedule.
    Manual,
}

/// A DKIM key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DkimKey {
    /// The domain that it signs for, in A-labels.
    pub domain: String,
    /// Its selector.
    #[schema(example = "ek202611r")]
    pub selector: String,
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// How far it is.
    pub stage: DkimStage,
    /// Who decides how far it goes.
    #[serde(default)]
    pub activation: DkimActivation,
    /// When it was made.
    pub created: u64,
    /// When it began to sign.
    pub activated: Option<u64>,
    /// When it ceased to sign.
    pub retired: Option<u64>,
    /// The name of its TXT record, without the last dot.
    #[schema(example = "ek202611r._domainkey.example.test")]
    pub record_name: String,
    /// The text of its TXT record, joined from its strings.
    #[schema(example = "v=DKIM1; k=rsa; p=...")]
    pub record_text: String,
    /// Its record as a line of a zone file.
    pub record_line: String,
}

/// Keys to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDkimKeys {
    /// The domain that they sign for.
    pub domain: String,
    /// What the key signs with; absent for one of each that is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<DkimAlgorithm>,
    /// Its selector; absent for the configured pattern. Needs an algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// They sign at once, and those of the same algorithms before them retire. Otherwise they wait to be seen in DNS, or to be activated.
    #[serde(default)]
    pub now: bool,
    /// Who decides when they begin to sign, unless that is now, and when they cease.
    #[serde(default)]
    pub activation: DkimActivation,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DkimKeyPatch {
    /// `signing` or `retired`.
    pub stage: DkimStage,
}

impl Client {
    /// One page of the DKIM keys.
    pub async fn list_dkim_keys(&self, page: &PageQuery) -> Result<Page<DkimKey>> {
        self.list(&["dkim-keys"], page).await
    }

    /// Makes DKIM keys.
    pub async fn create_dkim_keys(&self, new: &NewDkimKeys) -> Result<Page<DkimKey>> {
        self.send(Method::POST, &["dkim-keys"], new, None).await
    }

    /// A DKIM key.
    pub async fn dkim_key(&self, domain: &str, selector: &str) -> Result<DkimKey> {
        self.get(&["dkim-keys", domain, selector]).await
    }

    /// Lets a DKIM key sign, or sign no more.
    pub async fn update_dkim_key(
        &self,
        domain: &str,
        selector: &str,
        patch: &DkimKeyPatch,
    ) -> Result<DkimKey> {
        self.send(Method::PATCH, &["dkim-keys", domain, selector], patch, None).await
    }

    /// Removes a DKIM key, with `force` also one that mail under way may need.
    pub async fn delete_dkim_key(&self, domain: &str, selector: &str, force: bool) -> Result<()> {
        let request = self.request(Method::DELETE, &["dkim-keys", domain, selector])?;
        self.answer(request.query(&[("force", force)])).await.map(drop)
    }
}
