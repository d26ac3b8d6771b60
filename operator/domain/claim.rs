//! Whose a domain is that the service has already. Who may make MailDomains in a namespace must not get every domain by its name: one that somebody made by the command line,
//! or that another object left there with its mail, is only given to objects of the operator's namespace, or of one that an administrator marked.

use ekitei_api::{Client, Domain};
use ekitei_operator_api::{MailDomain, MailRegion};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::Api;

use super::accept::Refusal;
use super::describe;
use super::work::Work;
use crate::context::Context;
use crate::error::{Optional as _, Result};
use crate::finalizer;

/// The label of a Namespace whose MailDomains may have domains that the service has already, with the value `true`.
pub const ADOPT: &str = "ekitei.dev/adopt";
/// What the operator's own service is called in the status.
const MAIN: &str = "operator";

/// Which service has a domain, as the status says it: the operator's, or that of a region.
pub fn place(home: Option<&MailRegion>) -> String {
    match home.filter(|region| region.spec.service.is_some()) {
        Some(region) => format!("region/{}", region.name_any()),
        None => MAIN.to_owned(),
    }
}

/// Whether the domain in this service is the object's without further questions.
pub fn holds(context: &Context, domain: &MailDomain, home: Option<&MailRegion>) -> bool {
    let claimed = domain.status.as_ref().and_then(|status| status.claimed_in.as_deref());
    domain.namespace().as_deref() == Some(context.namespace()) || claimed == Some(place(home).as_str())
}

/// Claims the domain in its service, if the object may have it; or says why it may not. The claim is stored before anything is made, so that one who dies
/// between goes on with what is its own.
///
/// # Errors
/// The service's and the Kubernetes API's: then nobody knows, and nothing may be done.
pub async fn step(work: &mut Work, regions: &[MailRegion], service: &Client) -> Result<Option<Refusal>> {
    let home = describe::home(&work.domain, regions);
    if holds(&work.context, &work.domain, home) {
        return Ok(None);
    }
    let found = service.domain(&work.domain.spec.domain).await.optional()?;
    let may = is_free_or_known(found.as_ref(), work.status.service_revision.as_deref())
        || may_adopt(&work.context, &work.namespace()).await?;
    if !may {
        return Ok(Some(refusal(&work.domain)));
    }
    work.status.claimed_in = Some(place(home));
    work.store().await?;
    Ok(None)
}

/// The objects that may have the domain, of all that want it: one that would be refused as not permitted ([`step`]) must not keep it from others by being older.
/// The object itself is always among them, and so are all where the service does not have the domain: then whoever comes first may have it.
///
/// # Errors
/// The service's and the Kubernetes API's.
pub async fn contenders(
    work: &Work,
    rivals: Vec<MailDomain>,
    regions: &[MailRegion],
    service: &Result<Client>,
) -> Result<Vec<MailDomain>> {
    // One that was accepted has it, whatever the others may.
    let is_settled = rivals.len() < 2 || rivals.iter().any(finalizer::holds);
    let (false, Ok(service)) = (is_settled, service) else { return Ok(rivals) };
    let Some(found) = service.domain(&work.domain.spec.domain).await.optional()? else { return Ok(rivals) };
    let here = place(describe::home(&work.domain, regions));
    let mut contenders = Vec::new();
    for rival in rivals {
        let home = describe::home(&rival, regions);
        let standing = Standing {
            is_own: rival.uid() == work.domain.uid(),
            is_elsewhere: place(home) != here,
            holds: holds(&work.context, &rival, home),
            seen: rival.status.as_ref().and_then(|status| status.service_revision.as_deref()),
        };
        let namespace = rival.namespace().unwrap_or_default();
        if standing.contends(&found) || may_adopt(&work.context, &namespace).await? {
            contenders.push(rival);
        }
    }
    Ok(contenders)
}

