//! The hosts of a domain, where they are its own: what its MX records name, what its users connect to, and its MTA-STS policy.

use serde::{Deserialize, Serialize};

use crate::address::Domain;
use crate::error::{Error, Result};

/// Most MX hosts of a domain, and most patterns of its policy, so that its row stays far below the limit of a value.
pub const DOMAIN_MX_HOSTS: usize = 50;
/// The longest time for which a policy may be kept, in seconds (RFC 8461 §3.2).
pub const MTA_STS_MAX_AGE: u64 = 31_557_600;

/// What senders are to do when TLS to an MX host fails (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MtaStsMode {
    /// There is no policy (any more).
    None,
    /// Deliver, and report it.
    Testing,
    /// Do not deliver.
    Enforce,
}

/// The MTA-STS policy of one domain (RFC 8461 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtaSts {
    /// What senders are to do.
    pub mode: MtaStsMode,
    /// MX hosts, or patterns such as `*.mx.example.com`, in A-labels; empty for the domain's MX hosts, or the service's.
    pub mx: Vec<String>,
    /// How long senders may keep it, in seconds; at most [`MTA_STS_MAX_AGE`].
    pub max_age: u64,
}

impl MtaSts {
    /// The policy with its patterns as they are published.
    pub(crate) fn checked(self) -> Result<Self> {
        if self.max_age > MTA_STS_MAX_AGE {
            return Err(Error::Invalid(format!(
                "a policy is kept for at most {MTA_STS_MAX_AGE} seconds, not {}",
                self.max_age
            )));
        }
        within_bounds(self.mx.len(), "patterns of a policy")?;
        let pattern = |text: &String| match text.strip_prefix("*.") {
            Some(rest) => Ok(format!("*.{}", host(rest)?.as_ascii())),
            None => Ok(host(text)?.as_ascii().to_owned()),
        };
        Ok(Self { mx: self.mx.iter().map(pattern).collect::<Result<_>>()?, ..self })
    }
}

/// MX hosts as they are kept.
pub(crate) fn checked_mx_hosts(hosts: &[Domain]) -> Result<()> {
    if hosts.is_empty() {
        return Err(Error::Invalid(
            "a list of MX hosts needs at least one; none at all means the service's".into(),
        ));
    }
    within_bounds(hosts.len(), "MX hosts of a domain")?;
    hosts.iter().try_for_each(refuse_literal)
}

/// A host as it is kept.
pub(crate) fn refuse_literal(host: &Domain) -> Result<()> {
    if host.is_literal() {
        return Err(Error::Invalid(format!("{host} is an address; the name of a host is needed")));
    }
    Ok(())
}

fn host(text: &str) -> Result<Domain> {
    let host = Domain::parse(text).map_err(|error| Error::Invalid(format!("{text}: {error}")))?;
    refuse_literal(&host)?;
    Ok(host)
}

fn within_bounds(count: usize, what: &str) -> Result<()> {
    if count > DOMAIN_MX_HOSTS {
        return Err(Error::Invalid(format!("there are at most {DOMAIN_MX_HOSTS} {what}, not {count}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mx: &[&str], max_age: u64) -> MtaSts {
        MtaSts { mode: MtaStsMode::Enforce, mx: mx.iter().map(|&name| name.to_owned()).collect(), max_age }
    }

    #[test]
    fn a_policy_names_hosts_and_patterns_of_hosts() {
        let checked = policy(&["MX.Example.test", "*.Bücher.test"], 86_400).checked();
        assert_eq!(
            checked.map(|policy| policy.mx).ok(),
            Some(vec!["mx.example.test".into(), "*.xn--bcher-kva.test".into()])
        );
        for bad in [
            policy(&["*"], 1),
            policy(&["a b"], 1),
            policy(&["[192.0.2.1]"], 1),
            policy(&[], MTA_STS_MAX_AGE + 1),
        ] {
            assert!(matches!(bad.clone().checked(), Err(Error::Invalid(_))), "{bad:?}");
        }
    }
}
