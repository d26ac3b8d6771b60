//! Whether a domain can be served at all: nobody else has it, and what it refers to is there.

use ekitei_operator_api::{MailDomain, MailRegion};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::describe;
use super::work::Work;
use crate::error::Result;
use crate::finalizer;

/// Why a domain is not accepted: reason, and what to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in one word for programs.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// All regions of the operator's namespace.
///
/// # Errors
/// The Kubernetes API's.
pub async fn regions(work: &Work) -> Result<Vec<MailRegion>> {
    let api: Api<MailRegion> = Api::namespaced(work.context.client.clone(), work.context.namespace());
    Ok(api.list(&ListParams::default()).await?.items)
}

/// All objects that want this domain, in all namespaces; they are asked for now, not taken from a cache: two must never be accepted.
///
/// # Errors
/// The Kubernetes API's.
pub async fn rivals(work: &Work) -> Result<Vec<MailDomain>> {
    let api: Api<MailDomain> = Api::all(work.context.client.clone());
    let same = ListParams::default().fields(&format!("spec.domain={}", work.domain.spec.domain));
    Ok(api.list(&same).await?.items)
}

/// Why the domain cannot be accepted, if it cannot.
pub fn refusal(domain: &MailDomain, rivals: &[MailDomain], regions: &[MailRegion]) -> Option<Refusal> {
    if let Some(winner) = winner(rivals)
        && winner.uid() != domain.uid()
    {
        let message = format!(
            "{} is served for MailDomain {}/{}, which had it first",
            domain.spec.domain,
            winner.namespace().unwrap_or_default(),
            winner.name_any()
        );
        return Some(Refusal { reason: "DomainConflict", message });
    }
    // Without another region the domain takes mail all the same: `MXReady` says which is not there.
    if describe::home(domain, regions).is_some() {
        return None;
    }
    let message = format!("there is no MailRegion {}, its home", domain.spec.home_region);
    Some(Refusal { reason: "RegionUnknown", message })
}

/// Of several objects that want a domain, the one that has it: one that was accepted (it has our finalizer) before one that was not, whatever the clocks of API
/// servers say; of those the oldest, and of those made in the same second the first by namespace and name. An object that is being deleted has its domain until it is gone.
pub fn winner(rivals: &[MailDomain]) -> Option<&MailDomain> {
    rivals.iter().min_by_key(|rival| {
        let created = rival.creation_timestamp().map(|time| time.0);
        // One without a time is not stored yet.
        (!finalizer::holds(*rival), created.is_none(), created, rival.namespace(), rival.name_any())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::domain::testing::{domain, region};

    fn rival(namespace: &str, name: &str, created: i64) -> MailDomain {
        let mut rival = domain("example.org");
        rival.metadata.namespace = Some(namespace.to_owned());
        rival.metadata.name = Some(name.to_owned());
        rival.metadata.uid = Some(format!("{namespace}/{name}"));
        rival.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        rival
    }

    #[test]
    fn the_oldest_has_the_domain_and_then_the_first_by_name() {
        let (old, young) = (rival("z", "z", 10), rival("a", "a", 11));
        let both = [young.clone(), old.clone()];
        assert_eq!(refusal(&old, &both, &[region("tokyo")]), None);
        let refused = refusal(&young, &both, &[region("tokyo")]).unwrap();
        assert_eq!(refused.reason, "DomainConflict");
        assert!(refused.message.contains("z/z"), "{}", refused.message);
        let same_second = [rival("b", "a", 10), rival("a", "b", 10), rival("a", "c", 10)];
        assert_eq!(winner(&same_second).unwrap().uid().unwrap(), "a/b");
    }

    #[test]
    fn a_domain_in_use_is_not_taken_over() {
        let mut accepted = rival("z", "z", 10);
        accepted.metadata.finalizers = Some(vec![ekitei_operator_api::FINALIZER.to_owned()]);
        for later in [rival("a", "a", 10), rival("a", "a", 9)] {
            let both = [later.clone(), accepted.clone()];
            assert_eq!(winner(&both).unwrap().uid().unwrap(), "z/z");
            assert_eq!(refusal(&later, &both, &[region("tokyo")]).unwrap().reason, "DomainConflict");
        }
    }

    #[test]
    fn the_home_region_has_to_be_there() {
        let mut one = domain("example.org");
        let refused = refusal(&one, std::slice::from_ref(&one), &[region("singapore")]).unwrap();
        assert_eq!(
            (refused.reason, refused.message.as_str()),
            ("RegionUnknown", "there is no MailRegion tokyo, its home")
        );
        one.spec
            .regions
            .push(ekitei_operator_api::RegionReference { name: "mars".to_owned(), preference: 20 });
        assert_eq!(
            refusal(&one, std::slice::from_ref(&one), &[region("tokyo")]),
            None,
            "another one may come"
        );
    }
}
