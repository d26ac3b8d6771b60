//! DKIM keys: made in the service, published, and brought through their life by [`super::keys`].

use std::time::Duration;

use ekitei_api::{
    Client, DkimActivation, DkimAlgorithm as ApiAlgorithm, DkimKey, DkimKeyPatch, DkimStage as ApiStage,
    NewDkimKeys, NewLock, PageQuery,
};
use ekitei_operator_api::{DkimAlgorithm, DkimKeyStatus};
use ekitei_operator_dns::State;
use ekitei_operator_dns::verify::forgotten_after;

use super::keys::{self, Action, ServiceKey, Visibility};
use super::records::Dns;
use super::work::Work;
use crate::error::{Optional as _, Result};
use crate::fail;
use crate::publish::Published;

/// How long the lock on making keys is taken for, in seconds.
const LOCK_SECONDS: u64 = 30;

/// All keys of a domain.
///
/// # Errors
/// The service's.
pub async fn list(service: &Client, domain: &str) -> Result<Vec<DkimKey>> {
    let mut page = PageQuery { domain: Some(domain.to_owned()), ..PageQuery::default() };
    let mut all = Vec::new();
    loop {
        let found = service.list_dkim_keys(&page).await?;
        all.extend(found.items.into_iter().filter(|key| key.domain == domain));
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// All keys of the domain, after those that are missing were made.
///
/// # Errors
/// The service's.
pub async fn prepare(work: &mut Work, service: &Client) -> Result<Vec<DkimKey>> {
    let domain = work.domain.spec.domain.clone();
    let found = list(service, &domain).await?;
    if missing(work, &found).is_empty() {
        return Ok(found);
    }
    work.context.leadership.check()?;
    fail::point("dkim.create")?;
    // Operators of other clusters must not make keys at the same time: what the holder made is seen after the lock is had.
    let lock = format!("dkim:{domain}");
    let holder = work.context.leadership.holder();
    service.put_lock(&lock, &NewLock { holder: holder.clone(), seconds: LOCK_SECONDS }).await?;
    let found = list(service, &domain).await?;
    for algorithm in missing(work, &found) {
        let wanted = match algorithm {
            DkimAlgorithm::Rsa => ApiAlgorithm::Rsa,
            DkimAlgorithm::Ed25519 => ApiAlgorithm::Ed25519,
        };
        let new = NewDkimKeys {
            domain: domain.clone(),
            algorithm: Some(wanted),
            selector: None,
            now: false,
            activation: DkimActivation::Manual,
        };
        for key in service.create_dkim_keys(&new).await?.items {
            work.tell(
                "KeyCreated",
                &format!("DKIM key {} was made; its record is published next", key.selector),
            )
            .await;
        }
        fail::point("dkim.created")?;
    }
    service.delete_lock(&lock, &holder).await?;
    list(service, &domain).await
}

fn missing(work: &Work, found: &[DkimKey]) -> Vec<DkimAlgorithm> {
    let keys: Vec<ServiceKey> = found.iter().map(service_key).collect();
    keys::missing(&work.domain.spec.dkim, &keys, &work.status.dkim_keys, work.context.clock.now())
}

fn service_key(key: &DkimKey) -> ServiceKey {
    ServiceKey {
        selector: key.selector.clone(),
        algorithm: match key.algorithm {
            ApiAlgorithm::Rsa => DkimAlgorithm::Rsa,
            ApiAlgorithm::Ed25519 => DkimAlgorithm::Ed25519,
        },
        signs: key.stage == ApiStage::Signing,
        retired: key.stage == ApiStage::Retired,
        ours: key.activation == DkimActivation::Manual,
    }
}

/// Brings the keys on by what is seen of their records. Without `published`, nobody could look.
///
/// # Errors
/// The service's.
pub async fn advance(
    work: &mut Work,
    service: &Client,
    found: &[DkimKey],
    seen: Option<(&Dns, &Published)>,
) -> Result<()> {
    let now = work.context.clock.time();
    let all: Vec<ServiceKey> = found.iter().map(service_key).collect();
    let mut before = keys::begin(&all, &work.status.dkim_keys, &now);
    let mut cache = Duration::from_secs(u64::from(work.domain.spec.dns.ttl));
    if let Some((dns, published)) = seen
        && let Ok(authorities) = &dns.place.authorities
    {
        cache = cache.max(Duration::from_secs(u64::from(authorities.negative_ttl)));
        for change in &published.written {
            let Some(at) = change.key() else { continue };
            let key = found.iter().find(|key| key.record_name == at.name.as_str());
            let Some(known) = key.and_then(|key| before.iter_mut().find(|one| one.selector == key.selector))
            else {
                continue;
            };
            let forgotten = forgotten_after(change, authorities, work.domain.spec.dns.ttl);
            known.cache_seconds = u32::try_from(forgotten.as_secs()).ok();
        }
    }
    let visibility = |selector: &str| {
        let key = found.iter().find(|key| key.selector == selector);
        key.map_or(Visibility::Unknown, |key| visibility(key, seen))
    };
    let decision = keys::decide(&work.domain.spec.dkim, &all, &before, visibility, cache, &now);
    for action in &decision.actions {
        act(work, service, action).await?;
    }
    work.status.dkim_keys = decision.keys;
    if let Some(wake) = decision.wake {
        work.wake_in(work.context.clock.until(wake));
    }
    measure(work);
    match keys::readiness(&work.domain.spec.dkim, &work.status.dkim_keys) {
        Ok(message) => work.condition("DKIMReady", true, "Signing", message),
        Err((reason, message)) => work.condition("DKIMReady", false, reason, message),
    }
    Ok(())
}

/// How the record of a key is.
fn visibility(key: &DkimKey, seen: Option<(&Dns, &Published)>) -> Visibility {
    let Some((dns, published)) = seen else { return Visibility::Unknown };
    let record = published.records.iter().find(|record| record.desired.set.name.as_str() == key.record_name);
    match record.map(|record| &record.state) {
        Some(State::Verified) => Visibility::Everywhere,
        Some(State::Published) if dns.place.authorities.is_err() => Visibility::Unknown,
        Some(State::Published) => Visibility::Published,
        _ => Visibility::Absent,
    }
}

async fn act(work: &mut Work, service: &Client, action: &Action) -> Result<()> {
    work.context.leadership.check()?;
    let domain = work.domain.spec.domain.clone();
    match action {
        Action::Activate(selector) => {
            fail::point("dkim.activate")?;
            let signing = DkimKeyPatch { stage: ApiStage::Signing };
            service.update_dkim_key(&domain, selector, &signing).await?;
            work.tell("KeyActivated", &format!("mail is signed with DKIM key {selector} now")).await;
        }
        Action::Retire(selector) => {
            fail::point("dkim.retire")?;
            let retired = DkimKeyPatch { stage: ApiStage::Retired };
            service.update_dkim_key(&domain, selector, &retired).await.optional()?;
            work.tell(
                "KeyRetired",
                &format!("DKIM key {selector} signs no more; its record stays for a while"),
            )
            .await;
        }
        Action::Remove(selector) => {
            fail::point("dkim.remove")?;
            service.delete_dkim_key(&domain, selector, true).await.optional()?;
            work.tell("KeyRemoved", &format!("DKIM key {selector} is gone; its record goes next")).await;
            work.wake_in(Duration::from_secs(1));
        }
    }
    fail::point("dkim.acted")
}

fn measure(work: &Work) {
    let (object, domain, metrics) = (work.object(), &work.domain.spec, &work.context.metrics);
    let age = |key: &DkimKeyStatus| {
        let since = key.activated.as_ref().map_or(0, |since| work.context.clock.since(since).as_secs());
        i64::try_from(since).unwrap_or(i64::MAX)
    };
    let all = || work.status.dkim_keys.iter();
    metrics
        .dkim_key_age
        .show(&object, all().map(|key| ([domain.domain.as_str(), key.selector.as_str()], age(key))));
    let due = |key: &DkimKeyStatus| Some(keys::replacement(&domain.dkim, key)?.as_second());
    metrics.dkim_rotation.show(
        &object,
        all().filter_map(|key| Some(([domain.domain.as_str(), key.selector.as_str()], due(key)?))),
    );
}
