//! Who uses a DNSProvider: what it keeps from going, and what it is tried with. Rules apart from [`all`], which asks.

use ekitei_operator_api::{DnsProvider, MailDomain, MailRegion, ProviderReference};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::context::Context;
use crate::error::Result;
use crate::finalizer;
use crate::provider::access;

/// How many users are named.
const NAMED: usize = 5;

/// Something that refers to a DNSProvider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `MailDomain mail/example.org`.
    pub name: String,
    /// Its name in DNS.
    pub dns_name: String,
    /// Its namespace.
    namespace: String,
    /// Namespace and name of the DNSProvider.
    place: (String, String),
    /// Whether it may have records: it has our finalizer, which comes before them.
    keeps: bool,
}

/// All objects that refer to DNSProviders.
#[derive(Clone, Debug, Default)]
pub struct Users(Vec<User>);

impl Users {
    /// Those that refer to this provider, and may.
    pub fn of(&self, provider: &DnsProvider) -> Vec<User> {
        let place = (provider.namespace().unwrap_or_default(), provider.name_any());
        let of_it = |user: &&User| user.place == place && access::allows(provider, &user.namespace);
        self.0.iter().filter(of_it).cloned().collect()
    }
}

/// Asks for all of them, now: a cache may not know yet who begins to use a provider.
///
/// # Errors
/// The Kubernetes API's.
pub async fn all(context: &Context) -> Result<Users> {
    let domains = Api::<MailDomain>::all(context.client.clone()).list(&ListParams::default()).await?;
    let regions = Api::<MailRegion>::namespaced(context.client.clone(), context.namespace());
    let regions = regions.list(&ListParams::default()).await?;
    let of_domain = |domain: &MailDomain| user("MailDomain", domain, by_domain(domain), &domain.spec.domain);
    let of_region = |region: &MailRegion| user("MailRegion", region, by_region(region), &region.spec.host);
    Ok(Users(domains.iter().filter_map(of_domain).chain(regions.iter().filter_map(of_region)).collect()))
}

fn user<K: kube::Resource>(
    kind: &str,
    object: &K,
    place: Option<(String, String)>,
    dns_name: &str,
) -> Option<User> {
    let namespace = object.namespace().unwrap_or_default();
    Some(User {
        name: format!("{kind} {namespace}/{}", object.name_any()),
        dns_name: dns_name.to_owned(),
        namespace,
        place: place?,
        keeps: finalizer::holds(object),
    })
}

/// The namespace and name of the provider of a domain.
pub fn by_domain(domain: &MailDomain) -> Option<(String, String)> {
    Some(place(&domain.spec.dns.provider, domain.namespace()))
}

/// The namespace and name of the provider of a region, if it has one.
pub fn by_region(region: &MailRegion) -> Option<(String, String)> {
    Some(place(&region.spec.dns.as_ref()?.provider, region.namespace()))
}

fn place(reference: &ProviderReference, namespace: Option<String>) -> (String, String) {
    let namespace = namespace.unwrap_or_default();
    let (of, name) = access::place(reference, &namespace);
    (of.to_owned(), name.to_owned())
}

/// Who keeps a provider, in words; `None` if nobody does.
pub fn in_use(users: &[User]) -> Option<String> {
    let keep: Vec<&str> = users.iter().filter(|user| user.keeps).map(|user| user.name.as_str()).collect();
    let more = keep.len().checked_sub(NAMED).filter(|more| *more > 0);
    let named = keep.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    (!keep.is_empty()).then(|| match more {
        Some(more) => format!("these publish records by it: {named} and {more} more"),
        None => format!("these publish records by it: {named}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_operator_api::FINALIZER;
    use serde_json::json;

    use super::*;

    fn provider(allowed: &[&str]) -> DnsProvider {
        let spec = json!({"manual": {}, "allowedNamespaces": allowed});
        let mut provider = DnsProvider::new("zone", serde_json::from_value(spec).unwrap());
        provider.metadata.namespace = Some("dns".to_owned());
        provider
    }

    fn domain(name: &str, namespace: &str, finalizers: &[&str]) -> User {
        let object = json!({
            "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailDomain",
            "metadata": {"name": name, "namespace": namespace, "finalizers": finalizers},
            "spec": {"domain": "example.org", "homeRegion": "tokyo", "regions": [{"name": "tokyo"}],
                "dns": {"provider": {"name": "zone", "namespace": "dns"}}},
        });
        let domain: MailDomain = serde_json::from_value(object).unwrap();
        user("MailDomain", &domain, by_domain(&domain), &domain.spec.domain).unwrap()
    }

    #[test]
    fn a_provider_is_kept_by_what_may_have_records_by_it_and_by_nothing_else() {
        let all = Users(vec![
            domain("ours", "dns", &[FINALIZER]),
            domain("refused", "dns", &[]),
            domain("theirs", "customers", &[FINALIZER]),
        ]);
        let names = |allowed: &[&str]| in_use(&all.of(&provider(allowed)));
        assert_eq!(names(&[]).unwrap(), "these publish records by it: MailDomain dns/ours");
        assert!(names(&["customers"]).unwrap().ends_with("MailDomain dns/ours, MailDomain customers/theirs"));
        assert_eq!(in_use(&[domain("refused", "dns", &[])]), None);
        let mut other = provider(&["*"]);
        other.metadata.name = Some("other".to_owned());
        assert!(all.of(&other).is_empty());
    }

    #[test]
    fn of_many_users_some_are_named() {
        let many: Vec<User> = (0..7).map(|n| domain(&n.to_string(), "dns", &[FINALIZER])).collect();
        assert!(in_use(&many).unwrap().ends_with("MailDomain dns/4 and 2 more"));
    }
}
