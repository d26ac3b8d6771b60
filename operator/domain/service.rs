//! The domain in the mail service: that it is there, and has the settings that the object says.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_api::{
    Alias, AliasTargets, Client, ClientError, Domain, DomainPatch, MtaSts, MtaStsMode, NewAlias, NewDomain,
    ProblemCode,
};
use ekitei_operator_api::{MailDomain, MtaStsMode as Mode};

use super::work::Work;
use crate::account::{claim, quantity};
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
        fn change_address(wanted: &Option<String>, found: &Option<String>) -> Option<Option<String>> {
            let compared = |address: &Option<String>| address.as_deref().map(compared);
            (compared(wanted) != compared(found)).then(|| wanted.clone())
        }
        let patch = DomainPatch {
            enabled: None,
            catch_all: change_address(&self.catch_all, &found.catch_all),
            postmaster: change_address(&self.postmaster, &found.postmaster),
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
            let made = match service.create_domain(&wanted.new_domain(&name)).await {
                Ok(made) => made,
                Err(error) => {
                    // What was not made is claimed no more: whoever makes it has it.
                    if matches!(&error, ClientError::Problem(problem) if problem.code != ProblemCode::Unavailable)
                    {
                        work.status.claimed_in = None;
                    }
                    return Err(error.into());
                }
            };
            work.tell("DomainCreated", &format!("the service takes mail for {name}")).await;
            made
        }
    };
    fail::point("service.created")?;
    match wanted.patch(&found) {
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
            work.revised(changed.revision);
        }
        None => work.status.service_revision = Some(found.revision),
    }
    aliases(work, service).await
}

/// Makes the aliases of the object, and removes those that were made for it and are not wanted any more. Those of others are left alone.
async fn aliases(work: &mut Work, service: &Client) -> Result<()> {
    let spec = &work.domain.spec;
    let address =
        |alias: &ekitei_operator_api::Alias| format!("{}@{}", alias.local_part.to_lowercase(), spec.domain);
    let mut wanted: BTreeMap<String, BTreeSet<String>> =
        spec.aliases.iter().map(|alias| (address(alias), targets(alias))).collect();
    let ours: BTreeSet<String> = work.status.aliases.iter().cloned().collect();
    let mut unwanted = ours.clone();
    let mut writes = Vec::new();
    let mut taken = Vec::new();
    for (address, targets) in &wanted {
        unwanted.remove(address);
        let found = service.alias(address).await.optional()?;
        match standing(targets, found.as_ref(), ours.contains(address)) {
            Standing::Settled => {}
            Standing::Taken => taken.push(address.clone()),
            Standing::ToWrite => writes.push((address.clone(), targets.clone(), found)),
        }
    }
    wanted.retain(|address, _| !taken.contains(address));
    // What may be ours soon is known before it is made.
    let intent: BTreeSet<String> = ours.iter().chain(wanted.keys()).cloned().collect();
    if intent != ours {
        work.status.aliases = intent.iter().cloned().collect();
        work.store().await?;
        fail::point("service.aliases")?;
    }
    for (address, targets, found) in writes {
        work.context.leadership.check()?;
        if !write(service, &address, targets, found).await? {
            wanted.remove(&address);
            taken.push(address);
        }
    }
    for address in unwanted {
        work.context.leadership.check()?;
        service.delete_alias(&address).await.optional()?;
    }
    work.status.aliases = wanted.into_keys().collect();
    if !taken.is_empty() {
        let note =
            format!("somebody else has these addresses already; they are left alone: {}", taken.join(", "));
        work.warn("AliasTaken", &note).await;
    }
    Ok(())
}

/// What is to be done about an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is as it should be.
    Settled,
    /// It is to be made or changed.
    ToWrite,
    /// Somebody else made it, for something else.
    Taken,
}

fn standing(targets: &BTreeSet<String>, found: Option<&Alias>, is_ours: bool) -> Standing {
    let all = |targets: &BTreeSet<String>| -> BTreeSet<String> {
        targets.iter().map(|target| compared(target)).collect()
    };
    match found {
        None => Standing::ToWrite,
        Some(found) if all(&found.targets) == all(targets) => Standing::Settled,
        Some(_) if is_ours => Standing::ToWrite,
        Some(_) => Standing::Taken,
    }
}

