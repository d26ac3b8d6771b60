//! A domain that is being deleted: what belongs to it outside of the cluster goes or stays as its policies say, and then it goes itself.

use std::time::Duration;

use ekitei_api::{Client, DkimActivation, DkimKey, DkimKeyPatch, DkimStage};
use ekitei_operator_api::DeletionPolicy;
use ekitei_operator_dns::Inventory;

use super::records::{self, Dns};
use super::work::Work;
use super::{accept, certificate, dkim};
use crate::error::{Error, Optional as _, Result};
use crate::fail;
use crate::finalizer;
use crate::provider;
use crate::publish::{Publication, inventory, inventory_status, statuses};

/// How soon a zone is looked at again that another operator writes to.
const LOCKED: Duration = Duration::from_secs(5);
/// What is at the service, for people.
const MAIL: &str = "what the mail service has of it";

/// Removes what is to be removed; then lets the object go. `true` when it is gone. Without a service, the domain there is not this object's.
///
/// # Errors
/// What cannot be reached now: the object stays, unless a person gives that up.
pub async fn run(work: &mut Work, service: Option<Result<Client>>) -> Result<bool> {
    if !finalizer::holds(work.domain.as_ref()) {
        return Ok(true);
    }
    // One that never had the domain has nothing to remove, and must not touch what is another one's.
    let rivals = accept::rivals(work).await?;
    let has_it =
        accept::winner(&rivals).is_some_and(|winner| winner.metadata.uid == work.domain.metadata.uid);
    if has_it {
        let abandoned = finalizer::is_abandoned(work.domain.as_ref());
        let service = match service {
            Some(Ok(service)) => Some(service),
            Some(Err(error)) if deletes_something(work) => {
                finish(work, MAIL, Err(error), abandoned).await?;
                None
            }
            Some(Err(_)) | None => None,
        };
        if let Some(service) = &service {
            let stopped = stop_signing(work, service).await.map(|()| true);
            finish(work, MAIL, stopped, abandoned).await?;
        }
        let dns = remove_records(work, service.as_ref()).await;
        if !finish(work, "records", dns, abandoned).await? {
            return Ok(false);
        }
        fail::point("deletion.records")?;
        if let Some(service) = &service {
            let mail = remove_mail(work, service).await.map(|()| true);
            finish(work, MAIL, mail, abandoned).await?;
        }
        fail::point("deletion.mail")?;
    }
    finalizer::release(&work.context, work.domain.as_ref()).await?;
    Ok(true)
}

/// Whether not all of the domain stays as it is.
fn deletes_something(work: &Work) -> bool {
    let policies = &work.domain.spec.deletion_policy;
    [policies.dns, policies.mail].contains(&DeletionPolicy::Delete)
}

/// What a part of the removal comes to: `false` if it has to be waited for.
async fn finish(work: &Work, what: &str, result: Result<bool>, abandoned: bool) -> Result<bool> {
    match result {
        Ok(done) => Ok(done),
        Err(Error::NotLeader) => Err(Error::NotLeader),
        Err(error) if abandoned => {
            work.warn("Abandoned", &format!("{what} cannot be removed and are given up: {error}")).await;
            Ok(true)
        }
        Err(error) => {
            let note = format!(
                "{what} cannot be removed now: {error}; the annotation {}=true gives them up",
                finalizer::ABANDON
            );
            work.warn("DeletionWaits", &note).await;
            Err(error)
        }
    }
}

/// Lets no key sign any more whose record is to go: mail that leaves meanwhile is better not signed than signed with what nobody can check.
async fn stop_signing(work: &Work, service: &Client) -> Result<()> {
    if work.domain.spec.deletion_policy.dns == DeletionPolicy::Retain {
        return Ok(());
    }
    let domain = &work.domain.spec.domain;
    let published = inventory(&work.status.inventory)?;
    let keys = dkim::list(service, domain).await?;
    for key in keys.iter().filter(|key| signs_without_record(key, &published)) {
        work.context.leadership.check()?;
        let retired = DkimKeyPatch { stage: DkimStage::Retired };
        service.update_dkim_key(domain, &key.selector, &retired).await.optional()?;
        let note = format!("DKIM key {} signs no more, since its record goes", key.selector);
        work.tell("KeyRetired", &note).await;
    }
    Ok(())
}

