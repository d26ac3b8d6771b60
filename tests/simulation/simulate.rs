//! Runs seeds of the simulation: `ekitei-simulate [--from n] [seeds]` runs many, each in a process of its own, and ends with the first that fails: why,
//! the end of its trace, and how to repeat it. `ekitei-simulate --seed n [--trace] [--flaw name]` runs one, and can print all that happened; with a deliberate bug, if
//! one is named.

use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use ekitei_simulation::{Flaw, Plan, SEED_VARIABLE, run, run_plan};

/// Seeds, if nobody says how many.
const SEEDS: u64 = 1_000;
/// Lines of the trace that a failure shows.
const SHOWN: usize = 100;
/// After so many seeds something is said.
const PROGRESS: u64 = 100;

/// What is asked for.
#[derive(Default)]
struct Arguments {
    seed: Option<u64>,
    trace: bool,
    /// All that fail are told of, in one line for each broken promise.
    survey: bool,
    from: u64,
    seeds: Option<u64>,
    /// A deliberate bug.
    flaw: Option<Flaw>,
}

impl Arguments {
    fn read() -> Option<Self> {
        let mut read = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seed" => read.seed = Some(arguments.next()?.parse().ok()?),
                "--from" => read.from = arguments.next()?.parse().ok()?,
                "--trace" => read.trace = true,
                "--flaw" => {
                    let name = arguments.next()?;
                    read.flaw =
                        Flaw::ALL.into_iter().map(|(flaw, _)| flaw).find(|flaw| format!("{flaw:?}") == name);
                    read.flaw?;
                }
                "--survey" => read.survey = true,
                seeds => read.seeds = Some(seeds.parse().ok()?),
            }
        }
        if let Ok(seed) = std::env::var(SEED_VARIABLE)
            && read.seed.is_none()
        {
            read = Self { seed: Some(seed.parse().ok()?), trace: true, ..read };
        }
        Some(read)
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::read() else {
        eprintln!("usage: ekitei-simulate [--from n] [--survey] [seeds] | --seed n [--trace] [--flaw name]");
        return ExitCode::from(2);
    };
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

/// Runs one seed in this process.
fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let report = match arguments.flaw {
        Some(flaw) => run_plan(seed, Plan::flawed(seed, flaw), None),
        None => run(seed),
    };
    if arguments.trace {
        println!("{}", report.trace.join("\n"));
    }
    println!("seed {seed}: {} steps, hash {:016x}, {:?}", report.trace.len(), report.hash, report.figures);
    if report.broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    if arguments.survey {
        report.broken.iter().for_each(|broken| println!("{seed} BREAKS {broken}"));
    } else {
        println!("{}", report.explain(if arguments.trace { 0 } else { SHOWN }));
    }
    ExitCode::FAILURE
}

/// Runs a seed in a process of its own.
fn apart(seed: u64, survey: bool) -> std::io::Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env_remove(SEED_VARIABLE).args(["--seed", &seed.to_string()]);
    command.args(survey.then_some("--survey")).output()
}

fn many(arguments: &Arguments) -> ExitCode {
    let seeds = arguments.seeds.unwrap_or(SEEDS);
    let (next, failed, began) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    let turn = Mutex::new(());
    let work = || {
        while arguments.survey || !failed.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= seeds {
                return;
            }
            let ended = apart(arguments.from + n, arguments.survey);
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(output) if output.status.success() => {}
                Ok(output) => {
                    failed.store(true, Ordering::Relaxed);
                    print!("{}", String::from_utf8_lossy(&output.stdout));
                    eprint!("{}", String::from_utf8_lossy(&output.stderr));
                }
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    eprintln!("a seed cannot be run: {error}");
                }
            }
            if (n + 1).is_multiple_of(PROGRESS) {
                println!("{} seeds in {} s", n + 1, began.elapsed().as_secs());
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
