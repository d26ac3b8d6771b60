//! Whether the records of a domain are what receivers want to see.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, Result};

/// What `ekitei doctor <domain>` asks the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliverabilityReport {
    /// The domain, in A-labels.
    pub domain: String,
    /// What was looked at.
    pub findings: Vec<DeliverabilityFinding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliverabilityFinding {
    /// What.
    #[schema(example = "SPF")]
    pub name: String,
    /// How it is.
    pub verdict: DeliverabilityVerdict,
    /// What was found, and why it is right or not.
    pub detail: String,
    /// What to publish, as lines of a zone file.
    pub publish: Vec<String>,
}

/// How a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliverabilityVerdict {
    /// As it should be.
    Right,
    /// Mail goes without it; with it, better.
    Advice,
    /// Mail suffers from it.
    Wrong,
    /// It cannot be known from here.
    Unknown,
}

/// The MTA-STS policy that is served for a domain (RFC 8461), its own or the service's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MtaStsPolicy {
    /// The policy as senders fetch it, with CRLF at the end of each line.
    pub policy: String,
    /// The `id` of the TXT record `_mta-sts.<domain>` that goes with it: it changes whenever the policy does.
    pub id: String,
}

impl Client {
    /// The MTA-STS policy that is served for a domain.
    pub async fn mta_sts_policy(&self, domain: &str) -> Result<MtaStsPolicy> {
        self.get(&["domains", domain, "mta-sts"]).await
    }

    /// Every record of a domain that a receiver would look at. Takes seconds.
    pub async fn deliverability(&self, domain: &str) -> Result<DeliverabilityReport> {
        self.get(&["domains", domain, "deliverability"]).await
    }
}