/// Whether a key would go on signing when the records that are ours are gone: one of the operator's, or one of the service's whose record we published.
fn signs_without_record(key: &DkimKey, published: &Inventory) -> bool {
    let goes = key.activation == DkimActivation::Manual
        || published.iter().any(|entry| entry.key.name.as_str() == key.record_name);
    goes && key.stage == DkimStage::Signing
}

/// Removes the records that are ours, if the policy says so. `false` while another operator writes to the zone.
async fn remove_records(work: &mut Work, service: Option<&Client>) -> Result<bool> {
    if work.domain.spec.deletion_policy.dns == DeletionPolicy::Retain || work.status.inventory.is_empty() {
        return Ok(true);
    }
    let Dns { open, place, owner, .. } = records::open(work).await?;
    let publication = Publication {
        provider: open.provider.as_ref(),
        verifier: &open.verifier,
        owner: &owner,
        place: &place,
        desired: Vec::new(),
        adoption: records::allowed_adoption(&work.domain),
    };
    let before = inventory(&work.status.inventory)?;
    let context = work.context.clone();
    let published = publication.run(&context, service, before, work).await?;
    work.status.inventory = inventory_status(&published.inventory);
    work.status.records = statuses(&published.records);
    work.store().await?;
    if let Some(error) = published.error {
        return Err(provider::failure(error));
    }
    if published.locked_by.is_some() {
        work.wake_in(LOCKED);
        return Ok(false);
    }
    if !published.inventory.is_empty() {
        return Err(Error::outside(
            "RecordsLeft",
            "some records are in zones that the provider does not have now",
        ));
    }
    work.tell("RecordsRemoved", "the records of the domain are removed").await;
    Ok(true)
}

/// Removes the domain from the service, if the policy says so; where its records are gone, keys and the certificate that they were for. A domain that stays in both
/// goes on as it was.
async fn remove_mail(work: &mut Work, service: &Client) -> Result<()> {
    let domain = work.domain.spec.domain.clone();
    let policies = &work.domain.spec.deletion_policy;
    work.context.leadership.check()?;
    if deletes_something(work) {
        certificate::remove(work, service).await?;
    }
    if policies.mail == DeletionPolicy::Delete {
        service.delete_domain(&domain, true).await.optional()?;
        return Ok(());
    }
    if policies.dns == DeletionPolicy::Delete {
        for key in dkim::list(service, &domain).await? {
            if key.activation == DkimActivation::Manual {
                service.delete_dkim_key(&domain, &key.selector, true).await.optional()?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ekitei_operator_api::InventoryEntry;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_whose_record_goes_sign_no_more() {
        let key = |selector: &str, stage: &str, activation: &str| -> DkimKey {
            let record_name = format!("{selector}._domainkey.example.org");
            serde_json::from_value(json!({
                "domain": "example.org", "selector": selector, "algorithm": "rsa", "stage": stage, "activation": activation,
                "created": 1, "activated": 1, "retired": null, "record_name": record_name, "record_text": "v=DKIM1; p=",
                "record_line": "",
            }))
            .unwrap()
        };
        let ours = InventoryEntry {
            name: "theirs._domainkey.example.org".to_owned(),
            type_: "TXT".to_owned(),
            values: vec!["\"v=DKIM1; p=\"".to_owned()],
            family: None,
            variant: None,
            ttl: 300,
        };
        let published = inventory(&[ours]).unwrap();
        let goes = |key: &DkimKey| signs_without_record(key, &published);
        assert!(goes(&key("ours", "signing", "manual")), "the operator's own, whatever the inventory says");
        assert!(
            goes(&key("theirs", "signing", "automatic")),
            "the service's, whose record was published by us"
        );
        assert!(!goes(&key("elsewhere", "signing", "automatic")), "somebody else publishes its record");
        assert!(!goes(&key("ours", "retired", "manual")));
        assert!(!goes(&key("ours", "published", "manual")));
    }
}
