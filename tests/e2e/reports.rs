//! What others report about the mail of a domain of ours, from their mail to the command line.

use std::time::Duration;

use serde_json::Value;

use crate::support::mail::message;
use crate::support::{Program, Server, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_aggregate_report_is_read_and_shown_and_counts_once() {
    require!("python3");
    let mut server = Server::start();
    let report = Program::python("aggregate_report.py", server.home()).run().success().stdout;
    server.deliver(&["dmarc-reports@example.test"], report.as_bytes());
    let list = |server: &Server, options: &str| -> Vec<Value> {
        let listed = server.command(&format!("report list --output json {options}")).run().success();
        serde_json::from_str(&listed.stdout).unwrap()
    };
    wait_until("the report", PATIENCE, || list(&server, "--kind dmarc").len() == 1);
    server.deliver(&["dmarc-reports@example.test"], report.as_bytes());
    server.deliver(&["dmarc-reports@example.test"], &message("question", "Is this read?"));
    // What was taken before a crash is read after it, in the order in which it came.
    server.kill();
    server.launch();
    wait_until("the last message to be read", PATIENCE, || list(&server, "--kind unreadable").len() == 1);
    let [shown] = &list(&server, "--kind dmarc")[..] else { panic!("{:?}", list(&server, "")) };
    assert_eq!(shown["organization"], "Elsewhere Mail");
    assert_eq!(shown["domain"], "example.test");
    assert_eq!((&shown["total"], &shown["good"], &shown["quarantined"]), (&20.into(), &17.into(), &3.into()));
    let id = shown["id"].as_str().unwrap();
    let detail = server.command(&format!("report show {id}")).run().success().stdout;
    for part in ["192.0.2.1", "198.51.100.7", "quarantine"] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    let summary = server.command("report summary").run().success().stdout;
    let figures: Vec<&str> = summary
        .lines()
        .find(|line| line.contains("dmarc"))
        .map(|line| line.split_whitespace().collect())
        .unwrap_or_default();
    assert_eq!(figures, ["example.test", "dmarc", "1", "20", "17", "3", "0"], "{summary}");
}
