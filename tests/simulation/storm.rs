//! What becomes of processes and stores while there is trouble, and how everything gets well again.

use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::MonotonicClock;
use ekitei_kv::lease::{LeaseOptions, Leases};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::flaw::Flaw;
use crate::plan::Trouble;
use crate::world::{NODES, World};

/// How long a process stands still, so that its leases end meanwhile, or do not.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(40));
/// How long a store is out of reach.
const AWAY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long nobody starts a process that died.
const GONE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(20));

/// Starts new processes for those that died, until the world ends.
pub async fn supervise(world: Arc<World>, mut deaths: mpsc::UnboundedReceiver<String>) {
    let mut dice = world.dice("supervisor");
    while let Some(name) = deaths.recv().await {
        // One without a place was replaced, or told to end.
        let Some(place) = world.place_of(&name) else { continue };
        world.ledger().figures.deaths += 1;
        if let Some(node) = world.take_process(place).and_then(|process| process.node()) {
            node.end();
        }
        let (world, time) = (Arc::clone(&world), dice.time(GONE.0, GONE.1));
        tokio::spawn(async move {
            sleep(time).await;
            world.start_node(place);
        });
    }
}

/// Lets things go wrong until the run's time is over.
pub async fn rage(world: Arc<World>) {
    let mut dice = world.dice("storm");
    while !world.is_over() {
        sleep(dice.time(Duration::from_millis(500), world.plan.quiet)).await;
        if world.is_over() {
            return;
        }
        let Some(&trouble) = dice.pick(&world.plan.troubles) else { continue };
        befall(&world, trouble, &mut dice);
    }
}

fn befall(world: &Arc<World>, trouble: Trouble, dice: &mut Dice) {
    let place = dice.below(NODES);
    let Some(node) = world.node(place) else { return };
    let (pause, away) = (dice.time(PAUSE.0, PAUSE.1), dice.time(AWAY.0, AWAY.1));
    world.trace.note("storm", format_args!("{trouble:?} {}: {pause:?}, {away:?}", node.wire.name()));
    match trouble {
        Trouble::Kill => node.end(),
        Trouble::Replace => {
            world.take_process(place);
            // A new process is there before the old one has ended.
            world.start_node(place);
            tokio::spawn(node.stop());
        }
        Trouble::Pause => {
            node.wire.pause();
            later(pause, move || node.wire.resume());
        }
        Trouble::Cut => {
            node.wire.set_cut(true);
            later(away, move || node.wire.set_cut(false));
        }
        Trouble::ObjectsAway => {
            let objects = world.objects.clone();
            objects.set_away(true);
            later(away, move || objects.set_away(false));
        }
        Trouble::SetClock => {
            let skew = world.plan.skew_millis;
            node.clock.set(dice.between(0, 2 * skew) as i64 - skew as i64);
        }
    }
}

fn later(time: Duration, what: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(time).await;
        what();
    });
}

/// Turns encryption on while the service is used.
pub fn encrypt_later(world: &Arc<World>) {
    let time = world.dice("encryption").time(Duration::from_secs(5), Duration::from_secs(50));
    let world = Arc::clone(world);
    later(time, move || world.turn_on_encryption());
}

/// Makes everything well: stores answer, and a process runs at each place.
pub fn heal(world: &Arc<World>) {
    world.trace.note("storm", format_args!("is over"));
    world.set_trouble(false);
    world.objects.set_away(false);
    (0..NODES).for_each(|place| world.start_node(place));
    for process in world.processes() {
        process.wire.set_cut(false);
        process.wire.resume();
    }
}

/// A process of the release before takes part for some time. It understands nothing new, so nothing new may be written as long as it is there.
pub async fn old_release(world: &Arc<World>, time: Duration) {
    let options = LeaseOptions {
        duration: world.live.load().queue.lease.get(),
        clock: MonotonicClock::runtime(),
        alone: false,
    };
    let leases = Leases::new(world.database.clone(), options);
    let is_seen = world.plan.flaw != Some(Flaw::OldReleaseUnseen);
    if is_seen && let Err(error) = leases.renew().await {
        return world.ledger().accuse(format!("a process of the release before cannot begin: {error}"));
    }
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let lives = async {
            if is_seen {
                leases.run().await;
            }
            std::future::pending::<()>().await
        };
        let _ = tokio::time::timeout(time, lives).await;
        if let Some(feature) = world.active_features().await.first() {
            let what = format!("{feature} is active, and a process does not understand it");
            world.ledger().accuse(what);
        }
        world.trace.note("storm", format_args!("the process of the release before ends"));
        let _ = leases.stop().await;
    });
}