/// Makes an alias, or changes the one that was found. `false` if somebody has the address now.
async fn write(
    service: &Client,
    address: &str,
    targets: BTreeSet<String>,
    found: Option<Alias>,
) -> Result<bool> {
    let written = match found {
        Some(found) => service.put_alias(address, &AliasTargets { targets }, Some(&found.revision)).await,
        None => service.create_alias(&NewAlias { address: address.to_owned(), targets }).await,
    };
    match written {
        Ok(_) => Ok(true),
        Err(ClientError::Problem(problem)) if problem.code == ProblemCode::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Where an alias leads, as the service writes it: domains have no capitals.
fn targets(alias: &ekitei_operator_api::Alias) -> BTreeSet<String> {
    let lower = |target: &String| match target.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => target.clone(),
    };
    alias.targets.iter().map(lower).collect()
}

/// An address in the form in which two are compared that may be written differently: here as a person wrote it, there as the service shows it (U-labels, quotes only
/// where they are needed).
fn compared(address: &str) -> String {
    let quoted = |local: &str| Some(local.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let Some((content, domain)) =
        address.rsplit_once('@').and_then(|(local, domain)| Some((quoted(local)?, domain)))
    else {
        return claim::canonical(address);
    };
    let mut unquoted = String::new();
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        unquoted.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    claim::canonical(&format!("{unquoted}@{domain}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::testing::domain;

    /// The domain as the service shows it.
    fn shown(catch_all: &str) -> Domain {
        serde_json::from_value(json!({
            "name": "example.org", "unicode_name": "example.org", "enabled": true, "catch_all": catch_all,
            "postmaster": null, "quota": null, "total_quota": null, "mta_sts": null, "client_host": null,
            "mx_hosts": null, "created": 1, "revision": "r",
        }))
        .unwrap()
    }

    fn patch(wanted: &str, found: &str) -> Option<DomainPatch> {
        let mut domain = domain("example.org");
        domain.spec.catch_all = Some(wanted.to_owned());
        domain.spec.mta_sts.enabled = false;
        Wanted::new(&domain, Vec::new(), None).unwrap().patch(&shown(found))
    }

    #[test]
    fn the_same_address_in_another_spelling_is_no_change() {
        for (wanted, found) in [
            ("Ops@Example.ORG", "Ops@example.org"),
            ("ops@example.org", "Ops@example.org"),
            ("ops@xn--bcher-kva.example", "ops@b\u{fc}cher.example"),
            ("ops@B\u{fc}cher.example", "ops@b\u{fc}cher.example"),
            ("Jose\u{301}@example.org", "Jos\u{e9}@example.org"),
            (r#""o\ps"@example.org"#, "ops@example.org"),
        ] {
            assert_eq!(patch(wanted, found), None, "{wanted} {found}");
        }
        let change = patch("Ops@Example.ORG", "root@example.org").unwrap();
        assert_eq!(change.catch_all, Some(Some("Ops@Example.ORG".to_owned())), "as it was written");
    }

    #[test]
    fn an_alias_of_others_is_left_alone_unless_it_is_the_same() {
        let to = |targets: &[&str]| -> BTreeSet<String> {
            targets.iter().map(|&target| target.to_owned()).collect()
        };
        let theirs = Alias {
            address: "sales@example.org".to_owned(),
            targets: to(&["Alice@example.com"]),
            created: 1,
            revision: "r".to_owned(),
        };
        let wanted = to(&["bob@example.com"]);
        assert_eq!(standing(&wanted, None, false), Standing::ToWrite);
        assert_eq!(standing(&wanted, Some(&theirs), false), Standing::Taken);
        assert_eq!(standing(&wanted, Some(&theirs), true), Standing::ToWrite, "it was ours, and was changed");
        assert_eq!(standing(&to(&["alice@EXAMPLE.com"]), Some(&theirs), false), Standing::Settled);
    }
}