/// What one that wants a domain of the service has to do with it.
#[derive(Clone, Copy, Debug)]
struct Standing<'a> {
    /// It is the object that is asked for.
    is_own: bool,
    /// Its home is at another service.
    is_elsewhere: bool,
    /// The domain is its own, as [`holds`] says.
    holds: bool,
    /// The revision of the domain that it had before.
    seen: Option<&'a str>,
}

impl Standing<'_> {
    /// Whether it may have the domain that the service has, whatever its namespace may.
    fn contends(self, found: &Domain) -> bool {
        self.is_own || self.is_elsewhere || self.holds || is_free_or_known(Some(found), self.seen)
    }
}

/// Whether nobody has the domain, or it is the one that this object had before: a service may be reached by another region, too.
fn is_free_or_known(found: Option<&Domain>, seen: Option<&str>) -> bool {
    found.is_none_or(|found| seen == Some(found.revision.as_str()))
}

async fn may_adopt(context: &Context, namespace: &str) -> Result<bool> {
    let found = Api::<Namespace>::all(context.client.clone()).get(namespace).await.optional()?;
    Ok(found.is_some_and(|found| is_marked(&found)))
}

fn is_marked(namespace: &Namespace) -> bool {
    namespace.labels().get(ADOPT).is_some_and(|value| value == "true")
}

fn refusal(domain: &MailDomain) -> Refusal {
    let message = format!(
        "the service has {} already, and this object did not make it; an administrator gives it to this namespace by kubectl label namespace {} {ADOPT}=true",
        domain.spec.domain,
        domain.namespace().unwrap_or_default(),
    );
    Refusal { reason: "DomainInUse", message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::testing::{domain, region};

    fn found(revision: &str) -> Domain {
        serde_json::from_value(json!({
            "name": "example.org", "unicode_name": "example.org", "enabled": true, "catch_all": null,
            "postmaster": null, "quota": null, "total_quota": null, "mta_sts": null, "client_host": null,
            "mx_hosts": null, "created": 1, "revision": revision,
        }))
        .unwrap()
    }

    #[test]
    fn a_domain_that_somebody_else_made_is_not_free() {
        assert!(is_free_or_known(None, None));
        assert!(!is_free_or_known(Some(&found("a")), None));
        assert!(!is_free_or_known(Some(&found("a")), Some("b")));
        assert!(is_free_or_known(Some(&found("a")), Some("a")), "the same one, by way of another region");
    }

    #[test]
    fn an_administrator_opens_a_namespace_by_its_label() {
        let namespace = |labels: serde_json::Value| -> Namespace {
            serde_json::from_value(json!({"metadata": {"name": "customers", "labels": labels}})).unwrap()
        };
        assert!(is_marked(&namespace(json!({"ekitei.dev/adopt": "true"}))));
        assert!(!is_marked(&namespace(json!({"ekitei.dev/adopt": "false"}))));
        assert!(!is_marked(&namespace(json!({}))));
        assert!(
            refusal(&domain("example.org"))
                .message
                .ends_with("kubectl label namespace mail ekitei.dev/adopt=true")
        );
    }

    #[test]
    fn one_that_may_not_have_a_domain_of_the_service_does_not_keep_it_from_others() {
        let tenant = Standing { is_own: false, is_elsewhere: false, holds: false, seen: None };
        let domain = found("a");
        assert!(!tenant.contends(&domain), "it would be refused");
        for other in [
            Standing { is_own: true, ..tenant },
            Standing { is_elsewhere: true, ..tenant },
            Standing { holds: true, ..tenant },
            Standing { seen: Some("a"), ..tenant },
        ] {
            assert!(other.contends(&domain), "{other:?}");
        }
    }

    #[test]
    fn a_claim_is_of_one_service() {
        let mut own = region("tokyo");
        assert_eq!((place(None), place(Some(&own))), ("operator".to_owned(), "operator".to_owned()));
        own.spec.service = Some(
            serde_json::from_value(json!({"url": "http://a", "tokenRef": {"name": "a", "key": "b"}}))
                .unwrap(),
        );
        assert_eq!(place(Some(&own)), "region/tokyo");
    }
}
