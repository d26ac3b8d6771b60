//! Whose an address is: which MailAccount may have it.

use std::collections::BTreeSet;

use ekitei_operator_api::{Conditions as _, MailAccount, MailDomain};
use icu_normalizer::ComposingNormalizerBorrowed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

/// Why a MailAccount is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No MailDomain of the namespace has the domain of an address.
    DomainNotManaged {
        /// The domain.
        domain: String,
        /// Why not, where there is a MailDomain.
        why: String,
    },
    /// An older MailAccount has an address.
    AddressConflict {
        /// The address.
        address: String,
        /// The other one, as `namespace/name`.
        other: String,
    },
}

impl Refusal {
    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DomainNotManaged { .. } => "DomainNotManaged",
            Self::AddressConflict { .. } => "AddressConflict",
        }
    }

    /// Its message.
    pub fn message(&self) -> String {
        match self {
            Self::DomainNotManaged { domain, why } => {
                format!("no accepted MailDomain of this namespace has the domain {domain}{why}")
            }
            Self::AddressConflict { address, other } => {
                format!("{address} belongs to the MailAccount {other}, which is older")
            }
        }
    }
}

/// An address as addresses are compared: the service does not tell letters by their case or composition (NFC), and domains are in A-labels.
pub fn canonical(address: &str) -> String {
    let local_part = address.rsplit_once('@').map_or(address, |(local_part, _)| local_part);
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(local_part);
    format!("{}@{}", composed.to_lowercase(), domain(address))
}

/// The domain of an address, in A-labels. One that is no domain name stays as it is; no MailDomain has it.
pub fn domain(address: &str) -> String {
    let domain = address.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
}

/// Whether an address is this canonical one. Most are told apart without being rewritten: every account is compared with every other one.
fn is(address: &str, canonical_one: &str) -> bool {
    if address.is_ascii() {
        address.eq_ignore_ascii_case(canonical_one)
    } else {
        canonical(address) == canonical_one
    }
}

/// Whether a MailAccount may have its addresses, among all MailDomains and MailAccounts of its namespace.
///
/// # Errors
/// [`Refusal`].
pub fn judge<'a>(
    account: &MailAccount,
    domains: impl Iterator<Item = &'a MailDomain> + Clone,
    accounts: impl Iterator<Item = &'a MailAccount> + Clone,
) -> Result<(), Refusal> {
    for address in addresses(account).map(canonical) {
        managed(account, &domain(&address), domains.clone())?;
        let older = accounts
            .clone()
            .filter(|other| other.namespace() == account.namespace() && other.uid() != account.uid())
            .filter(|other| age(other) < age(account))
            .find(|other| addresses(other).any(|theirs| is(theirs, &address)));
        if let Some(older) = older {
            return Err(Refusal::AddressConflict { address, other: full_name(older) });
        }
    }
    Ok(())
}

fn managed<'a>(
    account: &MailAccount,
    domain: &str,
    domains: impl Iterator<Item = &'a MailDomain> + Clone,
) -> Result<(), Refusal> {
    let mut of_it = domains.filter(|one| one.namespace() == account.namespace() && one.spec.domain == domain);
    if of_it.clone().any(accepts) {
        return Ok(());
    }
    let why = of_it.next().map_or_else(String::new, |waiting| match waiting.metadata.deletion_timestamp {
        Some(_) => format!(": {} is being deleted", waiting.name_any()),
        None => format!(": {} is not accepted", waiting.name_any()),
    });
    Err(Refusal::DomainNotManaged { domain: domain.to_owned(), why })
}

/// Whether a MailDomain has its domain, and keeps it.
pub fn accepts(domain: &MailDomain) -> bool {
    let accepted = domain.status.as_ref().is_some_and(|status| status.conditions.holds("Accepted"));
    accepted && domain.metadata.deletion_timestamp.is_none()
}

/// The MailDomain of the address's own domain, where the mailboxes are: the one that is accepted, if there are several.
pub fn home<'a>(account: &MailAccount, domains: &'a [MailDomain]) -> Option<&'a MailDomain> {
    let own = domain(&account.spec.address);
    let of_it = || domains.iter().filter(|one| one.spec.domain == own);
    of_it().find(|one| accepts(one)).or_else(|| of_it().next())
}

/// All addresses of a MailAccount, as it has them.
fn addresses(account: &MailAccount) -> impl Iterator<Item = &str> {
    std::iter::once(&account.spec.address).chain(&account.spec.aliases).map(String::as_str)
}

/// The domains of a MailAccount.
pub fn domains(account: &MailAccount) -> BTreeSet<String> {
    addresses(account).map(domain).collect()
}

/// By this the older one of two is found. Of two made in the same second it is one of them, always the same.
fn age(account: &MailAccount) -> (Option<&Time>, Option<&String>) {
    (account.metadata.creation_timestamp.as_ref(), account.metadata.name.as_ref())
}

