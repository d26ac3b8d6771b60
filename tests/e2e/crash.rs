//! A reply is a promise: what was acknowledged before `kill -9` is there after the restart, once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::support::imap::Fetched;
use crate::support::mail::{below_trace, message, subject};
use crate::support::smtp::stuffed;
use crate::support::{ALICE, BOB, Imap, STRANGER, Server, Smtp, long, password};

const SENDERS: usize = 20;
const DAVE: &str = "dave@example.test";
/// Every set of recipients that messages go to.
const RECIPIENTS: [&[&str]; 4] = [&[ALICE], &[BOB], &[ALICE, BOB], &[ALICE, BOB, DAVE]];

/// One message, and what its sender knows about it.
struct Entry {
    recipients: &'static [&'static str],
    mail: Vec<u8>,
    /// A 250 was seen.
    accepted: bool,
    /// How often the connection broke between the end of the message and its reply.
    unknown: usize,
}

/// A host with mail to send: it sends again what it got no reply for, as a real one would.
struct Sender {
    name: String,
    rng: StdRng,
    ledger: BTreeMap<String, Entry>,
}

impl Sender {
    fn new(number: usize, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        Self { name: format!("s{number}"), rng, ledger: BTreeMap::new() }
    }

    /// Sends until the connection breaks.
    fn run(&mut self, server: SocketAddr, stop: &AtomicBool) {
        let again: Vec<String> =
            self.ledger.iter().filter(|(_, entry)| !entry.accepted).map(|(id, _)| id.clone()).collect();
        let Ok(mut smtp) = Smtp::hello(server) else { return };
        for id in again {
            if self.send(&mut smtp, &id).is_err() {
                return;
            }
        }
        while !stop.load(Ordering::Relaxed) {
            let id = self.write();
            if self.send(&mut smtp, &id).is_err() {
                return;
            }
        }
    }

    /// Writes a new message; one in twenty is too large to be kept with its metadata.
    fn write(&mut self) -> String {
        let id = format!("{}-{}", self.name, self.ledger.len());
        let size =
            if self.rng.random_range(0..20) == 0 { 600_000 } else { self.rng.random_range(100..8_000) };
        let mut noise = vec![0; size / 2];
        self.rng.fill_bytes(&mut noise);
        let hex: Vec<String> =
            noise.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        let recipients = RECIPIENTS[self.rng.random_range(0..RECIPIENTS.len())];
        let mail = message(&id, &hex.join("\n"));
        self.ledger.insert(id.clone(), Entry { recipients, mail, accepted: false, unknown: 0 });
        id
    }

    /// Sends one message and writes down what came of it.
    fn send(&mut self, smtp: &mut Smtp, id: &str) -> std::io::Result<()> {
        let entry = self.ledger.get_mut(id).unwrap();
        smtp.command(&format!("MAIL FROM:<{STRANGER}>"))?;
        for recipient in entry.recipients {
            let reply = smtp.command(&format!("RCPT TO:<{recipient}>"))?;
            assert!(reply.ok(), "{reply:?}");
        }
        assert_eq!(smtp.command("DATA")?.code, 354);
        // From here on the server may have it all, even if this side sees an error.
        entry.unknown += 1;
        smtp.send(&stuffed(&entry.mail))?;
        let reply = smtp.reply()?;
        entry.unknown -= 1;
        entry.accepted = reply.ok();
        assert!(reply.ok() || reply.code >= 400, "{reply:?}");
        Ok(())
    }
}

/// Someone who reads: marks messages of Bob's as seen, and remembers which of them the server confirmed.
struct Reader {
    confirmed: BTreeSet<u64>,
}

