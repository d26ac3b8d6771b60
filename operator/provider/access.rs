//! Who may use a DNSProvider: objects of its own namespace, and of those that it allows. Pure.

use ekitei_operator_api::{AdoptionPolicy, DnsProvider, ProviderReference};
use kube::ResourceExt as _;

/// Allows all namespaces.
const ALL: &str = "*";

/// The namespace and name that a reference leads to, from an object in `namespace`.
pub fn place<'a>(reference: &'a ProviderReference, namespace: &'a str) -> (&'a str, &'a str) {
    (reference.namespace.as_deref().unwrap_or(namespace), &reference.name)
}

/// Whether objects of a namespace may use a provider.
pub fn allows(provider: &DnsProvider, namespace: &str) -> bool {
    provider.namespace().as_deref() == Some(namespace)
        || provider.spec.allowed_namespaces.iter().any(|allowed| allowed == ALL || allowed == namespace)
}

/// What an object may do with records that are there already. Zones of a provider that is shared have records of other namespaces: to replace those is for who has the
/// provider.
pub fn adoption(policy: AdoptionPolicy, reference: &ProviderReference, namespace: &str) -> AdoptionPolicy {
    match policy {
        AdoptionPolicy::Force if place(reference, namespace).0 != namespace => AdoptionPolicy::IfUnowned,
        policy => policy,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn provider(allowed: &[&str]) -> DnsProvider {
        let spec = serde_json::json!({"manual": {}, "allowedNamespaces": allowed});
        let mut provider = DnsProvider::new("zone", serde_json::from_value(spec).unwrap());
        provider.metadata.namespace = Some("dns".to_owned());
        provider
    }

    #[test]
    fn a_provider_is_used_from_its_own_namespace_and_those_that_it_allows() {
        assert!(allows(&provider(&[]), "dns"));
        assert!(!allows(&provider(&[]), "customers"));
        assert!(allows(&provider(&["customers"]), "customers"));
        assert!(!allows(&provider(&["customers"]), "customers-2"));
        assert!(allows(&provider(&["*"]), "anywhere"));
    }

    #[test]
    fn only_who_has_the_provider_replaces_records_of_others() {
        use AdoptionPolicy::{Force, IfUnowned, Never};
        let of = |namespace: Option<&str>, policy| {
            let namespace = namespace.map(str::to_owned);
            adoption(policy, &ProviderReference { name: "zone".to_owned(), namespace }, "customers")
        };
        assert_eq!((of(None, Force), of(Some("customers"), Force)), (Force, Force));
        assert_eq!((of(Some("dns"), Force), of(Some("dns"), Never)), (IfUnowned, Never));
    }

    #[test]
    fn a_reference_without_a_namespace_stays_in_its_own() {
        let reference = |namespace: Option<&str>| ProviderReference {
            name: "zone".to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        assert_eq!(place(&reference(None), "customers"), ("customers", "zone"));
        assert_eq!(place(&reference(Some("dns")), "customers"), ("dns", "zone"));
    }
}
