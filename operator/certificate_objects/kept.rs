//! The Secret that the operator keeps for a certificate: keys, certificates, and how far it is.
//!
//! Of type `kubernetes.io/tls`, so that others may use the pair that is in force (`tls.crt`, `tls.key`). Beside it are
//! `<key>.key` and `<key>.crt` for each key that has a use, and `state.json`. All of it is one object, and is written with the
//! version that was read: either all of a step is kept or nothing, and two processes never go on from the same state.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_operator_certificates::acme::TxtRecord;
use ekitei_operator_certificates::renewal::Plan;
use ekitei_operator_certificates::rollover::Rollover;
use ekitei_operator_certificates::{Certificate, Key, KeyId};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Wanted;
use super::tls_secret::{CERTIFICATE, KEY};
use crate::context::Context;
use crate::error::{Error, Optional as _, Result};

/// The key of the state.
const STATE: &str = "state.json";
/// The annotation with the TXT records of challenges that are there now.
const CHALLENGES: &str = "ekitei.dev/challenges";

/// Labels of all that is made here.
pub fn labels() -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", "ekitei"),
        ("app.kubernetes.io/component", "certificate"),
        ("app.kubernetes.io/managed-by", "ekitei-operator"),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What is remembered of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// How far the keys are.
    pub rollover: Rollover,
    /// The key that was made or given to be the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<KeyId>,
    /// Since when each key is there.
    pub since: BTreeMap<KeyId, Timestamp>,
    /// When the certificate of each key is renewed.
    pub plans: BTreeMap<KeyId, Plan>,
    /// The last request for another key that was followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated: Option<String>,
    /// The last order, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An order that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// When the next one may be placed.
    pub until: Timestamp,
    /// How many failed in a row.
    pub failures: u32,
    /// What was ordered: something else may be ordered at once.
    pub of: String,
}

/// A Secret as it was read, and what is to be changed in it.
#[derive(Debug)]
pub struct Kept {
    api: Api<Secret>,
    live: Option<Secret>,
    /// What is remembered.
    pub state: State,
    /// Private keys.
    pub keys: BTreeMap<KeyId, Key>,
    /// The newest certificate of each key.
    pub certificates: BTreeMap<KeyId, Certificate>,
    /// Challenges that a process left in the DNS.
    pub challenges: Vec<TxtRecord>,
}

impl Kept {
    /// Reads it from the API server itself. Where there is none it is empty.
    ///
    /// # Errors
    /// `SecretInvalid` if somebody changed it so that it cannot be read; the Kubernetes API's.
    pub async fn load(context: &Context, wanted: &Wanted<'_>) -> Result<Self> {
        let api: Api<Secret> = Api::namespaced(context.client.clone(), &wanted.namespace);
        let live = api.get(&wanted.name).await.optional()?;
        let mut kept = Self {
            api,
            live: None,
            state: State::default(),
            keys: BTreeMap::new(),
            certificates: BTreeMap::new(),
            challenges: Vec::new(),
        };
        if let Some(secret) = live {
            refuse_foreign(&secret, wanted)?;
            kept.read(&secret).map_err(|reason| {
                let message = format!("Secret {}/{}: {reason}", wanted.namespace, wanted.name);
                Error::invalid("SecretInvalid", message)
            })?;
            kept.live = Some(secret);
        }
        Ok(kept)
    }

    fn read(&mut self, secret: &Secret) -> std::result::Result<(), String> {
        let annotations = secret.metadata.annotations.iter().flatten();
        if let Some((_, text)) = annotations.into_iter().find(|(key, _)| *key == CHALLENGES) {
            let records: Vec<(String, String)> =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            self.challenges = records.into_iter().map(|(name, value)| TxtRecord { name, value }).collect();
        }
        for (name, ByteString(octets)) in secret.data.iter().flatten() {
            let text = std::str::from_utf8(octets).map_err(|_| format!("{name} is no text"))?;
            let wrong = |error: &dyn std::fmt::Display| format!("{name}: {error}");
            if name == STATE {
                self.state = serde_json::from_str(text).map_err(|error| wrong(&error))?;
            } else if name == CERTIFICATE || name == KEY {
                // The pair in force is among the others.
            } else if name.ends_with(".key") {
                let key = Key::from_pem(text).map_err(|error| wrong(&error))?;
                self.keys.insert(key.id(), key);
            } else if name.ends_with(".crt") {
                let certificate = Certificate::from_pem(text).map_err(|error| wrong(&error))?;
                self.certificates.insert(certificate.key(), certificate);
            }
        }
        Ok(())
    }

