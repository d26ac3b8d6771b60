//! What DNS says of the names in one message: all of them are asked at once, within one time limit, and each once. The checks then go by these
//! answers, so that a name that somebody lets us wait for takes no time from the others, and no verdict depends on which was answered first.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekitei_dns::Resolver;
use futures_util::future::join_all;
use mail_auth::common::verify::DomainKey;
use mail_auth::{DnsError, Error, MessageAuthenticator, ResolverCache, Txt};
use tokio::time::Instant;

use super::policy_record;

/// For what follows from an answer and could not be asked before; it is rare, and mostly known to the resolver.
const AFTERTHOUGHT: Duration = Duration::from_secs(1);

/// The answers about one message.
pub(crate) struct Answers<'a> {
    dns: &'a Resolver,
    deadline: Instant,
    texts: Mutex<HashMap<Box<str>, Txt>>,
}

/// Names that are asked about.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of keys (`selector._domainkey.domain`), with their last dot.
    pub(crate) keys: BTreeSet<String>,
    /// Domains whose policies are looked for, at every name where one may be.
    pub(crate) policies: BTreeSet<String>,
}

impl<'a> Answers<'a> {
    /// Without answers so far. What is not known at `deadline` is a failed lookup.
    pub(crate) fn new(dns: &'a Resolver, deadline: Instant) -> Self {
        Self { dns, deadline, texts: Mutex::default() }
    }

    /// Who verifies; to be given the answers as its cache.
    pub(crate) fn authenticator(&self) -> &'a MessageAuthenticator {
        self.dns.authenticator()
    }

    /// Until when a check that has its answers may take.
    pub(crate) fn end(&self) -> Instant {
        self.deadline + AFTERTHOUGHT
    }

    /// Asks everything at once; done at the deadline at the latest.
    pub(crate) async fn ask(&self, names: &Names) {
        let keys = names.keys.iter().map(|name| async {
            let found = self.authenticator().txt_lookup::<DomainKey>(name.as_str(), Some(self));
            self.note(name, tokio::time::timeout_at(self.deadline, found).await.map(|found| found.map(drop)));
        });
        let policies = names.policies.iter().map(|domain| self.ask_policies(domain));
        tokio::join!(join_all(keys), join_all(policies));
    }

    /// Asks for the policies of a domain and of those above it.
    async fn ask_policies(&self, domain: &str) {
        let walk = walk(domain);
        join_all(walk.iter().map(|name| self.ask_policy(name))).await;
        // Where a domain above has another policy for names that do not exist (RFC 9989 §4.7, np), it matters whether this one does.
        let of = |name: &String| match self.get::<str>(name) {
            Some(Txt::Dmarc(policy)) => Some(policy),
            _ => None,
        };
        let has_own = walk.first().and_then(of).is_some();
        if !has_own && walk.iter().filter_map(of).any(|policy| policy.np != policy.sp) {
            // The resolver remembers it.
            let exists = self.authenticator().ipv4_lookup_raw(domain);
            let _ = tokio::time::timeout_at(self.deadline, exists).await;
        }
    }

    /// Asks for the policy at a name, which is noted as it is to be read.
    async fn ask_policy(&self, name: &str) {
        // Nothing rests on DNSSEC here; see [`Resolver::authenticator`].
        let dns = self.dns.without_validation();
        let text = match tokio::time::timeout_at(self.deadline, dns.txt(name)).await {
            Ok(Ok(found)) => policy_record::read(&found.value).map(|policy| Txt::Dmarc(Arc::new(policy))),
            Ok(Err(error)) if !error.is_temporary() => None,
            Ok(Err(error)) => Some(Txt::Error(Error::Dns(DnsError::Resolver(error.to_string())))),
            Err(_) => Some(Txt::Error(late())),
        };
        let nothing = || Txt::Error(Error::Dns(DnsError::InvalidRecordType));
        self.texts().insert(name.to_ascii_lowercase().into(), text.unwrap_or_else(nothing));
    }

    /// Notes a lookup that found nothing; what is found notes itself.
    fn note<E>(&self, name: &str, found: Result<mail_auth::Result<()>, E>) {
        let error = match found {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => late(),
        };
        self.texts().entry(name.to_ascii_lowercase().into()).or_insert(Txt::Error(error));
    }

    fn texts(&self) -> MutexGuard<'_, HashMap<Box<str>, Txt>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolverCache<Box<str>, Txt> for Answers<'_> {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.texts().get(name).cloned()
    }

    fn remove<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.texts().remove(name)
    }

    fn insert(&self, name: Box<str>, text: Txt, _: std::time::Instant) {
        self.texts().insert(name, text);
    }
}

fn late() -> Error {
    Error::Dns(DnsError::Resolver("no answer in time".to_owned()))
}

/// The names that a walk up from a domain looks at (RFC 9989 §4.10): the domain itself, its last seven labels, and so on to the last one.
fn walk(domain: &str) -> Vec<String> {
    let domain = domain.trim_end_matches('.');
    let labels: Vec<&str> = domain.split('.').filter(|label| !label.is_empty()).collect();
    if labels.len() < 2 {
        return Vec::new();
    }
    let lengths = std::iter::once(labels.len()).chain((1..labels.len().min(8)).rev());
    lengths.map(|length| format!("_dmarc.{}.", labels[labels.len() - length..].join("."))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_asks_eight_names_at_most() {
        assert_eq!(walk("a.example.org"), ["_dmarc.a.example.org.", "_dmarc.example.org.", "_dmarc.org."]);
        assert_eq!(walk("localhost"), Vec::<String>::new());
        let long = walk("a.b.c.d.e.f.g.h.i.example");
        assert_eq!((long.len(), long[1].as_str()), (8, "_dmarc.d.e.f.g.h.i.example."));
    }
}
