//! The name in EHLO (RFC 5321 §4.1.1.1).

use std::net::{IpAddr, Ipv6Addr};

use ekitei_config::{HelloAction, HelloChecks};
use tokio::time::Instant;

use crate::Refusal;
use crate::names::{Absence, Names};

/// What is not as it should be with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Malformed,
    WrongAddress,
    Literal,
    OwnName,
    Unresolvable,
}

impl Fault {
    /// The word in fields and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "hello-malformed",
            Self::WrongAddress => "hello-wrong-address",
            Self::Literal => "hello-literal",
            Self::OwnName => "hello-own-name",
            Self::Unresolvable => "hello-unresolvable",
        }
    }

    fn action(self, checks: &HelloChecks) -> HelloAction {
        match self {
            Self::Malformed => checks.malformed,
            Self::WrongAddress => checks.wrong_address,
            Self::Literal => checks.literal,
            Self::OwnName => checks.own_name,
            Self::Unresolvable => checks.unresolvable,
        }
    }

    fn refusal(self) -> Refusal {
        Refusal::new(
            550,
            "5.7.1",
            match self {
                Self::Malformed => "EHLO takes a full host name or an address in brackets",
                Self::WrongAddress => "The address in EHLO is not yours",
                Self::Literal => "EHLO takes the name of your host, not its address",
                Self::OwnName => "The name in EHLO is mine, not yours",
                Self::Unresolvable => "The name in EHLO does not resolve",
            },
        )
    }
}

/// What the checks say of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// What is noted.
    pub(crate) faults: Vec<Fault>,
    /// Why the name is refused.
    pub(crate) refusal: Option<(Fault, Refusal)>,
}

/// Looks at a name. `own` is the name of this host.
pub(crate) async fn check<N: Names>(
    names: &N,
    name: &str,
    client: IpAddr,
    own: &str,
    checks: &HelloChecks,
    deadline: Instant,
) -> Hello {
    let mut faults = faults(name, client, own);
    let resolves = checks.unresolvable != HelloAction::Off && faults.is_empty() && !name.starts_with('[');
    if resolves && is_unresolvable(names, name, deadline).await {
        faults.push(Fault::Unresolvable);
    }
    let refused = faults.iter().find(|fault| fault.action(checks) == HelloAction::Reject);
    let refusal = refused.map(|fault| (*fault, fault.refusal()));
    faults.retain(|fault| fault.action(checks) != HelloAction::Off);
    Hello { faults, refusal }
}

/// What can be seen without asking anybody.
fn faults(name: &str, client: IpAddr, own: &str) -> Vec<Fault> {
    let client = client.to_canonical();
    if let Some(inside) = name.strip_prefix('[') {
        return match inside.strip_suffix(']').and_then(literal) {
            None => vec![Fault::Malformed],
            Some(address) if address == client => vec![Fault::Literal],
            Some(_) => vec![Fault::WrongAddress, Fault::Literal],
        };
    }
    // A client on this host may well use its name.
    if name.trim_end_matches('.').eq_ignore_ascii_case(own) && !client.is_loopback() {
        return vec![Fault::OwnName];
    }
    if is_host_name(name) { Vec::new() } else { vec![Fault::Malformed] }
}

/// An address literal (RFC 5321 §4.1.3) without its brackets.
fn literal(inside: &str) -> Option<IpAddr> {
    match inside.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inside[5..].parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
        }
        _ => inside.parse().ok(),
    }
}

/// A name of two labels or more; underscores are wrong, and common.
pub(crate) fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

/// Whether it is certain that a name has no address.
async fn is_unresolvable<N: Names>(names: &N, name: &str, deadline: Instant) -> bool {
    let look_up = async {
        let none4 = matches!(names.ipv4(name).await, Err(Absence::Certain));
        none4 && matches!(names.ipv6(name).await, Err(Absence::Certain))
    };
    tokio::time::timeout_at(deadline, look_up).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        let client = "192.0.2.1".parse().unwrap();
        let of = |name: &str| faults(name, client, "mx.here.test");
        assert_eq!(of("mail.example.org"), []);
        assert_eq!(of("mail_1.example.org."), []);
        for malformed in
            ["localhost", "", "a..b", "-a.test", "1.2.3.4", "2001:db8::1", "[1.2.3", "[x]", "a b.test"]
        {
            assert_eq!(of(malformed), [Fault::Malformed], "{malformed}");
        }
        assert_eq!(of("MX.here.test."), [Fault::OwnName]);
        assert_eq!(faults("mx.here.test", "127.0.0.1".parse().unwrap(), "mx.here.test"), []);
    }

    #[test]
    fn literals_have_to_be_the_clients_own() {
        let of = |name: &str, client: &str| faults(name, client.parse().unwrap(), "mx.here.test");
        assert_eq!(of("[192.0.2.1]", "192.0.2.1"), [Fault::Literal]);
        assert_eq!(of("[192.0.2.1]", "::ffff:192.0.2.1"), [Fault::Literal]);
        assert_eq!(of("[IPv6:2001:db8::1]", "2001:db8::1"), [Fault::Literal]);
        assert_eq!(of("[192.0.2.2]", "192.0.2.1"), [Fault::WrongAddress, Fault::Literal]);
    }
}
