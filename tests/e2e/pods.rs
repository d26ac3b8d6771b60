//! Processes of a cluster act as one service: what happens at one of them is seen at the others.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ekitei_api::{AccountPatch, NewBan, NodeState};
use ekitei_config::Protocol;

use crate::support::mail::message;
use crate::support::pods::{Cluster, LEASE, Pod};
use crate::support::{ALICE, BOB, DOMAIN, Imap, STRANGER, Smtp, password, wait_until};

/// What is shared by and by is shared within this time.
const SOON: Duration = Duration::from_secs(5);

/// Two services with the domain of the tests and Alice's and Bob's accounts.
fn pair(sections: &str) -> (Cluster, Pod, Pod) {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(sections), cluster.start(sections));
    one.add_domain(DOMAIN);
    one.add_account(ALICE);
    one.add_account(BOB);
    (cluster, one, two)
}

#[test]
fn an_idle_client_hears_within_100_ms_of_mail_that_another_process_took() {
    let (_cluster, one, two) = pair("");
    assert!(two.smtp().deliver(STRANGER, &[ALICE], &message("first", "x")).unwrap().ok());
    let mut imap = one.imap(ALICE);
    imap.select("INBOX");
    let mut waits = Vec::new();
    for n in 2..12 {
        let mut sender = two.smtp();
        let sent = thread::spawn(move || {
            // The client idles by then.
            thread::sleep(Duration::from_millis(100));
            assert!(sender.deliver(STRANGER, &[ALICE], &message("next", "x")).unwrap().ok());
            Instant::now()
        });
        imap.idle_until(&format!("* {n} EXISTS"));
        waits.push(Instant::now().saturating_duration_since(sent.join().unwrap()));
    }
    waits.sort();
    eprintln!("from 250 to EXISTS: median {:?}, longest {:?}", waits[5], waits[9]);
    assert!(waits[5] < Duration::from_millis(100), "{waits:?}");
}

#[test]
fn flags_and_expunges_of_one_process_are_seen_in_the_other() {
    let (_cluster, one, two) = pair("");
    for subject in ["a", "b", "c"] {
        assert!(one.smtp().deliver(STRANGER, &[ALICE], &message(subject, "x")).unwrap().ok());
    }
    let (mut here, mut there) = (one.imap(ALICE), two.imap(ALICE));
    here.select("INBOX");
    there.select("INBOX");
    here.command("STORE 1 +FLAGS (\\Seen)").ok();
    let seen = there.command("NOOP").ok();
    assert!(seen.untagged.iter().any(|response| response.text.contains("\\Seen")), "{seen:?}");
    there.command("STORE 2 +FLAGS (\\Deleted)").ok();
    there.command("EXPUNGE").ok();
    assert!(here.command("NOOP").ok().untagged.iter().any(|response| response.text == "2 EXPUNGE"));
}

/// What a process says to a recipient.
fn recipient(pod: &Pod, address: &str) -> u16 {
    let mut smtp = pod.smtp();
    smtp.command(&format!("MAIL FROM:<{STRANGER}>")).unwrap();
    smtp.command(&format!("RCPT TO:<{address}>")).unwrap().code
}

#[test]
fn a_change_of_the_directory_is_seen_everywhere_within_a_second() {
    let (_cluster, one, two) = pair("");
    let new = "new@example.test";
    assert_eq!(recipient(&two, new), 550, "and it is remembered that there is none");
    one.add_account(new);
    let made = Instant::now();
    wait_until("the account", Duration::from_secs(1), || recipient(&two, new) == 250);
    eprintln!("the account was known elsewhere after {:?}", made.elapsed());
    one.api(async |client| client.delete_account(new).await).unwrap();
    wait_until("its end", Duration::from_secs(1), || recipient(&two, new) == 550);
}

