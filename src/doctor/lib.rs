//! Deliverability: every record of a domain that a receiver of its mail, or a sender of mail to it, would look at, compared with what it should be.
//!
//! Each look ends in a [`Finding`]: right, wrong with the exact records to publish, or not to be known from here. Nothing is changed, and nothing but
//! DNS, the MTA-STS policy and the greetings of the domain's MX hosts is asked.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod addresses;
mod caa;
mod dkim;
mod dmarc;
mod egress;
mod finding;
mod hosts;
mod lists;
mod policy;
mod scene;
mod spf;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::Live;
use ekitei_dns::Resolver;
use ekitei_relay::inspect::Inspector;
use ekitei_signing::KeyInfo;
use futures_util::future::{BoxFuture, join_all};

pub use finding::{Finding, Verdict};
use scene::Scene;

/// What one look may take; they are taken at the same time.
const PATIENCE: Duration = Duration::from_secs(20);
/// MX hosts that are looked at.
const HOSTS: usize = 8;

/// Examines domains.
#[derive(Clone)]
pub struct Doctor {
    live: Live,
    dns: Resolver,
    https: u16,
}

/// What this service knows of a domain.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The domain: lower case, A-labels, without the last dot.
    pub domain: String,
    /// Its DKIM keys.
    pub keys: Vec<KeyInfo>,
    /// The text of the MTA-STS policy that is served for it here.
    pub policy: String,
    /// The id that the policy has in the record `_mta-sts`.
    pub policy_id: String,
    /// Whether the domain's own policy says that there is none (any more); `None` if it has none of its own.
    pub withdrawn: Option<bool>,
    /// What its users connect to, in A-labels, if it is not what the configuration says.
    pub client_host: Option<String>,
    /// MX hosts of its own that are this service, in A-labels.
    pub mx_hosts: Vec<String>,
}

impl Doctor {
    /// A doctor that asks `dns`.
    pub fn new(live: Live, dns: Resolver) -> Self {
        Self { live, dns, https: 443 }
    }

    /// The same, which finds MTA-STS policies on another port.
    #[must_use]
    pub fn with_https_port(self, https: u16) -> Self {
        Self { https, ..self }
    }

    /// Looks at everything. Takes seconds.
    pub async fn examine(&self, subject: Subject) -> Vec<Finding> {
        let config = self.live.load();
        let inspector = Inspector::new(Arc::clone(&config), self.dns.clone()).with_https_port(self.https);
        let scene = Scene::look(config, self.dns.clone(), inspector, subject).await;
        let looks: Vec<BoxFuture<'_, Vec<Finding>>> = vec![
            Box::pin(within("MX", async { vec![hosts::exchangers(&scene)] })),
            Box::pin(within("MX hosts", hosts::hosts(&scene))),
            Box::pin(within("reverse DNS", egress::reverse(&scene))),
            Box::pin(within("SPF", spf::examine(&scene))),
            Box::pin(within("DKIM", dkim::examine(&scene))),
            Box::pin(within("DMARC", async { vec![dmarc::examine(&scene).await] })),
            Box::pin(within("MTA-STS", policy::mta_sts(&scene))),
            Box::pin(within("TLS reports", async { vec![policy::tls_reports(&scene).await] })),
            Box::pin(within("CAA", async { vec![caa::examine(&scene).await] })),
            Box::pin(within("DNS lists", lists::examine(&scene))),
        ];
        join_all(looks).await.into_iter().flatten().collect()
    }
}

/// A look that is given up when it takes too long.
async fn within(name: &str, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(findings) => findings,
        Err(_) => vec![Finding::unknown(
            name,
            "it takes too long to find out: a resolver or a server does not answer",
        )],
    }
}
