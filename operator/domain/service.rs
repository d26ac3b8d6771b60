//! The domain in the mail service: that it is there, and has the settings that the object says.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_api::{AliasTargets, Client, Domain, DomainPatch, MtaSts, MtaStsMode, NewDomain};
use ekitei_operator_api::{MailDomain, MtaStsMode as Mode};

use super::work::Work;
use crate::account::quantity;
use crate::error::{Error, Optional as _, Result};
use crate::fail;

/// What the service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    catch_all: Option<String>,
    postmaster: Option<String>,
    quota: Option<u64>,
    total_quota: Option<u64>,
    mta_sts: Option<MtaSts>,
    client_host: Option<String>,
    mx_hosts: Option<Vec<String>>,
}

impl Wanted {
    /// What an object says, with the names of its regions' MX hosts and of the host that programs connect to.
    ///
    /// # Errors
    /// A quantity that is too large.
    pub fn new(domain: &MailDomain, mx_hosts: Vec<String>, client_host: Option<String>) -> Result<Self> {
        let spec = &domain.spec;
        let octets = |quantity: &Option<String>| {
            quantity
                .as_deref()
                .map(quantity::octets)
                .transpose()
                .map_err(|error| Error::invalid("QuotaInvalid", error))
        };
        let mode = match spec.mta_sts.mode {
            Mode::None => MtaStsMode::None,
            Mode::Testing => MtaStsMode::Testing,
            Mode::Enforce => MtaStsMode::Enforce,
        };
        let policy = MtaSts { mode, mx: mx_hosts.clone(), max_age: spec.mta_sts.max_age.get().as_secs() };
        Ok(Self {
            catch_all: spec.catch_all.clone(),
            postmaster: spec.postmaster.clone(),
            quota: octets(&spec.accounts.quota)?,
            total_quota: octets(&spec.accounts.total_quota)?,
            mta_sts: Some(policy).filter(|_| spec.mta_sts.enabled),
            client_host,
            mx_hosts: Some(mx_hosts).filter(|hosts| !hosts.is_empty()),
        })
    }

    /// The domain, to be made.
    pub fn new_domain(&self, name: &str) -> NewDomain {
        let wanted = self.clone();
        NewDomain {
            name: name.to_owned(),
            catch_all: wanted.catch_all,
            postmaster: wanted.postmaster,
            quota: wanted.quota,
            total_quota: wanted.total_quota,
            mta_sts: wanted.mta_sts,
            client_host: wanted.client_host,
            mx_hosts: wanted.mx_hosts,
        }
    }

    /// What has to change in the service; none if nothing has to. Whether a domain is enabled is left to its administrator.
    pub fn patch(&self, found: &Domain) -> Option<DomainPatch> {
        fn change<T: Clone + PartialEq>(wanted: &Option<T>, found: &Option<T>) -> Option<Option<T>> {
            (wanted != found).then(|| wanted.clone())
        }
        let patch = DomainPatch {
            enabled: None,
            catch_all: change(&self.catch_all, &found.catch_all),
            postmaster: change(&self.postmaster, &found.postmaster),
            quota: change(&self.quota, &found.quota),
            total_quota: change(&self.total_quota, &found.total_quota),
            mta_sts: change(&self.mta_sts, &found.mta_sts),
            client_host: change(&self.client_host, &found.client_host),
            mx_hosts: change(&self.mx_hosts, &found.mx_hosts),
        };
        (patch != DomainPatch::default()).then_some(patch)
    }
}

/// Makes the domain in the service, or changes it; then its aliases.
///
/// # Errors
/// The service's.
pub async fn step(work: &mut Work, service: &Client, wanted: &Wanted) -> Result<()> {
    let name = work.domain.spec.domain.clone();
    let found = match service.domain(&name).await.optional()? {
        Some(found) => found,
        None => {
            work.context.leadership.check()?;
            fail::point("service.create")?;
            let made = service.create_domain(&wanted.new_domain(&name)).await?;
            work.tell("DomainCreated", &format!("the service takes mail for {name}")).await;
            made
        }
    };
    fail::point("service.created")?;
    let found = match wanted.patch(&found) {
        Some(patch) => {
            work.context.leadership.check()?;
            // Our own changes follow a change of the object; without one, somebody else changed the service.
            let ours = work.status.observed_generation != work.domain.metadata.generation
                || work.status.service_revision.as_ref() == Some(&found.revision);
            let changed = service.update_domain(&name, &patch, Some(&found.revision)).await?;
            if !ours && work.status.service_revision.is_some() {
                work.context.metrics.drift_corrected.with(&["MailDomain"]).inc();
                work.warn("DriftCorrected", "settings of the domain were changed in the service; they are what this object says again").await;
            }
            changed
        }
        None => found,
    };
    work.status.service_revision = Some(found.revision);
    aliases(work, service).await
}

/// Makes the aliases of the object, and removes those that were made for it and are not wanted any more.
async fn aliases(work: &mut Work, service: &Client) -> Result<()> {
    let spec = &work.domain.spec;
    let address =
        |alias: &ekitei_operator_api::Alias| format!("{}@{}", alias.local_part.to_lowercase(), spec.domain);
    let wanted: BTreeMap<String, BTreeSet<String>> =
        spec.aliases.iter().map(|alias| (address(alias), targets(alias))).collect();
    let ours: BTreeSet<String> = work.status.aliases.iter().cloned().collect();
    // What may be ours soon is known before it is made.
    let intent: BTreeSet<String> = ours.iter().chain(wanted.keys()).cloned().collect();
    if intent != ours {
        work.status.aliases = intent.iter().cloned().collect();
        work.store().await?;
        fail::point("service.aliases")?;
    }
    for (address, targets) in &wanted {
        let found = service.alias(address).await.optional()?;
        if found.is_some_and(|found| found.targets == *targets) {
            continue;
        }
        work.context.leadership.check()?;
        service.put_alias(address, &AliasTargets { targets: targets.clone() }, None).await?;
    }
    for address in ours.iter().filter(|address| !wanted.contains_key(*address)) {
        work.context.leadership.check()?;
        service.delete_alias(address).await.optional()?;
    }
    work.status.aliases = wanted.into_keys().collect();
    Ok(())
}

/// Where an alias leads, as the service writes it: domains have no capitals.
fn targets(alias: &ekitei_operator_api::Alias) -> BTreeSet<String> {
    let lower = |target: &String| match target.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => target.clone(),
    };
    alias.targets.iter().map(lower).collect()
}