impl Reader {
    fn run(&mut self, server: SocketAddr, stop: &AtomicBool) {
        let Ok(mut imap) = Imap::try_login(server, BOB, &password(BOB)) else { return };
        if imap.try_command("SELECT INBOX").is_err() {
            return;
        }
        while !stop.load(Ordering::Relaxed) {
            let next = self.confirmed.last().map_or(1, |uid| uid + 1);
            let Ok(done) = imap.try_command(&format!("UID STORE {next} +FLAGS.SILENT (\\Seen)")) else {
                return;
            };
            let Ok(found) = imap.try_command(&format!("UID FETCH {next} (UID FLAGS)")) else { return };
            let exists = found.untagged.iter().any(|response| response.text.contains("\\Seen"));
            if exists && done.status.starts_with("OK") {
                self.confirmed.insert(next);
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Mailboxes as they were found after the last restart: account -> UID -> id of the message.
type Seen = BTreeMap<&'static str, BTreeMap<u64, String>>;

/// Checks every promise on the service that has just come back.
fn check(server: &Server, senders: &[Sender], reader: &Reader, seen: &mut Seen) {
    let ledger: BTreeMap<&String, &Entry> = senders.iter().flat_map(|sender| &sender.ledger).collect();
    let mut copies: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for account in [ALICE, BOB, DAVE] {
        let mut imap = server.imap(account);
        imap.select("INBOX");
        let listed = imap.list();
        let bodies = imap.bodies();
        check_mailbox(&mut imap, &listed);
        assert!(bodies.iter().map(|(uid, _)| uid).eq(listed.iter().map(|mail| &mail.uid)));
        if account == BOB {
            let marked =
                |uid: &u64| listed.iter().any(|mail| mail.uid == *uid && mail.flags.contains("\\Seen"));
            assert!(reader.confirmed.iter().all(marked), "a flag that was confirmed is lost");
        }
        let before = seen.entry(account).or_default();
        for (uid, body) in &bodies {
            let id = subject(body);
            let entry = ledger.get(&id).unwrap_or_else(|| panic!("nobody sent {id:?}"));
            assert!(entry.recipients.contains(&account), "{id} is not for {account}");
            assert_eq!(below_trace(body, &entry.mail), Some(&entry.mail[..]), "{id} has changed");
            let known = before.entry(*uid).or_insert_with(|| id.clone());
            assert_eq!(*known, id, "UID {uid} of {account} names another message than before");
            *copies.entry((id, account)).or_default() += 1;
        }
        assert_eq!(before.len(), bodies.len(), "a message that was there after an earlier restart is gone");
    }
    let recounted = server.command("account recount --all").run().success().stdout;
    assert_eq!(recounted, "all counters are right\n", "of mailboxes, accounts and the domain");
    for (id, entry) in ledger {
        let counts: BTreeSet<usize> =
            entry.recipients.iter().map(|to| copies.get(&(id.clone(), *to)).copied().unwrap_or(0)).collect();
        assert_eq!(counts.len(), 1, "{id} reached some of its recipients only: {counts:?}");
        let count = *counts.first().unwrap();
        let least = usize::from(entry.accepted);
        assert!(
            (least..=least + entry.unknown).contains(&count),
            "{id}: {count} copies, {} unknown",
            entry.unknown
        );
    }
}

/// UIDs ascend, and every counter equals a recount.
fn check_mailbox(imap: &mut Imap, listed: &[Fetched]) {
    assert!(listed.is_sorted_by(|a, b| a.uid < b.uid), "UIDs ascend");
    let counters = imap.status("INBOX");
    let with = |flag: &str| listed.iter().filter(|mail| mail.flags.contains(flag)).count() as u64;
    let count = listed.len() as u64;
    assert_eq!(counters.messages, count);
    assert_eq!(counters.unseen, count - with("\\Seen"));
    assert_eq!(counters.deleted, with("\\Deleted"));
    assert_eq!(counters.size, listed.iter().map(|mail| mail.size).sum::<u64>());
    assert!(listed.last().is_none_or(|mail| counters.uid_next > mail.uid));
    assert_eq!(imap.search("UNSEEN").len() as u64, counters.unseen);
    assert_eq!(imap.search("ALL").len() as u64, count);
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = if long() { 20 } else { 5 };
    let seed = rand::random::<u64>();
    eprintln!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start();
    server.add_account(DAVE);
    let mut senders: Vec<Sender> = (0..SENDERS).map(|number| Sender::new(number, seed)).collect();
    let mut reader = Reader { confirmed: BTreeSet::new() };
    let mut seen = Seen::new();

    for round in 1..=rounds {
        let stop = AtomicBool::new(false);
        let (smtp, imap) = (Server::address(server.ports.smtp), Server::address(server.ports.imap));
        std::thread::scope(|scope| {
            for sender in &mut senders {
                let stop = &stop;
                scope.spawn(move || sender.run(smtp, stop));
            }
            scope.spawn(|| reader.run(imap, &stop));
            std::thread::sleep(Duration::from_millis(rng.random_range(100..2_000)));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        server.launch();
        check(&server, &senders, &reader, &mut seen);
        let accepted =
            senders.iter().flat_map(|sender| sender.ledger.values()).filter(|entry| entry.accepted).count();
        eprintln!(
            "round {round}: {accepted} messages acknowledged so far, all there; {} flags",
            reader.confirmed.len()
        );
    }
    assert!(
        senders.iter().any(|sender| sender.ledger.values().any(|entry| entry.accepted)),
        "nothing was tested"
    );
}
