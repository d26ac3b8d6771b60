//! Some hundred seeds of the simulation, and the proof that a seed repeats itself.
//!
//! `make simulate SEEDS=10000` runs as many as one likes; `EKITEI_SIMULATION_SEED=n make simulate` runs one and prints all that happens.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ekitei_simulation::{Encryption, Flaw, Plan, SEED_VARIABLE, Sabotage, run_plan};

/// Seeds of one run of the tests.
const SEEDS: u64 = 100;
/// Lines of the trace that a failure shows.
const SHOWN: usize = 60;

/// Runs a seed in a process of its own, as its failure is repeated.
fn simulate(seed: u64, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ekitei-simulate"));
    command.env_remove(SEED_VARIABLE).args(["--seed", &seed.to_string()]).args(arguments).output().unwrap()
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn promises_are_kept_whatever_fails() {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None));
    let work = || {
        while failed.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            let output = simulate(seed, &[]);
            if !output.status.success() {
                failed.lock().unwrap().get_or_insert(printed(&output));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    if let Some(failed) = failed.into_inner().unwrap() {
        panic!("{failed}");
    }
}

#[test]
fn a_seed_repeats_its_run_to_the_last_step() {
    let mut all = Vec::new();
    for seed in [3, 11, 1_000_003] {
        let (first, second) = (simulate(seed, &["--trace"]), simulate(seed, &["--trace"]));
        let (first, second) = (printed(&first), printed(&second));
        let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
        assert_eq!((differs, first.len()), (None, second.len()), "seed {seed}");
        assert!(first.lines().count() > 1_000, "it does something");
        all.push(first);
    }
    assert_ne!(all[0], all[1], "another seed is another run");
}

#[test]
fn nothing_is_in_doubt_where_nothing_goes_wrong() {
    let report = run_plan(5, Plan::calm(5), None);
    assert!(report.broken.is_empty(), "{}", report.explain(SHOWN));
    assert_eq!((report.figures.unknown, report.figures.deaths), (0, 0));
    assert!(report.figures.done > 100 && report.figures.taken > 0, "{:?}", report.figures);
}

#[test]
fn harm_that_is_done_behind_everybody_s_back_is_found() {
    for sabotage in Sabotage::ALL {
        let plan = Plan { encryption: Encryption::On, ..Plan::short(5) };
        let report = run_plan(5, plan, Some(sabotage));
        assert!(!report.broken.is_empty(), "nobody notices {sabotage:?}");
        assert!(report.figures.done > 50, "{sabotage:?}: {:?}", report.broken);
    }
}

#[test]
fn services_that_are_put_together_wrongly_are_found() {
    for (flaw, seeds) in Flaw::ALL {
        let found =
            (0..seeds).find(|&seed| !run_plan(seed, Plan::flawed(seed, flaw), None).broken.is_empty());
        assert!(found.is_some(), "nobody notices {flaw:?} in {seeds} seeds");
    }
}
