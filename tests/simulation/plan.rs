//! What a seed makes of a run: how large it is, and how often what goes wrong. Each run has some kinds of faults and not others, so that one kind does not
//! hide what another would show.

use std::time::Duration;

use ekitei_blob::{CacheSettings, Rates};

use crate::dice::Dice;
use crate::flaw::Flaw;

/// How often commits end badly.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitRates {
    /// As if another transaction had changed what it read.
    pub conflict: f64,
    /// Applied, and nobody is told.
    pub applied: f64,
    /// Not applied, and nobody is told.
    pub not_applied: f64,
}

/// What happens between a node and its stores.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkRates {
    /// A step takes time.
    pub slow: f64,
    /// The longest that it takes.
    pub slowness: Duration,
    /// The store asks to try again.
    pub busy: f64,
    /// The node dies at that step.
    pub crash: f64,
    /// News of a watch comes late.
    pub late: f64,
    /// News of a watch does not come, only that it is gone.
    pub lost: f64,
}

/// Whether bodies are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Never.
    Off,
    /// From the beginning, or as soon as all processes understand it.
    On,
    /// It is turned on while the service is used.
    Later,
}

/// What becomes of nodes and stores from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A process is killed, and another is started some time later.
    Kill,
    /// A process is replaced in an orderly way.
    Replace,
    /// A process stands still for some time, as if stopped by SIGSTOP.
    Pause,
    /// A node cannot reach the stores for some time.
    Cut,
    /// No node can reach the object store for some time.
    ObjectsAway,
    /// Somebody sets the clock of a node.
    SetClock,
}

