//! Data keys, which bodies are encrypted with.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// How far a data key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataKeyState {
    /// New bodies are encrypted with it.
    Active,
    /// It reads what it encrypted.
    Retired,
    /// It is gone, and with it what it encrypted.
    Destroyed,
}

/// A data key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataKey {
    /// Its number.
    pub id: u64,
    /// The domain whose mail it is for, in A-labels; absent for mail of no domain.
    pub domain: Option<String>,
    /// How far it is.
    pub state: DataKeyState,
    /// When it was made.
    pub created: u64,
    /// When another one came in force.
    pub retired: Option<u64>,
    /// When it was destroyed.
    pub destroyed: Option<u64>,
    /// The name of the master key that wraps it.
    #[schema(example = "local:5d1c3f0a9be84427")]
    pub master_key: Option<String>,
}

/// Whose data keys are replaced: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DataKeyRotation {
    /// This domain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// That for mail of no domain.
    #[serde(default)]
    pub service: bool,
    /// All.
    #[serde(default)]
    pub all: bool,
}

/// What a rotation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataKeysRotated {
    /// Keys that were made.
    pub rotated: u64,
    /// Domains that keep their keys, since no new one could be made; the log says why.
    pub failed: u64,
}

/// What wrapping all keys anew did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataKeysRewrapped {
    /// Keys that are wrapped by the master key in force now, and were not.
    pub rewrapped: u64,
    /// Keys that were already.
    pub current: u64,
    /// Keys that could not be wrapped anew; the log says why.
    pub failed: u64,
}

impl Client {
    /// One page of the data keys.
    pub async fn list_data_keys(&self, page: &PageQuery) -> Result<Page<DataKey>> {
        self.list(&["data-keys"], page).await
    }

    /// A data key.
    pub async fn data_key(&self, id: u64) -> Result<DataKey> {
        self.get(&["data-keys", &id.to_string()]).await
    }

    /// Makes new data keys in place of those in force.
    pub async fn rotate_data_keys(&self, whose: &DataKeyRotation) -> Result<DataKeysRotated> {
        self.send(Method::POST, &["data-keys", "rotate"], whose, None).await
    }

    /// Wraps all data keys by the master key in force.
    pub async fn rewrap_data_keys(&self) -> Result<DataKeysRewrapped> {
        self.send(Method::POST, &["data-keys", "rewrap"], &serde_json::json!({}), None).await
    }

    /// Destroys a data key, with `force` also one that bodies need: they are lost.
    pub async fn destroy_data_key(&self, id: u64, force: bool) -> Result<()> {
        let request = self.request(Method::DELETE, &["data-keys", &id.to_string()])?;
        self.answer(request.query(&[("force", force)])).await.map(drop)
    }
}
