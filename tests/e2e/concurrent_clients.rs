//! Two clients that follow the protocol and change one mailbox at once both end with the server's state.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::imap::{Completion, Fetched, Untagged};
use crate::support::mail::message;
use crate::support::{ALICE, Imap, STRANGER, Server, long, smtp::Smtp};

/// What a client knows about a mailbox from the responses alone (RFC 9051 §5.2, §7.5.1).
#[derive(Default)]
struct View {
    /// By message number; `None` until the server has told the UID.
    messages: Vec<Option<(u64, BTreeSet<String>)>>,
}

impl View {
    fn learn(&mut self, done: &Completion) {
        done.untagged.iter().for_each(|response| self.learn_one(response));
    }

    fn learn_one(&mut self, response: &Untagged) {
        let mut words = response.text.splitn(3, ' ');
        let Some(number) = words.next().and_then(|word| word.parse::<usize>().ok()) else { return };
        match words.next().unwrap_or_default() {
            "EXISTS" => {
                assert!(number >= self.messages.len(), "EXISTS {number} below what is known");
                self.messages.resize(number, None);
            }
            "EXPUNGE" => {
                assert!(
                    (1..=self.messages.len()).contains(&number),
                    "EXPUNGE {number} of {}",
                    self.messages.len()
                );
                self.messages.remove(number - 1);
            }
            "FETCH" => {
                assert!(
                    (1..=self.messages.len()).contains(&number),
                    "FETCH {number} of {}",
                    self.messages.len()
                );
                self.learn_message(number, words.next().unwrap_or_default());
            }
            _ => {}
        }
    }

    fn learn_message(&mut self, number: usize, items: &str) {
        let slot = &mut self.messages[number - 1];
        if let Some(Fetched { uid, flags, .. }) = Fetched::parse(items) {
            if let Some((known, _)) = slot {
                assert_eq!(*known, uid, "message {number} has changed its UID");
            }
            *slot = Some((uid, flags));
        } else if let Some((_, flags)) = slot {
            *flags = crate::support::imap::flags(items);
        }
    }
}

/// One client: it acts at random, and believes what it is told.
struct Client {
    imap: Imap,
    view: View,
    rng: StdRng,
}

impl Client {
    fn open(server: &Server, seed: u64) -> Self {
        let mut imap = server.imap(ALICE);
        let mut view = View::default();
        view.learn(&imap.command("SELECT INBOX").ok());
        Self { imap, view, rng: StdRng::seed_from_u64(seed) }
    }

    fn run(&mut self, command: &str) {
        let done = self.imap.command(command);
        // NO is an answer too: a message named may be gone already. BAD never is.
        assert!(!done.status.starts_with("BAD"), "{command}: {}", done.status);
        let forbids_expunge = ["FETCH", "STORE", "SEARCH"].iter().any(|verb| command.starts_with(verb));
        let expunged = done.untagged.iter().any(|response| response.text.ends_with(" EXPUNGE"));
        assert!(!(forbids_expunge && expunged), "RFC 9051 §7.5.1: no EXPUNGE during {command}");
        self.view.learn(&done);
    }

    fn act(&mut self) {
        let count = self.view.messages.len();
        let number = self.rng.random_range(1..=count.max(1));
        let last = (number + 4).min(count.max(1));
        let command = match self.rng.random_range(0..10) {
            _ if count < 20 => {
                let mail = message("appended", "A body");
                let done = self.imap.append("INBOX", "", &mail);
                self.view.learn(&done.ok());
                return;
            }
            0 | 1 => format!("STORE {number}:{last} +FLAGS (\\Flagged)"),
            2 => format!("STORE {number}:{last} -FLAGS (\\Flagged)"),
            3 => format!("STORE {number} +FLAGS (\\Deleted $Label{})", number % 3),
            4 => "EXPUNGE".to_owned(),
            5 => format!("COPY {number}:{last} INBOX"),
            6 => format!("MOVE {number} Archive"),
            7 => "SEARCH FLAGGED".to_owned(),
            8 => format!("FETCH {number}:{last} (UID FLAGS)"),
            _ => "NOOP".to_owned(),
        };
        self.run(&command);
    }

    /// Catches up, and gives what it then believes the mailbox to be.
    fn settle(mut self) -> Vec<(u64, BTreeSet<String>)> {
        self.run("NOOP");
        self.run("FETCH 1:* (UID FLAGS)");
        // After a last NOOP there is nothing that the server could have kept back.
        self.run("NOOP");
        self.view.messages.into_iter().map(|message| message.expect("every UID was told")).collect()
    }

    /// What it believes without asking for anything but what it was owed.
    fn believed(&mut self) -> Vec<Option<(u64, BTreeSet<String>)>> {
        self.run("NOOP");
        self.view.messages.clone()
    }
}

#[test]
fn two_clients_on_one_mailbox_end_with_the_servers_state() {
    let server = Server::start();
    let seed = rand::random::<u64>();
    eprintln!("seed {seed}");
    let time = Duration::from_secs(if long() { 60 } else { 6 });
    let end = Instant::now() + time;
    let mut clients = [Client::open(&server, seed), Client::open(&server, seed ^ 1)];

    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || {
                while Instant::now() < end {
                    client.act();
                }
            });
        }
        // Mail keeps coming in the meantime.
        scope.spawn(|| {
            while Instant::now() < end {
                // A new connection now and then: the server takes so many messages on one (LIMITS MAILMAX).
                let mut smtp = Smtp::hello(Server::address(server.ports.smtp)).unwrap();
                for _ in 0..100 {
                    if Instant::now() >= end {
                        break;
                    }
                    let mail = message("delivered", "A body");
                    assert_eq!(smtp.deliver(STRANGER, &[ALICE], &mail).unwrap().code, 250);
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        });
    });

    let mut fresh = server.imap(ALICE);
    fresh.select("INBOX");
    let truth: Vec<(u64, BTreeSet<String>)> =
        fresh.list().into_iter().map(|mail| (mail.uid, mail.flags)).collect();
    assert!(truth.is_sorted_by_key(|(uid, _)| *uid));
    for mut client in clients {
        let believed = client.believed();
        assert_eq!(believed.len(), truth.len(), "numbers of messages");
        for (number, (known, real)) in believed.iter().zip(&truth).enumerate() {
            if let Some(known) = known {
                assert_eq!(known, real, "message {}", number + 1);
            }
        }
        assert_eq!(client.settle(), truth);
    }
}
