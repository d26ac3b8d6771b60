//! Reports of the wild, as the sources of `mail-auth` have them, where those are at hand.

use std::path::{Path, PathBuf};

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