/// All of them.
const TROUBLES: [Trouble; 6] =
    [Trouble::Kill, Trouble::Replace, Trouble::Pause, Trouble::Cut, Trouble::ObjectsAway, Trouble::SetClock];

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long clients work and things go wrong.
    pub length: Duration,
    /// Accounts.
    pub accounts: u64,
    /// Tasks that deliver and submit messages.
    pub senders: usize,
    /// The longest that a client or sender waits between two things.
    pub leisure: Duration,
    /// How commits end.
    pub commits: CommitRates,
    /// What happens to steps.
    pub link: LinkRates,
    /// What happens to calls of the object store.
    pub objects: Rates,
    /// What becomes of nodes and stores; often something twice.
    pub troubles: Vec<Trouble>,
    /// The longest time between two troubles.
    pub quiet: Duration,
    /// How far clocks are off at most, in milliseconds.
    pub skew_millis: u64,
    /// How much faster or slower than others a clock runs at most.
    pub drift: f64,
    /// Clients go away without waiting for an answer.
    pub hang_up: f64,
    /// Whether bodies are encrypted.
    pub encryption: Encryption,
    /// The master key is replaced while the service is used.
    pub new_master_key: bool,
    /// Whether bodies are compressed.
    pub compresses: bool,
    /// How long there is a process of a release that understands nothing new.
    pub old_release: Option<Duration>,
    /// What processes keep of objects that they read, if they do.
    pub cache: Option<CacheSettings>,
    /// A deliberate bug.
    pub flaw: Option<Flaw>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, "plan");
        let rate = |dice: &mut Dice, most: f64| if dice.chance(0.3) { 0.0 } else { dice.share() * most };
        let commits =
            CommitRates { conflict: rate(dice, 0.1), applied: rate(dice, 0.1), not_applied: rate(dice, 0.1) };
        let link = LinkRates {
            slow: rate(dice, 1.0),
            slowness: *dice.pick(&[5, 20, 100, 1_500].map(Duration::from_millis)).unwrap_or(&Duration::ZERO),
            busy: rate(dice, 0.03),
            crash: rate(dice, 0.0013),
            late: rate(dice, 0.3),
            lost: rate(dice, 0.1),
        };
        let troubles: Vec<Trouble> = TROUBLES.into_iter().filter(|_| dice.chance(0.6)).collect();
        Self {
            length: dice.time(Duration::from_secs(60), Duration::from_secs(160)),
            accounts: dice.between(1, 3),
            senders: dice.below(2) + 1,
            leisure: dice.time(Duration::from_millis(300), Duration::from_secs(4)),
            commits,
            link,
            objects: Self::objects(dice),
            troubles,
            quiet: dice.time(Duration::from_secs(5), Duration::from_secs(40)),
            skew_millis: if dice.chance(0.3) { 0 } else { dice.between(1, 30_000) },
            drift: rate(dice, 0.05),
            hang_up: rate(dice, 0.03),
            encryption: *dice
                .pick(&[Encryption::Off, Encryption::On, Encryption::On, Encryption::Later])
                .unwrap_or(&Encryption::On),
            new_master_key: dice.chance(0.4),
            compresses: dice.chance(0.5),
            old_release: dice.chance(0.3).then(|| dice.time(Duration::from_secs(5), Duration::from_secs(50))),
            cache: Self::cache(dice),
            flaw: None,
        }
    }

    fn cache(dice: &mut Dice) -> Option<CacheSettings> {
        let page_size = *dice.pick(&[256, 512, 1_024])?;
        let memory = *dice.pick(&[0, 3_000, 20_000])?;
        let (longest_run, read_ahead) = (dice.between(2, 6), dice.between(0, 3));
        let settings = CacheSettings { page_size, longest_run, read_ahead, memory, disk: None };
        dice.chance(0.8).then_some(settings)
    }

    fn objects(dice: &mut Dice) -> Rates {
        if dice.chance(0.3) {
            return Rates::NONE;
        }
        let mut rate = |most: f64| if dice.chance(0.4) { 0.0 } else { dice.share() * most };
        Rates {
            before: rate(0.15),
            after: rate(0.1),
            slow: rate(0.5),
            slowness: Duration::from_secs(3),
            invisible: rate(0.1),
            cut: rate(0.05),
            flip: rate(0.05),
            ..Rates::NONE
        }
    }

    /// A run in which nothing goes wrong.
    pub fn calm(seed: u64) -> Self {
        Self {
            commits: CommitRates::default(),
            link: LinkRates { slow: 0.5, slowness: Duration::from_millis(20), ..LinkRates::default() },
            objects: Rates::NONE,
            troubles: Vec::new(),
            skew_millis: 0,
            drift: 0.0,
            hang_up: 0.0,
            new_master_key: false,
            ..Self::of(seed)
        }
    }

    /// A short run for harm that is done at its end.
    pub fn short(seed: u64) -> Self {
        let (length, leisure) = (Duration::from_secs(30), Duration::from_millis(500));
        Self { length, leisure, old_release: None, ..Self::calm(seed) }
    }

    /// A run with a deliberate bug, and with what brings it out.
    pub fn flawed(seed: u64, flaw: Flaw) -> Self {
        let second = Duration::from_secs(1);
        let calm = Self {
            flaw: Some(flaw),
            length: 40 * second,
            leisure: second,
            encryption: Encryption::On,
            compresses: false,
            new_master_key: false,
            old_release: None,
            ..Self::calm(seed)
        };
        let slow = LinkRates { slow: 1.0, slowness: 2 * second, ..LinkRates::default() };
        match flaw {
            Flaw::OldReleaseUnseen => Self { old_release: Some(30 * second), ..calm },
            Flaw::WorkWithoutCheck => Self {
                length: 100 * second,
                troubles: vec![Trouble::Pause],
                quiet: 5 * second,
                link: slow,
                ..calm
            },
            Flaw::NobodyDies => Self { troubles: vec![Trouble::Kill], quiet: 10 * second, ..calm },
            Flaw::KeysUnconfirmed => Self { length: 60 * second, link: slow, ..calm },
            Flaw::NoRewrap => Self { length: 100 * second, new_master_key: true, ..calm },
            Flaw::TwoCaches | Flaw::SpoiledIsKept => {
                let cache = CacheSettings {
                    page_size: 512,
                    longest_run: 6,
                    read_ahead: 2,
                    memory: 20_000,
                    disk: None,
                };
                let spoils = flaw == Flaw::SpoiledIsKept;
                let objects = Rates {
                    slow: 1.0,
                    slowness: second,
                    flip: if spoils { 0.3 } else { 0.0 },
                    ..Rates::NONE
                };
                Self { cache: Some(cache), objects, length: 80 * second, ..calm }
            }
            Flaw::WrongTimeForLocks | Flaw::PlainBodies | Flaw::DestroyUnasked | Flaw::NobodyScrubs => calm,
        }
    }
}