    /// Whether there is such a Secret.
    pub fn exists(&self) -> bool {
        self.live.is_some()
    }

    /// Takes a key in.
    pub fn add_key(&mut self, key: Key, now: Timestamp) {
        self.state.since.entry(key.id()).or_insert(now);
        self.keys.insert(key.id(), key);
    }

    /// Forgets a key, with all that is about it.
    pub fn remove_key(&mut self, key: KeyId) {
        self.keys.remove(&key);
        self.certificates.remove(&key);
        self.state.plans.remove(&key);
        self.state.since.remove(&key);
        self.state.candidate = self.state.candidate.filter(|candidate| *candidate != key);
    }

    /// The names of keys.
    pub fn key_ids(&self) -> BTreeSet<KeyId> {
        self.keys.keys().copied().collect()
    }

    /// The key of the pair that others may use.
    fn in_force(&self) -> Option<KeyId> {
        use ekitei_operator_certificates::rollover::Phase;
        match self.state.rollover.phase {
            Phase::First { key } => Some(key),
            _ => self.state.rollover.current(),
        }
    }

    fn data(&self) -> Result<BTreeMap<String, ByteString>> {
        let octets = |text: &str| ByteString(text.as_bytes().to_vec());
        let state = serde_json::to_string(&self.state).map_err(|error| Error::invalid("NotJson", error))?;
        let mut data = BTreeMap::from([(STATE.to_owned(), octets(&state))]);
        for (id, key) in &self.keys {
            data.insert(format!("{id}.key"), octets(key.pem()));
        }
        for (id, certificate) in &self.certificates {
            data.insert(format!("{id}.crt"), octets(certificate.pem()));
        }
        let pair = self.in_force().and_then(|id| Some((self.certificates.get(&id)?, self.keys.get(&id)?)));
        // A Secret of this type must have both, and may have them empty.
        let (certificate, key) = pair.map_or(("", ""), |(certificate, key)| (certificate.pem(), key.pem()));
        data.insert(CERTIFICATE.to_owned(), octets(certificate));
        data.insert(KEY.to_owned(), octets(key));
        Ok(data)
    }

    /// Keeps it, if anything is different; made by this where there was none. Fails with a conflict if somebody else wrote since it was read.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; the Kubernetes API's.
    pub async fn save(&mut self, context: &Context, wanted: &Wanted<'_>) -> Result<()> {
        let data = self.data()?;
        if self.live.as_ref().is_some_and(|live| live.data.as_ref() == Some(&data)) {
            return Ok(());
        }
        context.leadership.check()?;
        let secret = match self.live.take() {
            Some(mut live) => {
                live.data = Some(data);
                self.api.replace(&wanted.name, &PostParams::default(), &live).await?
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(wanted.name.clone()),
                    namespace: Some(wanted.namespace.clone()),
                    labels: Some(labels()),
                    owner_references: Some(vec![wanted.owner.clone()]),
                    ..ObjectMeta::default()
                };
                let type_ = Some("kubernetes.io/tls".to_owned());
                let secret = Secret { metadata, type_, data: Some(data), ..Secret::default() };
                self.api.create(&PostParams::default(), &secret).await?
            }
        };
        self.live = Some(secret);
        Ok(())
    }
}

/// A Secret of this name that was not made for the object is left alone.
fn refuse_foreign(secret: &Secret, wanted: &Wanted<'_>) -> Result<()> {
    let labels = secret.metadata.labels.iter().flatten();
    if labels
        .into_iter()
        .any(|(key, value)| key == "app.kubernetes.io/managed-by" && value == "ekitei-operator")
    {
        return Ok(());
    }
    let message = format!("there is a Secret {}/{} that is not ours", wanted.namespace, wanted.name);
    Err(Error::invalid("SecretNotOurs", message))
}

/// Notes which challenges are in the DNS.
///
/// # Errors
/// The Kubernetes API's.
pub async fn note_challenges(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    records: &[TxtRecord],
) -> Result<()> {
    let pairs: Vec<(&str, &str)> =
        records.iter().map(|record| (record.name.as_str(), record.value.as_str())).collect();
    let text = if pairs.is_empty() { json!(null) } else { json!(json!(pairs).to_string()) };
    let patch = json!({"metadata": {"annotations": {CHALLENGES: text}}});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
