//! The operator, as a process.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::process::{Process, built, free_port, wait_until};
use crate::scratch::Scratch;
use crate::service::Service;

/// A running operator.
pub struct Operator {
    process: Option<Process>,
    dir: Scratch,
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    kubeconfig: PathBuf,
}

impl Operator {
    /// Starts an operator in a namespace, for a service, with more arguments and environment variables; it may not be the leader.
    pub fn start(
        cluster: &Cluster,
        namespace: &str,
        service: &Service,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let dir = Scratch::new("operator");
        let port = free_port();
        let mut all = vec![
            "run".to_owned(),
            format!("--namespace={namespace}"),
            format!("--service-url={}", service.url()),
            format!("--service-token-file={}", service.token_file().display()),
            format!("--listen=127.0.0.1:{port}"),
        ];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let environment =
            environment.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let kubeconfig = cluster.kubeconfig();
        let mut operator = Self { process: None, dir, port, arguments: all, environment, kubeconfig };
        operator.run();
        operator
    }

    /// Starts it again, after [`Self::kill`] or [`Self::stop`].
    pub fn run(&mut self) {
        let (arguments, environment, kubeconfig) = (&self.arguments, &self.environment, &self.kubeconfig);
        let prepare = |command: &mut Command| {
            command
                .args(arguments)
                .env("KUBECONFIG", kubeconfig)
                .envs(environment.iter().map(|(key, value)| (key, value)));
        };
        self.process =
            Some(Process::start("ekitei-operator", self.dir.path(), &built("ekitei-operator"), prepare));
        wait_until("the operator to listen", Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Asks it to end, and waits; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.take().unwrap().stop(Duration::from_secs(30))
    }

    /// Whether it runs; a fail point ends it.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::runs)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("ekitei-operator.log")).unwrap_or_default()
    }

    /// The value of a metric, which is named with its labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.url());
        let output = Command::new("curl").args(["-s", &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Waits until the one object that there is of a kind was looked at again, at least twice from begin to end.
    #[track_caller]
    pub fn wait_for_looks(&self, kind: &str) {
        let name = format!("ekitei_operator_reconcile_seconds_count{{kind=\"{kind}\"}}");
        let before = self.metric(&name).unwrap_or_default();
        wait_until(&format!("another look at the {kind}"), Duration::from_secs(60), || {
            // One of them may have begun before.
            self.metric(&name).unwrap_or_default() >= before + 3.0
        });
    }

    /// Where it serves its metrics and health.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
