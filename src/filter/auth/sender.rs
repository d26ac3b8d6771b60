//! SPF of both identities: the name in EHLO and the domain in MAIL (RFC 7208 §2.3, §2.4).

use std::net::IpAddr;

use tokio::time::Instant;

use super::a_labels;
use super::hello::is_host_name;
use crate::SpfScope;
use crate::names::Names;
use crate::spf::{Checked, Query, SpfResult, check_host};

/// What SPF says of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spf {
    pub(crate) scope: SpfScope,
    /// The domain that was checked, as A-labels.
    pub(crate) domain: String,
    pub(crate) result: SpfResult,
    /// What the domain says to those it did not permit.
    pub(crate) explanation: Option<String>,
}

/// What is the same for both identities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) client: IpAddr,
    pub(crate) helo: &'a str,
    pub(crate) receiver: &'a str,
    /// Seconds since the epoch.
    pub(crate) now: u64,
    pub(crate) max_void_lookups: u32,
    pub(crate) deadline: Instant,
}

/// The name in EHLO; `None` if it is no name that could have a record.
pub(crate) async fn check_hello<N: Names>(names: &N, circumstances: Circumstances<'_>) -> Option<Spf> {
    let name = circumstances.helo.trim_end_matches('.');
    if !is_host_name(name) {
        return None;
    }
    let sender = format!("postmaster@{name}");
    Some(check(names, circumstances, SpfScope::Helo, name, &sender).await)
}

/// The reverse-path, which is not the null one.
pub(crate) async fn check_mail<N: Names>(
    names: &N,
    circumstances: Circumstances<'_>,
    reverse_path: &str,
) -> Spf {
    let (local, domain) = reverse_path.rsplit_once('@').unwrap_or(("postmaster", reverse_path));
    let domain = a_labels(domain);
    let sender = format!("{local}@{domain}");
    check(names, circumstances, SpfScope::MailFrom, &domain, &sender).await
}

async fn check<N: Names>(
    names: &N,
    circumstances: Circumstances<'_>,
    scope: SpfScope,
    domain: &str,
    sender: &str,
) -> Spf {
    let Circumstances { client, helo, receiver, now, max_void_lookups, deadline } = circumstances;
    let query = Query { client, domain, sender, helo, receiver, now, max_void_lookups };
    let late = Checked { result: SpfResult::TempError, explanation: None };
    let checked = tokio::time::timeout_at(deadline, check_host(names, query)).await.unwrap_or(late);
    Spf { scope, domain: a_labels(domain), result: checked.result, explanation: checked.explanation }
}