fn full_name(account: &MailAccount) -> String {
    format!("{}/{}", account.namespace().unwrap_or_default(), account.name_any())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn account(name: &str, created: i64, address: &str, aliases: &[&str]) -> MailAccount {
        let spec =
            serde_json::from_value(serde_json::json!({"address": address, "aliases": aliases})).unwrap();
        let mut account = MailAccount::new(name, spec);
        account.metadata.namespace = Some("customers".to_owned());
        account.metadata.uid = Some(name.to_owned());
        account.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        account
    }

    fn domain_of(namespace: &str, accepted: &str) -> MailDomain {
        let object = serde_json::json!({
            "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailDomain",
            "metadata": {"name": "example", "namespace": namespace},
            "spec": {"domain": "example.org", "homeRegion": "tokyo", "regions": [{"name": "tokyo"}], "dns": {"provider": {"name": "knot"}}},
            "status": {"conditions": [{"type": "Accepted", "status": accepted, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        serde_json::from_value(object).unwrap()
    }

    fn verdict(one: &MailAccount, domains: &[MailDomain], accounts: &[MailAccount]) -> Result<(), String> {
        judge(one, domains.iter(), accounts.iter())
            .map_err(|refusal| format!("{}: {}", refusal.reason(), refusal.message()))
    }

    #[test]
    fn the_domain_must_be_of_an_accepted_mail_domain_of_the_same_namespace() {
        let alice = account("alice", 1, "alice@example.org", &[]);
        assert_eq!(verdict(&alice, &[domain_of("customers", "True")], &[]), Ok(()));
        let none = "DomainNotManaged: no accepted MailDomain of this namespace has the domain example.org";
        assert_eq!(verdict(&alice, &[], &[]), Err(none.to_owned()));
        assert_eq!(verdict(&alice, &[domain_of("others", "True")], &[]), Err(none.to_owned()));
        assert_eq!(
            verdict(&alice, &[domain_of("customers", "False")], &[]),
            Err(format!("{none}: example is not accepted"))
        );
    }

    #[test]
    fn aliases_must_be_of_such_domains_too() {
        let alice = account("alice", 1, "alice@example.org", &["alice@example.com"]);
        let refusal = verdict(&alice, &[domain_of("customers", "True")], &[]).unwrap_err();
        assert!(refusal.contains("the domain example.com"), "{refusal}");
    }

    #[test]
    fn mailboxes_are_where_the_domain_of_the_address_is_not_that_of_an_alias() {
        let alice = account("alice", 1, "alice@example.org", &["alice@example.com"]);
        let mut of_alias = domain_of("customers", "True");
        of_alias.spec.domain = "example.com".to_owned();
        let mut waiting = domain_of("customers", "False");
        waiting.metadata.name = Some("waiting".to_owned());
        let domains = [of_alias, waiting, domain_of("customers", "True")];
        assert_eq!(home(&alice, &domains).unwrap().name_any(), "example");
        assert_eq!(home(&alice, &domains[..2]).unwrap().name_any(), "waiting");
        assert!(home(&alice, &domains[..1]).is_none());
    }

    #[test]
    fn of_two_that_want_an_address_the_older_has_it() {
        let domains = [domain_of("customers", "True")];
        let older = account("sales", 1, "sales@example.org", &["Info@example.org"]);
        let younger = account("info", 2, "info@example.org", &[]);
        let both = [younger.clone(), older.clone()];
        assert_eq!(verdict(&older, &domains, &both), Ok(()));
        assert_eq!(
            verdict(&younger, &domains, &both),
            Err("AddressConflict: info@example.org belongs to the MailAccount customers/sales, which is older".to_owned())
        );
    }

    #[test]
    fn addresses_are_compared_as_the_service_does() {
        assert_eq!(canonical("Info@Bücher.Example"), "info@xn--bcher-kva.example");
        assert_eq!(canonical("Jose\u{301}@example.org"), "jos\u{e9}@example.org");
        assert!(is("INFO@xn--bcher-kva.example", "info@xn--bcher-kva.example"));
        assert!(is("info@bücher.example", "info@xn--bcher-kva.example"));
        assert!(!is("info@example.org", "info@xn--bcher-kva.example"));
        let two = account("a", 1, "a@example.org", &["a@example.com", "b@EXAMPLE.org"]);
        assert_eq!(domains(&two), ["example.com".to_owned(), "example.org".to_owned()].into());
    }

    #[test]
    fn of_two_of_one_second_only_one_has_it() {
        let domains = [domain_of("customers", "True")];
        let both = [account("a", 1, "x@example.org", &[]), account("b", 1, "x@example.org", &[])];
        let accepted: Vec<bool> = both.iter().map(|one| verdict(one, &domains, &both).is_ok()).collect();
        assert_eq!(accepted, [true, false]);
    }
}
