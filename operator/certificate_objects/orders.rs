//! ACME orders, which take minutes: each runs beside the rounds of its object, and one of them takes what it came to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ekitei_operator_certificates::acme::{AcmeError, Challenges, OrderRequest};
use ekitei_operator_certificates::{Certificate, HostName, Key, KeyId};
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use super::challenges::{DnsChallenges, Remember};
use super::kept::{Kept, note_challenges};
use super::source::Authority;
use super::{Wanted, accounts};
use crate::context::Context;
use crate::error::{Error, Result};

/// How long a round waits for an order before it leaves it to run beside.
const WAIT: Duration = Duration::from_secs(20);

/// The reason of all that waits until the DNS can be written or looked at again.
pub const DNS_AWAY: &str = "DNSUnavailable";

/// What an order came to.
pub type Ended = std::result::Result<Box<Certificate>, Failed>;

/// Why an order failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// In one word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When to try again at the soonest.
    pub after: Option<Duration>,
    /// Whether somebody has to change something first.
    pub needs_a_person: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
            after: error.after(),
            needs_a_person: error.needs_a_person(),
        }
    }
}

/// An order that runs, or has ended.
#[derive(Clone, Debug)]
struct Running {
    key: KeyId,
    of: String,
    task: Arc<JoinHandle<()>>,
    ended: Arc<OnceLock<Ended>>,
}

/// The orders of this process, by the Secret that they are for.
#[derive(Debug, Default)]
pub struct Orders(Mutex<HashMap<(String, String), Running>>);

/// How the order of a certificate is.
#[derive(Clone, Debug)]
pub enum Look {
    /// There is none.
    None,
    /// It runs.
    Running,
    /// It has ended. It is found so until it was [taken](Orders::forget): what it came to must be kept first.
    Ended {
        /// The key that it was for.
        key: KeyId,
        /// What was ordered.
        of: String,
        /// What it came to.
        result: Ended,
    },
}

impl Orders {
    /// Looks at the order of a certificate.
    pub fn look(&self, wanted: &Wanted<'_>) -> Look {
        let orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { key, of, task, ended }) = orders.get(&id(wanted)).cloned() else {
            return Look::None;
        };
        let result = match ended.get() {
            Some(result) => result.clone(),
            None if task.is_finished() => {
                Err(Failed::from(Error::outside("OrderAborted", "the order did not come to an end")))
            }
            None => return Look::Running,
        };
        Look::Ended { key, of, result }
    }

    /// Forgets an order that has ended.
    pub fn forget(&self, wanted: &Wanted<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id(wanted));
    }

    fn start(&self, wanted: &Wanted<'_>, running: Running) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id(wanted), running);
    }

    /// Waits a little for the order of a certificate; whether it has ended.
    async fn wait(&self, wanted: &Wanted<'_>) -> bool {
        let finished = async {
            while matches!(self.look(wanted), Look::Running) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(WAIT, finished).await.is_ok()
    }
}

fn id(wanted: &Wanted<'_>) -> (String, String) {
    (wanted.namespace.clone(), wanted.name.clone())
}

/// What is ordered, as text: another order is not held up by the failure of this one.
pub fn description(hosts: &[HostName], authority: &Authority) -> String {
    let mut names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    names.sort_unstable();
    format!(
        "{} {} {}",
        authority.server.directory,
        authority.profile.as_deref().unwrap_or("-"),
        names.join(",")
    )
}

/// Places an order for a certificate of a key that is kept, and waits a little. Returns whether it has ended; [`Orders::look`] says how.
///
/// # Errors
/// `DNSMissing` without a provider, `DNSUnavailable` while it cannot be used; those of the account.
pub async fn place(
    context: &Context,
    wanted: &Wanted<'_>,
    authority: &Authority,
    kept: &Kept,
    key: KeyId,
) -> Result<bool> {
    let open = wanted.dns.ok_or_else(|| match wanted.dns_trouble {
        Some(why) => Error::outside(
            DNS_AWAY,
            format!("the certificate cannot be ordered while there can be no challenge in the DNS: {why}"),
        ),
        None => Error::invalid(
            "DNSMissing",
            "a certificate by ACME needs a DNSProvider that writes the records of challenges",
        ),
    })?;
    let own =
        kept.keys.get(&key).ok_or_else(|| Error::outside("KeyMissing", "the private key is not there"))?;
    // Keys are not cloned; this is read again.
    let own = Key::from_pem(own.pem()).map_err(|error| Error::invalid("SecretInvalid", error))?;
    let account = accounts::open(context, authority).await?;
    let request = OrderRequest {
        names: wanted.hosts.clone(),
        profile: authority.profile.clone(),
        replaces: kept.state.rollover.current().and_then(|current| kept.certificates.get(&current)).cloned(),
    };
    let challenges = DnsChallenges::new(open, context.leadership.clone(), remember(context, wanted));
    let ended = Arc::new(OnceLock::new());
    let slot = Arc::clone(&ended);
    let task = tokio::spawn(async move {
        let result = account.issue(&request, &own, challenges).await.map(Box::new).map_err(failed);
        slot.get_or_init(|| result);
    });
    let of = description(&wanted.hosts, authority);
    context.certificates.orders.start(wanted, Running { key, of, task: Arc::new(task), ended });
    Ok(context.certificates.orders.wait(wanted).await)
}

/// Removes the records of challenges that a process left which died.
///
/// # Errors
/// `ChallengeNotRemoved`.
pub async fn clean_up(context: &Context, wanted: &Wanted<'_>, kept: &Kept) -> Result<()> {
    let Some(open) = wanted.dns.filter(|_| !kept.challenges.is_empty()) else { return Ok(()) };
    let challenges = DnsChallenges::new(open, context.leadership.clone(), remember(context, wanted));
    challenges.take_over(kept.challenges.clone());
    for record in &kept.challenges {
        let cleaned = challenges.clean_up(record).await;
        cleaned.map_err(|error| Error::outside("ChallengeNotRemoved", error))?;
    }
    Ok(())
}

/// Notes challenges beside the keys.
fn remember(context: &Context, wanted: &Wanted<'_>) -> Remember {
    let (client, namespace, name) = (context.client.clone(), wanted.namespace.clone(), wanted.name.clone());
    Arc::new(move |records| {
        let (client, namespace, name) = (client.clone(), namespace.clone(), name.clone());
        async move { note_challenges(&client, &namespace, &name, &records).await }.boxed()
    })
}

fn failed(error: AcmeError) -> Failed {
    Failed::from(accounts::acme(error))
}
