//! Servers that answer at random, and a ledger of what they took: nobody gets a message twice that was known to be taken, and what is said to be sent was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::support::*;
use crate::RecipientOutcome;

/// What the servers did, by recipient.
#[derive(Default)]
struct Ledger {
    /// How often it was taken, with a reply.
    taken: HashMap<String, u32>,
    /// How often the whole message came, and the connection was closed without a reply.
    silent: HashMap<String, u32>,
    /// Whether the message came again after that.
    again: bool,
}

struct Server {
    peer: Peer,
    random: StdRng,
    ledger: Arc<Mutex<Ledger>>,
    has_mail: bool,
    accepted: Vec<String>,
}

/// What follows an answer.
enum Next {
    Yes,
    No,
    /// A refusal that ends the connection.
    Bye,
    /// Not even that.
    Close,
}

impl Server {
    /// Greets, and answers until the connection ends.
    async fn run(mut self) {
        let extensions = ["PIPELINING", "CHUNKING", "LIMITS RCPTMAX=2", "LIMITS MAILMAX=1", "SIZE"];
        let offered: Vec<&str> = extensions.into_iter().filter(|_| self.random.random_bool(0.5)).collect();
        if !matches!(self.answer("220 hi", &["554 5.7.1 no", "421 busy"]).await, Next::Yes) {
            return;
        }
        loop {
            let line = self.peer.line().await;
            let word = line.split(' ').next().unwrap_or_default().to_owned();
            let next = match word.as_str() {
                "" | "QUIT" => return,
                "EHLO" if self.random.random_bool(0.9) => {
                    self.peer.offer(&format!("x;{}", offered.join(";"))).await;
                    Next::Yes
                }
                "EHLO" => self.answer("502 what", &["421 busy"]).await,
                "HELO" => self.answer("250 ok", &["550 5.7.1 no"]).await,
                "RSET" => {
                    self.forget();
                    self.answer("250 ok", &["421 busy"]).await
                }
                "MAIL" => self.mail().await,
                "RCPT" => self.rcpt(&line).await,
                "DATA" => self.data().await,
                "BDAT" => self.chunk(&line).await,
                other => panic!("{other}"),
            };
            if matches!(next, Next::Bye | Next::Close) {
                return;
            }
        }
    }

    fn forget(&mut self) {
        (self.has_mail, self.accepted) = (false, Vec::new());
    }

    /// The good answer, most of the time; one of the bad ones; or none.
    async fn answer(&mut self, good: &str, bad: &[&str]) -> Next {
        let roll = self.random.random_range(0..20);
        if roll == 0 {
            return Next::Close;
        }
        if roll > 5 || bad.is_empty() {
            self.peer.say(good).await;
            return Next::Yes;
        }
        let answer = bad[self.random.random_range(0..bad.len())];
        self.peer.say(answer).await;
        if answer.starts_with("421") { Next::Bye } else { Next::No }
    }

    async fn mail(&mut self) -> Next {
        assert!(!self.has_mail, "a transaction within another");
        let next =
            self.answer("250 ok", &["450 4.7.1 later", "550 5.7.1 no", "452 4.3.1 full", "421 busy"]).await;
        self.has_mail = matches!(next, Next::Yes);
        next
    }

    async fn rcpt(&mut self, line: &str) -> Next {
        if !self.has_mail {
            self.peer.say("503 5.5.1 mail first").await;
            return Next::No;
        }
        let address = line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
        let next =
            self.answer("250 ok", &["450 4.2.2 full", "550 5.1.1 who", "452 4.5.3 many", "421 busy"]).await;
        if matches!(next, Next::Yes) {
            self.accepted.push(address);
        }
        next
    }

    async fn data(&mut self) -> Next {
        if self.accepted.is_empty() {
            self.peer.say("503 5.5.1 rcpt first").await;
            return Next::No;
        }
        let next = self.answer("354 go on", &["451 4.3.0 later", "554 5.7.1 no", "421 busy"]).await;
        if !matches!(next, Next::Yes) {
            return next;
        }
        if self.random.random_range(0..20) == 0 {
            return Next::Close;
        }
        if self.peer.message().await.ends_with("\r\n.\r\n") { self.taken().await } else { Next::Close }
    }

    async fn chunk(&mut self, line: &str) -> Next {
        let size = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(self.peer.chunk(size).await, MESSAGE);
        assert!(!self.accepted.is_empty(), "a chunk for nobody");
        self.taken().await
    }

    /// The message is here; whoever closes the connection now may keep it.
    async fn taken(&mut self) -> Next {
        let next = self.answer("250 ok", &["451 4.3.0 later", "554 5.6.0 no", "421 busy"]).await;
        let mut ledger = self.ledger.lock().unwrap();
        for address in self.accepted.drain(..) {
            ledger.again |= ledger.silent.contains_key(&address);
            match next {
                Next::Yes => *ledger.taken.entry(address).or_default() += 1,
                Next::Close => *ledger.silent.entry(address).or_default() += 1,
                Next::No | Next::Bye => {}
            }
        }
        drop(ledger);
        self.has_mail = false;
        next
    }
}

/// Returns how many recipients were sent to, deferred, failed.
async fn play(seed: u64) -> [u32; 3] {
    let mut random = StdRng::seed_from_u64(seed);
    let ledger = Arc::<Mutex<Ledger>>::default();
    let world = World::new();
    for (address, _) in [A, B].into_iter().flat_map(|address| (0..30).map(move |n| (address, n))) {
        let (ledger, random) = (ledger.clone(), StdRng::seed_from_u64(random.random()));
        world.serve(address, move |peer| {
            Server { peer, random, ledger, has_mail: false, accepted: Vec::new() }.run()
        });
    }
    let mut counts = [0; 3];
    for round in 0..4 {
        let recipients: Vec<String> =
            (0..random.random_range(1..6)).map(|n| format!("{n}@{round}.example")).collect();
        let names: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let outcomes = world.send(shipment(&names)).await;
        assert_eq!(outcomes.len(), recipients.len(), "seed {seed}");
        let ledger = ledger.lock().unwrap();
        for (recipient, outcome) in recipients.iter().zip(&outcomes) {
            let taken = ledger.taken.get(recipient).copied().unwrap_or(0);
            counts[match outcome {
                RecipientOutcome::Sent { .. } => 0,
                RecipientOutcome::Deferred(_) => 1,
                RecipientOutcome::Failed(_) => 2,
            }] += 1;
            let is_sent = matches!(outcome, RecipientOutcome::Sent { .. });
            assert_eq!(taken, u32::from(is_sent), "seed {seed}: {recipient} {outcome:?}");
            if ledger.silent.contains_key(recipient) {
                assert!(
                    matches!(outcome, RecipientOutcome::Deferred(_)),
                    "seed {seed}: {recipient} {outcome:?}"
                );
            }
        }
        assert!(!ledger.again, "seed {seed}: sent again at once, though the first may have arrived");
    }
    let running = std::mem::take(&mut *world.network.running.lock().unwrap());
    for session in world.client.expire(std::time::Duration::ZERO) {
        session.wire.quit().await;
    }
    for task in running {
        task.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn whatever_servers_answer_what_is_sent_was_taken_once() {
    let mut counts = [0; 3];
    for seed in 0..300 {
        for (sum, count) in counts.iter_mut().zip(play(seed).await) {
            *sum += count;
        }
    }
    assert!(counts.iter().all(|&count| count > 100), "every outcome is met: {counts:?}");
}
