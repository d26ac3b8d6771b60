//! A deterministic simulation of the service: three processes over one store and one object store, all in one thread, whose clock jumps ahead
//! when nothing is left to do. A [seed](run) decides everything that is up to chance: who runs when, what fails and how, what clients do. A ledger remembers
//! what they were promised, and is compared with what is stored when everything is well again.
//!
//! `docs/design/0013-simulation.md` says why it is as it is.

mod check;
mod clients;
mod clock;
mod commits;
mod dice;
mod disk;
mod duties;
mod events;
mod flaw;
mod keys;
mod ledger;
mod near;
mod node;
mod objects;
mod plan;
mod process;
mod sabotage;
mod servers;
mod storm;
mod trace;
mod wire;
mod world;

use std::panic;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;

use clients::{Client, Holder, Operator, Sender};
use events::Events;
use ledger::CLIENTS;
use world::{NODES, World};

pub use flaw::Flaw;
pub use ledger::Figures;
pub use plan::{Encryption, Plan};
pub use sabotage::Sabotage;

/// The variable that names the seed to run alone.
pub const SEED_VARIABLE: &str = "EKITEI_SIMULATION_SEED";

/// Programs outside that share something by locks.
const HOLDERS: usize = 3;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Stands for all that happened.
    pub hash: u64,
    /// What happened, one line for each step.
    pub trace: Vec<String>,
    /// Promises that were broken; none, if all is well.
    pub broken: Vec<String>,
    /// How much was done.
    pub figures: Figures,
}

impl Report {
    /// What somebody needs who wants to know why it failed: what is broken, the end of the trace, and how to run it again.
    pub fn explain(&self, lines: usize) -> String {
        let from = self.trace.len().saturating_sub(lines);
        format!(
            "{}\n\nseed {} breaks {} promises:\n  {}\n\n{SEED_VARIABLE}={} make simulate  repeats it with its whole trace\n",
            self.trace[from..].join("\n"),
            self.seed,
            self.broken.len(),
            self.broken.join("\n  "),
            self.seed,
        )
    }
}

/// Runs a seed to its end, on a thread of its own: what chance decides on that thread follows from the seed. To repeat itself in every step it must be the
/// first run of its process, since tokio numbers its runtimes and draws from that number.
pub fn run(seed: u64) -> Report {
    run_plan(seed, Plan::of(seed), None)
}

/// [`run`] with another plan than the seed's, and harm that is done before the end.
pub fn run_plan(seed: u64, plan: Plan, sabotage: Option<Sabotage>) -> Report {
    catch_panics();
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = move || {
        ekitei_simulation_entropy::seed_thread(seed);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build();
        let report = match runtime {
            Ok(runtime) => runtime.block_on(simulate(seed, plan, sabotage)),
            Err(error) => failed(seed, error.to_string()),
        };
        // Who asked waits for it.
        let _ = sender.send(report);
    };
    let thread = thread::Builder::new().name(format!("seed {seed}")).spawn(work);
    let ended = thread.map(|thread| thread.join().is_ok());
    let mut report = receiver.recv().unwrap_or_else(|_| failed(seed, format!("it ended early: {ended:?}")));
    report.broken.extend(panics_of(seed));
    report
}

fn failed(seed: u64, why: String) -> Report {
    Report { seed, hash: 0, trace: Vec::new(), broken: vec![why], figures: Figures::default() }
}

async fn simulate(seed: u64, plan: Plan, sabotage: Option<Sabotage>) -> Report {
    let (world, deaths) = match World::begin(seed, plan).await {
        Ok(begun) => begun,
        Err(why) => return failed(seed, why),
    };
    let _events = tracing::subscriber::set_default(Events::new(world.trace.clone()));
    tokio::spawn(storm::supervise(Arc::clone(&world), deaths));
    if let Some(time) = world.plan.old_release {
        storm::old_release(&world, time).await;
    }
    (0..NODES).for_each(|place| world.start_node(place));
    let mut clients = JoinSet::new();
    for account in world.accounts() {
        for number in 0..CLIENTS {
            clients.spawn(Client::new(Arc::clone(&world), account, number).run());
        }
    }
    let mut others = JoinSet::new();
    (0..world.plan.senders).for_each(|n| _ = others.spawn(Sender::new(Arc::clone(&world), n).run()));
    (0..HOLDERS).for_each(|n| _ = others.spawn(Holder::new(Arc::clone(&world), n).run()));
    if world.plan.encryption != Encryption::Off {
        others.spawn(Operator::new(Arc::clone(&world)).run());
    }
    if world.plan.new_master_key {
        others.spawn(clients::exchange_master_key(Arc::clone(&world)));
    }
    world.set_trouble(true);
    others.spawn(storm::rage(Arc::clone(&world)));
    if world.plan.encryption == Encryption::Later {
        storm::encrypt_later(&world);
    }
    tokio::time::sleep(world.plan.length).await;
    storm::heal(&world);
    let ended = tokio::time::timeout(Duration::from_secs(300), async {
        (clients.join_all().await, others.join_all().await)
    });
    match ended.await {
        Ok((clients, _)) => {
            if let Some(sabotage) = sabotage
                && !sabotage.strike(&world).await
            {
                return failed(seed, "there is nothing to do harm to".to_owned());
            }
            check::check(&world, clients).await;
        }
        Err(_) => world.ledger().accuse("clients wait for ever"),
    }
    let (broken, figures) = {
        let mut ledger = world.ledger();
        (std::mem::take(&mut ledger.broken), ledger.figures)
    };
    Report { seed, hash: world.trace.hash(), trace: world.trace.lines(), broken, figures }
}

/// Panics by the names of their threads.
static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Notes panics of runs: a task that panics ends, and nobody else would notice.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(name) = thread::current().name().filter(|name| name.starts_with("seed ")) {
                let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
                panics.push((name.to_owned(), info.to_string()));
            }
            before(info);
        }));
    });
}

fn panics_of(seed: u64) -> Vec<String> {
    let name = format!("seed {seed}");
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.extract_if(.., |(thread, _)| *thread == name).map(|(_, what)| what).collect()
}
