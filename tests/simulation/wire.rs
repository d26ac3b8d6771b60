//! What lies between one process and everything else: each step to a store passes it, and may be slow, fail, or be the last one.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_kv::{Error, Link, LinkFuture};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::plan::LinkRates;
use crate::trace::Trace;

/// Somebody who is cut off learns it by waiting.
const CUT_OFF: Duration = Duration::from_millis(100);

/// News of a watch is not later than that.
const LATEST: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    StandsStill,
    /// Nothing of it goes on, for ever.
    Dead,
}

/// The wire of one process.
pub struct Wire {
    name: String,
    state: watch::Sender<State>,
    is_cut: AtomicBool,
    /// Things go wrong in the run.
    trouble: Arc<AtomicBool>,
    rates: LinkRates,
    dice: Mutex<Dice>,
    trace: Trace,
    /// Hears of a death.
    deaths: mpsc::UnboundedSender<String>,
}

/// What goes wrong with one step.
#[derive(Default)]
struct Fate {
    dies: bool,
    busy: bool,
    delay: Option<Duration>,
}

impl Wire {
    /// The wire of a process that is called `name` and has just been started.
    pub fn new(
        name: String,
        rates: LinkRates,
        dice: Dice,
        trouble: Arc<AtomicBool>,
        trace: Trace,
        deaths: mpsc::UnboundedSender<String>,
    ) -> Arc<Self> {
        let (state, dice) = (watch::Sender::new(State::Runs), Mutex::new(dice));
        Arc::new(Self { name, state, is_cut: AtomicBool::new(false), trouble, rates, dice, trace, deaths })
    }

    /// The process's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process dies: what it is doing ends between two steps.
    pub fn die(&self) {
        if self.state.send_replace(State::Dead) != State::Dead {
            self.trace.note(&self.name, format_args!("dies"));
            // Nobody listens any more when the run is over.
            let _ = self.deaths.send(self.name.clone());
        }
    }

    /// Whether it died.
    pub fn is_dead(&self) -> bool {
        *self.state.borrow() == State::Dead
    }

    /// Completes when it dies.
    pub async fn died(&self) {
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Dead).await;
    }

    /// From now on nothing of it goes on, until [`Wire::resume`].
    pub fn pause(&self) {
        self.change(State::Runs, State::StandsStill);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.change(State::StandsStill, State::Runs);
    }

    fn change(&self, from: State, to: State) {
        self.state.send_if_modified(|state| {
            let is_from = *state == from;
            if is_from {
                *state = to;
            }
            is_from
        });
    }

    /// The stores are out of reach, or not.
    pub fn set_cut(&self, cut: bool) {
        self.is_cut.store(cut, Ordering::SeqCst);
    }

    /// Whether the stores are out of reach.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    /// Waits while the process stands still; for ever, if it is dead.
    pub async fn running(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state == State::Runs).await;
    }

    /// One step to a store or back, which `what` names.
    ///
    /// # Errors
    /// The store is busy, or cannot be reached.
    pub async fn step(&self, what: &str) -> Result<(), Error> {
        self.running().await;
        let fate = self.fate();
        self.trace.note(&self.name, format_args!("{what}"));
        if fate.dies {
            self.die();
            pending::<()>().await;
        }
        match fate.delay {
            Some(delay) => sleep(delay).await,
            None => tokio::task::yield_now().await,
        }
        self.running().await;
        if self.is_cut() {
            sleep(CUT_OFF).await;
            return Err(Error::Unavailable("cut off".into()));
        }
        if fate.busy {
            return Err(Error::Busy("the simulated store"));
        }
        Ok(())
    }

    /// How late the news of a watch comes, and whether all that is known is that nobody knows.
    fn news(&self) -> (Duration, bool) {
        if !self.trouble.load(Ordering::SeqCst) {
            return (Duration::ZERO, false);
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let (late, lost) = (dice.chance(self.rates.late), dice.chance(self.rates.lost));
        let time = dice.time(Duration::ZERO, LATEST);
        (if late { time } else { Duration::ZERO }, lost)
    }

    fn fate(&self) -> Fate {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = dice.chance(self.rates.slow);
        let delay = slow.then(|| dice.time(Duration::ZERO, self.rates.slowness));
        if !self.trouble.load(Ordering::SeqCst) {
            return Fate {
                delay: delay.map(|delay| delay.min(Duration::from_millis(20))),
                ..Fate::default()
            };
        }
        Fate { dies: dice.chance(self.rates.crash), busy: dice.chance(self.rates.busy), delay }
    }
}

impl Link for Wire {
    fn pass(&self) -> LinkFuture<'_> {
        Box::pin(self.step("kv"))
    }

    fn wake(&self) -> LinkFuture<'_> {
        Box::pin(async move {
            let (late, lost) = self.news();
            sleep(late).await;
            if lost {
                self.trace.note(&self.name, format_args!("a watch is lost"));
                return Err(Error::Unavailable("the watch is lost".into()));
            }
            self.step("wake").await
        })
    }
}
