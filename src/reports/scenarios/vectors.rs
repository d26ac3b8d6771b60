//! Reports of the wild, as the sources of `mail-auth` have them, where those are at hand.

use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};

use crate::{Kind, Limits, parse};

const LIMITS: Limits = Limits { unpacked: 16 << 20, records: 1_000 };

fn vectors(folder: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    let found =
        registries.flatten().map(|registry| registry.path().join("mail-auth-0.13.3/resources").join(folder));
    found.into_iter().find(|path| path.is_dir())
}

fn all_are(folder: &str, kind: Kind) {
    let Some(folder) = vectors(folder) else { return };
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        if file.path().extension().is_some_and(|extension| extension == "eml") {
            let parsed = parse(&std::fs::read(file.path()).unwrap(), LIMITS);
            assert_eq!(parsed.head.kind, kind, "{}: {:?}", file.path().display(), parsed.head.problem);
            assert!(parsed.head.total > 0, "{}: {parsed:?}", file.path().display());
            count += 1;
        }
    }
    assert!(count > 0);
}

/// Damage anywhere is no harm: seeded, so that a failure repeats.
#[test]
fn damaged_reports_are_read_or_not_and_nothing_else() {
    let mut random = rand::rngs::StdRng::seed_from_u64(4);
    for folder in ["dmarc-feedback", "tlsrpt", "arf"] {
        let Some(folder) = vectors(folder) else { return };
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let whole = std::fs::read(file.path()).unwrap();
            for _ in 0..20 {
                let mut damaged = whole.clone();
                for _ in 0..random.random_range(1..20) {
                    let place = random.random_range(0..damaged.len());
                    damaged[place] = random.random();
                }
                damaged.truncate(random.random_range(0..=damaged.len()));
                let parsed = parse(&damaged, LIMITS);
                assert_eq!(parsed.head.kind == Kind::Unreadable, parsed.head.problem.is_some());
            }
        }
    }
}

#[test]
fn dmarc_reports_are_read() {
    all_are("dmarc-feedback", Kind::Dmarc);
}

#[test]
fn tls_reports_are_read() {
    all_are("tlsrpt", Kind::Tls);
}

#[test]
fn feedback_is_read() {
    all_are("arf", Kind::Feedback);
}
