//! What the checks ask of DNS, in the terms in which they count: there is something, there is certainly nothing, or nobody knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ekitei_dns::Resolver;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// NXDOMAIN, no such records, or no name at all.
    Certain,
    /// Nobody answered, or the answer cannot be trusted: a later attempt may find something.
    Unknown,
}

/// Lookups. A seam, so that the checks can be tested against zones in memory.
pub(crate) trait Names: Send + Sync {
    /// TXT records, each joined from its strings.
    fn txt(&self, name: &str) -> impl Future<Output = Result<Vec<Vec<u8>>, Absence>> + Send;
    /// A records.
    fn ipv4(&self, name: &str) -> impl Future<Output = Result<Vec<Ipv4Addr>, Absence>> + Send;
    /// AAAA records.
    fn ipv6(&self, name: &str) -> impl Future<Output = Result<Vec<Ipv6Addr>, Absence>> + Send;
    /// Exchangers, without their last dot.
    fn mx(&self, name: &str) -> impl Future<Output = Result<Vec<String>, Absence>> + Send;
    /// Names of an address, without their last dot.
    fn ptr(&self, address: IpAddr) -> impl Future<Output = Result<Vec<String>, Absence>> + Send;
}

impl Names for Resolver {
    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Absence> {
        let answer = Self::txt(self, name).await.map_err(|error| absence(&error))?;
        Ok(answer.value.into_iter().map(String::into_bytes).collect())
    }

    async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Absence> {
        Self::ipv4(self, name).await.map(|answer| answer.value).map_err(|error| absence(&error))
    }

    async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Absence> {
        let found = self.authenticator().ipv6_lookup_raw(&absolute(name)).await;
        found.map(|found| found.entry.to_vec()).map_err(|error| unresolved(&error))
    }

    async fn mx(&self, name: &str) -> Result<Vec<String>, Absence> {
        let answer = Self::mx(self, name).await.map_err(|error| absence(&error))?;
        Ok(answer.value.into_iter().map(|mx| mx.exchange).collect())
    }

    async fn ptr(&self, address: IpAddr) -> Result<Vec<String>, Absence> {
        let answer = Self::ptr(self, address).await.map_err(|error| absence(&error))?;
        Ok(answer.value.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
    }
}

/// With its last dot, so that no search list of the system is tried.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

/// A name that DNS cannot hold is not there.
fn absence(error: &ekitei_dns::Error) -> Absence {
    if error.is_temporary() { Absence::Unknown } else { Absence::Certain }
}

fn unresolved(error: &mail_auth::Error) -> Absence {
    match error {
        mail_auth::Error::Dns(mail_auth::DnsError::Resolver(_)) => Absence::Unknown,
        _ => Absence::Certain,
    }
}
