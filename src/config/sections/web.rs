//! What published DNS records point to, and what mail programs ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Protocol, section};
use crate::Duration;

section! {
    /// Public pages: the MTA-STS policy, and the settings of mail programs. They are served on listeners with `protocol: https` and
    /// `protocol: http`.
    pub struct Web {
        /// The name that mail programs connect to; empty for `hostname`.
        client_host: String = String::new(),
        /// The name of the service in mail programs; empty for the domain of the user.
        provider_name: String = String::new(),
        /// What mail programs connect to, if it is not what listens here (behind a load balancer, say); empty for the listeners.
        client_services: Vec<ClientService> = Vec::new(),
        /// The MTA-STS policy of our domains.
        mta_sts: MtaSts = MtaSts::default(),
    }
}

/// A service that mail programs connect to. `protocol` and `port` are required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientService {
    /// What is spoken there.
    pub protocol: Protocol,
    /// The host; empty for `clientHost`.
    #[serde(default)]
    pub host: String,
    /// The port.
    pub port: u16,
}

section! {
    /// The MTA-STS policy (RFC 8461 §3.2) at `https://mta-sts.<domain>/.well-known/mta-sts.txt`.
    pub struct MtaSts {
        /// What senders are to do when TLS fails.
        mode: MtaStsMode = MtaStsMode::Testing,
        /// The MX hosts, or patterns such as `*.mx.example.com`; empty for `hostname`.
        mx: Vec<String> = Vec::new(),
        /// How long senders may keep the policy; at most a year.
        max_age: Duration = Duration::days(7),
    }
}

/// What senders are to do when TLS to an MX host fails (RFC 8461 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MtaStsMode {
    /// There is no policy (any more).
    None,
    /// Deliver, and report it.
    #[default]
    Testing,
    /// Do not deliver.
    Enforce,
}

impl MtaStsMode {
    /// The word in the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Testing => "testing",
            Self::Enforce => "enforce",
        }
    }
}
