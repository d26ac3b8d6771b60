//! The arrows between the parts, read from what is written: manifests and `use` lines.
//!
//! `smtp, imap, pop3, http -> queue, filter -> mailstore, directory -> kv, blob`; protocol codecs know nothing of
//! storage, storage knows nothing of sockets.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folder of `src/` -> the folders it may depend on, apart from `LEAVES`.
const ARROWS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("telemetry", &[]),
    // The one place that starts the network thread of FoundationDB's library.
    ("kv-network", &[]),
    ("kv", &["kv-network"]),
    ("net", &[]),
    ("dns", &[]),
    ("blob", &["kv"]),
    ("cluster", &["kv"]),
    ("keyring", &["kv", "blob"]),
    ("certificates", &["kv", "keyring", "net"]),
    ("directory", &["kv"]),
    ("mailstore", &["kv", "blob", "directory"]),
    ("relay", &["net", "dns"]),
    ("signing", &["kv", "keyring", "directory", "dns"]),
    ("doctor", &["dns", "relay", "signing"]),
    ("filter", &["kv", "directory", "dns", "net"]),
    ("queue", &["relay", "mailstore", "directory", "kv", "blob"]),
    ("reports", &["queue", "relay", "filter", "signing", "mailstore", "directory", "dns", "kv", "blob"]),
    ("backup", &["queue", "signing", "mailstore", "directory", "kv", "blob"]),
    ("smtp", SERVER),
    ("imap", SERVER),
    ("pop3", SERVER),
    (
        "http",
        &[
            "api",
            "backup",
            "certificates",
            "cluster",
            "net",
            "mailstore",
            "directory",
            "filter",
            "queue",
            "signing",
            "keyring",
            "doctor",
            "reports",
            "relay",
            "dns",
            "kv",
            "blob",
        ],
    ),
];
/// What a server of a protocol may use. No server knows another.
const SERVER: &[&str] =
    &["net", "mailstore", "directory", "filter", "queue", "relay", "signing", "reports", "kv", "blob"];
/// What everything may use, and what uses nothing of ours.
const LEAVES: &[&str] = &["config", "telemetry"];

const CODECS: &[&str] = &["src/imap/proto", "src/smtp/proto", "src/pop3/proto", "src/relay/proto"];
const STORAGE: &[&str] = &["src/kv", "src/blob", "src/directory", "src/mailstore"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folders of `src/` that are crates.
fn crates() -> Vec<String> {
    let folders = fs::read_dir(root().join("src")).unwrap().map(|entry| entry.unwrap().path());
    let crates = folders.filter(|path| path.join("Cargo.toml").is_file());
    crates.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The crates of ours in the `[dependencies]` of a manifest. What only tests use is not part of the design.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("src").join(folder).join("Cargo.toml")).unwrap();
    let sections = manifest.split("\n[").filter(|section| section.starts_with("dependencies]"));
    let names = sections.flat_map(str::lines).filter_map(|line| line.strip_prefix("ekitei-"));
    names.map(|rest| rest[..rest.find(['.', ' ', '=']).unwrap()].to_owned()).collect()
}

/// Every Rust file below `dir`; none if there is no such folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file: no comments, nothing from the first `#[cfg(test)]` on.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

/// The lines below `folders` that `forbidden` points out, as `file: line`.
fn offences(folders: &[&str], forbidden: impl Fn(&str) -> bool) -> Vec<String> {
    let files = folders.iter().flat_map(|folder| sources(&root().join(folder)));
    // Files of tests alone: `tests.rs`, `tests/`.
    let files = files
        .filter(|path| !path.components().any(|part| part.as_os_str().to_string_lossy().contains("test")));
    files
        .flat_map(|path| {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            code(&path)
                .into_iter()
                .filter(|line| forbidden(line))
                .map(move |line| format!("{shown}: {}", line.trim()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for folder in crates() {
        let allowed =
            arrows.get(folder.as_str()).unwrap_or_else(|| panic!("src/{folder} has no place in ARROWS"));
        for dependency in dependencies(&folder) {
            let leaf = LEAVES.contains(&dependency.as_str()) && !LEAVES.contains(&folder.as_str());
            assert!(
                leaf || allowed.contains(&dependency.as_str()),
                "src/{folder} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn the_arrows_make_no_circle() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut placed: BTreeSet<&str> = BTreeSet::from(["api"]);
    while placed.len() <= ARROWS.len() {
        let next = arrows.iter().find(|(folder, uses)| {
            !placed.contains(*folder) && uses.iter().all(|used| placed.contains(used))
        });
        let Some((folder, _)) = next else { panic!("a circle among {arrows:?}, above {placed:?}") };
        placed.insert(folder);
    }
}

#[test]
fn codecs_know_nothing_of_storage_or_sockets() {
    let outside = offences(CODECS, |line| {
        let ours = line.contains("ekitei_");
        let sibling = line.contains("crate::") && !line.contains("crate::proto");
        ours || sibling || line.contains("tokio::net") || line.contains("std::net::Tcp")
    });
    assert!(
        outside.is_empty(),
        "a codec turns bytes into values and back, nothing else:\n{}",
        outside.join("\n")
    );
}

#[test]
fn storage_knows_nothing_of_sockets() {
    let sockets =
        ["ekitei_net", "tokio::net", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "rustls", "axum"];
    let mut found = offences(STORAGE, |line| sockets.iter().any(|socket| line.contains(socket)));
    // The one store that is over a network.
    found.retain(|offence| !offence.starts_with("src/blob/s3/"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let files = ["src", "api", "tests"].map(|folder| sources(&root().join(folder))).concat();
    let silent = files.iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"));
    let silent: Vec<String> = silent.map(|path| path.display().to_string()).collect();
    assert!(silent.is_empty(), "no `//!` on the first line of\n{}", silent.join("\n"));
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    for folder in crates() {
        let manifest = fs::read_to_string(root().join("src").join(&folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "src/{folder}/Cargo.toml");
    }
}