#[test]
fn a_new_password_counts_everywhere_within_a_second_and_the_old_one_no_more() {
    let (_cluster, one, two) = pair("");
    let enters = |password: &str| Imap::try_login(two.address(Protocol::Imap), ALICE, password).is_ok();
    assert!(enters(&password(ALICE)), "and it is remembered that it is right");
    let patch = AccountPatch { password: Some(Some("another one".to_owned())), ..AccountPatch::default() };
    one.api(async |client| client.update_account(ALICE, &patch, None).await).unwrap();
    wait_until("the new password", Duration::from_secs(1), || enters("another one"));
    assert!(!enters(&password(ALICE)));
}

/// Logs in over POP3 and gives the connection and the last reply.
fn pop3(pod: &Pod, user: &str) -> (BufReader<TcpStream>, String) {
    let mut stream = BufReader::new(TcpStream::connect(pod.address(Protocol::Pop3)).unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    for command in [format!("USER {user}"), format!("PASS {}", password(user))] {
        ask(&mut stream, &mut line, &command);
    }
    (stream, line)
}

fn ask(stream: &mut BufReader<TcpStream>, line: &mut String, command: &str) {
    stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    line.clear();
    stream.read_line(line).unwrap();
}

#[test]
fn a_mailbox_is_open_over_pop3_in_one_process_at_a_time() {
    let (_cluster, one, two) = pair("");
    let (mut first, mut reply) = pop3(&one, ALICE);
    assert!(reply.starts_with("+OK"), "{reply}");
    assert!(pop3(&two, ALICE).1.starts_with("-ERR [IN-USE]"));
    assert!(pop3(&two, BOB).1.starts_with("+OK"), "mailboxes are independent");
    ask(&mut first, &mut reply, "QUIT");
    assert!(pop3(&two, ALICE).1.starts_with("+OK"));
}

#[test]
fn a_sender_whom_one_process_put_off_passes_at_another() {
    // At the recipient, and not after the message, when its signatures could speak for it.
    let greylist = "greylist: {enabled: true, delay: 3s, knownSendersPass: false}";
    let (_cluster, one, two) = pair(&format!("filter: {{checkLoopback: true, {greylist}}}\n"));
    assert_eq!(recipient(&one, ALICE), 451);
    assert_eq!(recipient(&two, ALICE), 451, "it is too early there, too");
    wait_until("the sender to pass", 3 * SOON, || recipient(&two, ALICE) == 250);
    assert_eq!(recipient(&one, ALICE), 250);
}

#[test]
fn a_ban_holds_everywhere_and_so_does_its_end() {
    let (_cluster, one, two) = pair("");
    let banned = |pod: &Pod| pod.api(async |client| client.ban("192.0.2.7").await.is_ok());
    let ban = NewBan { reason: "a test".to_owned(), duration: None };
    one.api(async |client| client.put_ban("192.0.2.0/24", &ban).await).unwrap();
    wait_until("the ban", Duration::from_secs(1), || banned(&two));
    two.api(async |client| client.delete_ban("192.0.2.0/24").await).unwrap();
    wait_until("its end", Duration::from_secs(1), || !banned(&one));
}

#[test]
fn failed_logins_count_together_wherever_they_happen() {
    let limits = "filter: {limits: {loginFailuresPerAccountPerHour: 4, syncInterval: 100ms}}\n";
    let (_cluster, one, two) = pair(limits);
    for (pod, guess) in [(&one, "a"), (&two, "b"), (&one, "c"), (&two, "d"), (&one, "e")] {
        assert!(Imap::try_login(pod.address(Protocol::Imap), BOB, guess).is_err());
        thread::sleep(Duration::from_millis(300));
    }
    // More than one process alone has seen: now a stranger may not even try.
    let right = |pod: &Pod| Imap::try_login(pod.address(Protocol::Imap), BOB, &password(BOB)).is_ok();
    assert!(!right(&one) && !right(&two));
    assert!(Imap::try_login(one.address(Protocol::Imap), ALICE, &password(ALICE)).is_ok(), "others may");
}

/// What a process says to the recipients of a message that Alice submits, one after the other.
fn submitted(pod: &Pod, recipients: &[&str]) -> Vec<u16> {
    let mut smtp = Smtp::hello(pod.address(Protocol::Submission)).unwrap();
    smtp.authenticate(ALICE);
    smtp.command(&format!("MAIL FROM:<{ALICE}>")).unwrap();
    let reply = |to: &&str| smtp.command(&format!("RCPT TO:<{to}>")).unwrap().code;
    recipients.iter().map(reply).collect()
}

#[test]
fn the_daily_recipients_of_an_account_are_counted_over_all_processes() {
    let sections = "smtp: {submission: {allowInsecureAuth: true, recipientsPerAccountPerDay: 5}}\n\
                    filter: {limits: {syncInterval: 100ms}}\n";
    let (_cluster, one, two) = pair(sections);
    let others = ["a@b.test", "c@b.test", "d@b.test"];
    assert_eq!(submitted(&one, &others), [250, 250, 250]);
    thread::sleep(Duration::from_millis(500));
    let at_the_other = submitted(&two, &others);
    assert_eq!(at_the_other[..2], [250, 250]);
    assert!(at_the_other[2] >= 400, "{at_the_other:?}");
    thread::sleep(Duration::from_millis(500));
    assert!(submitted(&one, &others[..1])[0] >= 400);
}

/// All that each of these processes leads at the same moment, as `group name`.
fn leads<const N: usize>(asked: &Pod, of: [&Pod; N]) -> [Vec<String>; N] {
    let nodes = asked.api(async |client| client.list_nodes().await).unwrap().items;
    of.map(|pod| {
        let http = format!("http {}", pod.address(Protocol::Http));
        let work =
            nodes.iter().find(|node| node.listeners.contains(&http)).map_or(&[][..], |node| &node.leads[..]);
        work.iter().flat_map(|work| work.names.iter().map(|name| format!("{} {name}", work.group))).collect()
    })
}

#[test]
fn work_is_shared_and_taken_up_when_a_process_dies() {
    let (_cluster, one, mut two) = pair("");
    wait_until("a share for both", 4 * LEASE, || {
        leads(&one, [&two])[0].iter().filter(|work| work.starts_with("queue ")).count() >= 20
    });
    let [ones, twos] = leads(&one, [&one, &two]);
    assert!(ones.iter().all(|work| !twos.contains(work)), "nothing is led twice");
    for job in ["jobs mailstore", "jobs queue", "jobs limits", "jobs policies"] {
        assert!(ones.iter().chain(&twos).any(|work| work == job), "{job}");
    }
    two.kill();
    let died = Instant::now();
    wait_until("the work of the dead", Duration::from_secs(30), || {
        let [now] = leads(&one, [&one]);
        twos.iter().all(|work| now.contains(work))
    });
    eprintln!("taken up after {:?}, with leases of {LEASE:?}", died.elapsed());
    wait_until("its death to be known", SOON, || {
        let nodes = one.api(async |client| client.list_nodes().await).unwrap().items;
        nodes.iter().any(|node| node.state == NodeState::Dead && node.dead_since.is_some())
    });
    let metrics = one.metrics();
    let takeovers =
        metrics.lines().find(|line| line.starts_with("ekitei_lease_takeovers_total{group=\"queue\"}"));
    assert!(takeovers.is_some_and(|line| !line.ends_with(" 0")), "{takeovers:?}");
    wait_until("the figure", SOON, || one.metrics().contains("ekitei_cluster_nodes{state=\"dead\"} 1"));
}

#[test]
fn processes_of_one_release_have_all_features() {
    let (_cluster, one, two) = pair("");
    for pod in [&one, &two] {
        let features = pod.api(async |client| client.list_features().await).unwrap().items;
        assert!(
            features.iter().all(|feature| feature.active && feature.waits_for.is_empty()),
            "{features:?}"
        );
    }
}
