//! `MailAccount`: a user with mailboxes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::mail_domain::DeletionPolicy;
use crate::reference::SecretKeyReference;

/// A user with mailboxes, in a domain that a MailDomain of the same namespace has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ekitei.dev",
    version = "v1alpha1",
    kind = "MailAccount",
    plural = "mailaccounts",
    namespaced,
    status = "MailAccountStatus",
    shortname = "ma",
    category = "mail",
    selectable = ".spec.address",
    doc = "A user with mailboxes.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "InSync",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"InSync\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MailAccountSpec {
    /// The address, and the login name. It cannot be changed.
    #[schemars(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the address of an account cannot be changed; make another account"))]
    pub address: String,
    /// The user's name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,
    /// The password. Without one, the user has app passwords only, or logs in by the service's external authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordSource>,
    /// What the account may hold, as a Kubernetes quantity such as `5Gi`; without it, the domain's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern("^[0-9]+(k|M|G|T|Ki|Mi|Gi|Ti)?$"))]
    pub quota: Option<String>,
    /// Other addresses of the account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub aliases: Vec<String>,
    /// Where its mail is sent on to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
    /// Without it the account takes no mail and no logins; its mail is kept.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What becomes of the account and its mail when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Where a password comes from. A change of the Secret changes the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSource {
    /// The key of a Secret. A value that begins with `{SCHEME}` is a hash (`{SHA512-CRYPT}`, `{BLF-CRYPT}`, `{ARGON2ID}`, ...), any other the password itself.
    pub secret_ref: SecretKeyReference,
}

/// Where mail of an account is sent on to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// The addresses.
    #[schemars(length(min = 1, max = 64), inner(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$")))]
    pub addresses: Vec<String>,
    /// Whether the account keeps a copy.
    #[serde(default = "yes")]
    pub keep_copy: bool,
}

fn yes() -> bool {
    true
}

/// What is known about an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailAccountStatus {
    /// Conditions: `Ready`, `Accepted`, `InSync`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The number of the account in the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<u64>,
    /// Of which version of the Secret the password was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_version: Option<String>,
    /// What the operator set last, by field: a change that was made elsewhere since is drift, and is left alone until this object says something else.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub applied: std::collections::BTreeMap<String, String>,
    /// What was changed elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<AccountDrift>,
    /// When the service was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
}

/// A field of an account that was changed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountDrift {
    /// The field of the spec, such as `quota`.
    pub field: String,
    /// What this object says.
    pub wanted: String,
    /// What the service has.
    pub found: String,
}
