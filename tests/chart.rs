//! The tests of the chart: Python programs in `tests/chart`, each of which is one test here. They need PyYAML, and the tools of
//! `make kubernetes-tools`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Debian's, which has PyYAML beside it (python3-yaml).
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn what_the_chart_renders_fits_together_and_wrong_values_are_refused() {
    run("test_chart.py", &["helm"]);
}

#[test]
fn the_pods_of_the_chart_run_as_processes_and_mail_flows_through_their_services() {
    run_as_root("test_pods.py", &["swaks"]);
}

#[test]
fn pods_by_role_serve_the_same_mail_over_foundationdb_and_s3() {
    if cfg!(not(feature = "foundationdb")) {
        return skip("test_roles.py", "needs --features foundationdb");
    }
    run_as_root("test_roles.py", &["fdbserver", "fdbcli", "moto_server"]);
}

#[test]
fn the_operator_in_its_pod_makes_a_domain_that_takes_mail() {
    if !Path::new(env!("CARGO_BIN_EXE_ekitei")).with_file_name("ekitei-operator").exists() {
        return skip("test_operator.py", "not built: cargo build -p ekitei-operator");
    }
    run_as_root("test_operator.py", &["swaks", "kubectl", "etcd", "kube-apiserver"]);
}

#[test]
fn a_real_api_server_takes_every_object() {
    run("test_apiserver.py", &["helm", "kubectl", "etcd", "kube-apiserver"]);
}

#[test]
fn what_the_chart_renders_conforms_to_the_schemas_of_the_api_server() {
    run("test_schemas.py", &["helm", "kubectl", "kubeconform", "etcd", "kube-apiserver"]);
}

/// Runs one of the programs that make namespaces: of the network, and with files that belong to the users of pods.
fn run_as_root(script: &str, tools: &[&str]) {
    if !Command::new("id").arg("-u").output().is_ok_and(|done| done.stdout == b"0\n") {
        return skip(script, "needs root");
    }
    run(script, &[tools, &["helm", "unshare", "nsenter", "ip", "mount", "setpriv"]].concat());
}

/// Runs one of the programs with the binaries of this build; one at a time, since each starts servers and waits for them.
fn run(script: &str, tools: &[&str]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !is_installed(tool)).collect();
    if !missing.is_empty() {
        return skip(script, &format!("not installed: {}", missing.join(", ")));
    }
    if !Command::new(PYTHON).args(["-c", "import yaml"]).status().is_ok_and(|status| status.success()) {
        return skip(script, "not installed: python3-yaml");
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart");
    // It ends with this test, however that ends, and all that it started ends with it.
    let done = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", PYTHON])
        .arg(directory.join(script))
        .env("EKITEI_BINARY", env!("CARGO_BIN_EXE_ekitei"))
        .output()
        .expect("setpriv can be started");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}:\n{said}");
    for line in said.lines().filter(|line| line.contains("... skipped")) {
        skip(script, line);
    }
}

/// Whether a tool is on the path, or among what `make kubernetes-tools` and `make clients` put into the cache.
fn is_installed(tool: &str) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let cache = set("EKITEI_CACHE").or_else(|| Some(caches()?.join("ekitei"))).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = ["kubernetes/bin", "moto/bin"].map(|directory| cache.join(directory));
    std::env::split_paths(&path).chain(directories).any(|directory| directory.join(tool).is_file())
}

/// Puts a test into the report of what was skipped, which `make test` prints at its end.
fn skip(script: &str, reason: &str) {
    let line = format!("SKIPPED chart {script}: {reason}\n");
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let file = OpenOptions::new().append(true).create(true).open(report);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the report can be written");
    }
}
