//! Mail servers elsewhere: slow, away, refusing, or gone after they took a message. What they took is in the ledger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_mailstore::Fence;
use ekitei_queue::{Handled, Transport, TransportFuture, dsn};
use ekitei_relay::{Failure, FailureKind, RecipientOutcome, Shipment, Status};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::wire::Wire;
use crate::world::World;

/// The domains elsewhere. `gone` never answers.
pub const DOMAINS: [&str; 4] = ["good.example", "slow.example", "odd.example", "gone.example"];
const SECOND: Duration = Duration::from_secs(1);

/// Servers elsewhere, as one process sees them.
pub struct Servers {
    world: Arc<World>,
    wire: Arc<Wire>,
    dice: Mutex<Dice>,
}

/// What a server does with one attempt.
enum Answer {
    Unreachable,
    Refuse421,
    Takes { latency: Duration, cut: bool },
}

impl Servers {
    /// What the process behind `wire` sees.
    pub fn new(world: Arc<World>, wire: Arc<Wire>) -> Arc<Self> {
        let dice = Mutex::new(world.dice(("servers", wire.name())));
        Arc::new(Self { world, wire, dice })
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, destination: &str) -> Answer {
        let mut dice = self.dice();
        let (share, latency) = (dice.share(), dice.share());
        let slowness = if destination == "slow.example" { 30.0 } else { 1.5 };
        match share {
            _ if destination == "gone.example" => Answer::Unreachable,
            0.0..0.05 => Answer::Unreachable,
            0.05..0.1 => Answer::Refuse421,
            _ => Answer::Takes { latency: SECOND.mul_f64(latency * slowness), cut: dice.chance(0.1) },
        }
    }

    async fn carry(&self, shipment: &Shipment) -> Vec<RecipientOutcome> {
        let all =
            |failure: &Failure| vec![RecipientOutcome::Deferred(failure.clone()); shipment.recipients.len()];
        self.wire.running().await;
        let text = shipment.message.concat();
        let token = token_of(&text);
        let (latency, cut) = match self.answer(&shipment.destination) {
            Answer::Unreachable => {
                sleep(SECOND).await;
                return all(&failure(FailureKind::Connection, None, Status(4, 4, 1), "connection refused"));
            }
            Answer::Refuse421 => {
                sleep(SECOND).await;
                return all(&failure(FailureKind::Host, Some(421), Status(4, 3, 2), "too busy"));
            }
            Answer::Takes { latency, cut } => (latency, cut),
        };
        sleep(latency).await;
        self.wire.running().await;
        let outcomes: Vec<RecipientOutcome> = shipment.recipients.iter().map(|_| self.outcome()).collect();
        let taken: Vec<&str> = shipment
            .recipients
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, RecipientOutcome::Sent { .. }))
            .map(|(recipient, _)| recipient.address.as_str())
            .collect();
        if !taken.is_empty() {
            if !(shipment.may_finish)() {
                return all(&failure(FailureKind::Fenced, None, Status(4, 3, 0), "not ours any more"));
            }
            self.world.taken(self.wire.name(), &token, &taken, &text).await;
            // The server has it, and its reply is on the way.
            sleep(SECOND / 10).await;
            self.wire.running().await;
            if cut {
                return all(&failure(FailureKind::Connection, None, Status(4, 4, 2), "connection lost"));
            }
        }
        outcomes
    }

    fn outcome(&self) -> RecipientOutcome {
        match self.dice().share() {
            0.0..0.15 => RecipientOutcome::Deferred(failure(
                FailureKind::Recipient,
                Some(450),
                Status(4, 2, 1),
                "try later",
            )),
            0.15..0.2 => RecipientOutcome::Failed(failure(
                FailureKind::Recipient,
                Some(550),
                Status(5, 1, 1),
                "User unknown",
            )),
            _ => RecipientOutcome::Sent {
                remote: REMOTE.to_owned(),
                reply: "250 2.0.0 Ok".to_owned(),
                notifies: false,
            },
        }
    }
}

impl Transport for Servers {
    fn send(&self, shipment: Shipment, _: Arc<dyn Fence>) -> TransportFuture<'_> {
        Box::pin(async move { self.carry(&shipment).await.into_iter().map(Handled::relayed).collect() })
    }
}

const REMOTE: &str = "mx.there.example [192.0.2.1]";

fn failure(kind: FailureKind, code: Option<u16>, status: Status, text: &str) -> Failure {
    Failure { kind, status, code, text: text.to_owned(), remote: Some(REMOTE.to_owned()) }
}

/// What a message is about: for one of ours its Message-ID, for a notification what it tells.
pub fn token_of(message: &[u8]) -> String {
    if let Some(report) = dsn::parse(message) {
        let told: Vec<String> = report
            .recipients
            .iter()
            .map(|told| {
                let action = told.action.map_or("nothing", dsn::Action::as_str);
                format!("{} {action}", told.final_recipient.as_deref().unwrap_or_default())
            })
            .collect();
        return format!("told of {}: {}", report.envelope_id.unwrap_or_default(), told.join(", "));
    }
    let text = String::from_utf8_lossy(message);
    let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: "));
    id.unwrap_or("without a name").to_owned()
}
