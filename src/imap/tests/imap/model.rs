//! Two clients change one mailbox at random. Each keeps its own list of messages from the untagged responses alone, as RFC 9051 §5.5
//! expects, and refers to messages by its own numbers; whatever a client does must reach the messages that it means.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::support::{Client, World, message};

/// What a client knows: UID and flags by message number. A new message is unknown until it is fetched.
#[derive(Default)]
struct Known {
    messages: Vec<(Option<u32>, Option<String>)>,
}

impl Known {
    /// Applies an untagged response, and checks that it is possible at all.
    fn apply(&mut self, response: &str, expunges: bool) {
        let mut words = response.splitn(3, ' ');
        let (Some(number), Some(kind)) = (words.next(), words.next()) else { return };
        let Ok(number) = number.parse::<usize>() else { return };
        match kind {
            "EXISTS" => {
                assert!(number >= self.messages.len(), "EXISTS takes no message away: {response}");
                self.messages.resize(number, (None, None));
            }
            "EXPUNGE" => {
                assert!(expunges, "an EXPUNGE where none may be");
                assert!((1..=self.messages.len()).contains(&number), "{response}");
                self.messages.remove(number - 1);
            }
            "FETCH" => {
                let rest = words.next().unwrap();
                let known = &mut self.messages[number - 1];
                if let Some(uid) = rest.split_once("UID ").map(|(_, rest)| rest) {
                    let uid = uid.split([' ', ')']).next().unwrap().parse().unwrap();
                    assert!(
                        known.0.is_none_or(|known| known == uid),
                        "number {number} is {known:?}: {response}"
                    );
                    known.0 = Some(uid);
                }
                if let Some((_, flags)) = rest.split_once("FLAGS (") {
                    known.1 = Some(flags.split(')').next().unwrap().to_owned());
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append,
    Deliver,
    Store {
        uid: bool,
        silent: bool,
        add: bool,
        flag: usize,
        at: usize,
    },
    Expunge,
    Noop,
    Fetch {
        uid: bool,
    },
    Search {
        uid: bool,
    },
    Copy {
        uid: bool,
        at: usize,
    },
    Move {
        uid: bool,
        at: usize,
    },
    Idle,
    /// Commands with numbers behind one that could tell an EXPUNGE.
    Pipelined {
        at: usize,
    },
}

const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Deleted", "$Label"];

fn step() -> impl Strategy<Value = Step> {
    let (at, bit) = (any::<usize>(), any::<bool>());
    prop_oneof![
        2 => Just(Step::Append),
        2 => Just(Step::Deliver),
        6 => (bit, bit, bit, 0usize..4, at)
            .prop_map(|(uid, silent, add, flag, at)| Step::Store { uid, silent, add, flag, at }),
        2 => Just(Step::Expunge),
        2 => Just(Step::Noop),
        2 => bit.prop_map(|uid| Step::Fetch { uid }),
        2 => bit.prop_map(|uid| Step::Search { uid }),
        1 => (bit, at).prop_map(|(uid, at)| Step::Copy { uid, at }),
        1 => (bit, at).prop_map(|(uid, at)| Step::Move { uid, at }),
        1 => Just(Step::Idle),
        2 => at.prop_map(|at| Step::Pipelined { at }),
    ]
}

/// A client with what it knows.
struct Player {
    client: Client,
    known: Known,
}

impl Player {
    async fn new(world: &World) -> Self {
        let mut player = Self { client: world.login("alice").await, known: Known::default() };
        player.run("SELECT INBOX", true).await;
        player
    }

    /// Does a command, and applies what is told; the tagged response.
    async fn run(&mut self, command: &str, expunges: bool) -> String {
        let answer = self.client.command(command).await;
        answer.untagged.iter().for_each(|response| self.known.apply(response, expunges));
        assert!(!answer.tagged.starts_with("BAD"), "{command}: {answer:?}");
        answer.tagged
    }

    /// A message by the client's own number, or by its UID if that is wanted and known.
    fn name(&self, uid: bool, at: usize) -> Option<(String, usize)> {
        let index = at.checked_rem(self.known.messages.len())?;
        match (uid, self.known.messages[index].0) {
            (true, Some(known)) => Some((format!("UID {}", known), index)),
            (true, None) => None,
            (false, _) => Some((format!("{}", index + 1), index)),
        }
    }

    async fn play(&mut self, step: &Step, world: &World) {
        match step {
            Step::Append => {
                let text = message("appended");
                self.run(&format!("APPEND INBOX {{{}+}}\r\n{text}", text.len()), true).await;
            }
            Step::Deliver => world.put("alice", "INBOX", &[&message("delivered")]).await,
            Step::Store { uid, silent, add, flag, at } => {
                self.store(*uid, *silent, *add, FLAGS[*flag], *at).await
            }
            Step::Expunge => drop(self.run("EXPUNGE", true).await),
            Step::Noop => drop(self.run("NOOP", true).await),
            Step::Fetch { uid: true } => drop(self.run("UID FETCH 1:* FLAGS", true).await),
            Step::Fetch { uid: false } if self.known.messages.is_empty() => {}
            Step::Fetch { uid: false } => drop(self.run("FETCH 1:* (UID FLAGS)", false).await),
            Step::Search { uid } => {
                let prefix = if *uid { "UID " } else { "" };
                self.run(&format!("{prefix}SEARCH UNSEEN"), *uid).await;
            }
            Step::Copy { uid, at } => self.transfer("COPY", *uid, *at).await,
            Step::Move { uid, at } => self.transfer("MOVE", *uid, *at).await,
            Step::Idle => self.idle().await,
            Step::Pipelined { at } => self.pipelined(*at).await,
        }
    }

    async fn store(&mut self, uid: bool, silent: bool, add: bool, flag: &str, at: usize) {
        let Some((name, index)) = self.name(uid, at) else { return };
        let (name, prefix) = match name.strip_prefix("UID ") {
            Some(uid) => (uid.to_owned(), "UID "),
            None => (name, ""),
        };
        let sign = if add { '+' } else { '-' };
        let suffix = if silent { ".SILENT" } else { "" };
        // What the client expects of its own silent change, unless it is told otherwise.
        if silent && let Some(flags) = &self.known.messages[index].1 {
            let mut set: Vec<&str> = flags.split(' ').filter(|f| !f.is_empty() && *f != flag).collect();
            if add {
                set.push(flag);
            }
            self.known.messages[index].1 = Some(set.join(" "));
        }
        self.run(&format!("{prefix}STORE {name} {sign}FLAGS{suffix} ({flag})"), uid).await;
    }

    async fn transfer(&mut self, command: &str, uid: bool, at: usize) {
        let Some((name, _)) = self.name(uid, at) else { return };
        let command = match name.strip_prefix("UID ") {
            Some(uid) => format!("UID {command} {uid} Archive"),
            None => format!("{command} {name} Archive"),
        };
        self.run(&command, true).await;
    }

    async fn idle(&mut self) {
        let tag = self.client.begin("IDLE").await;
        loop {
            let response = self.client.response().await;
            if response == "+ idling" {
                break;
            }
        }
        self.client.send("DONE\r\n").await;
        let answer = self.client.finish(&tag).await;
        answer.untagged.iter().for_each(|response| self.known.apply(response, true));
    }

    /// The number in the second command is from before the first.
    async fn pipelined(&mut self, at: usize) {
        let Some((number, index)) = self.name(false, at) else { return };
        let meant = self.known.messages[index].0;
        self.client.send(format!("p NOOP\r\nq FETCH {number} UID\r\n")).await;
        let first = self.client.finish("p").await;
        first.untagged.iter().for_each(|response| self.known.apply(response, true));
        let second = self.client.finish("q").await;
        second.untagged.iter().for_each(|response| self.known.apply(response, false));
        let answered =
            second.untagged.iter().find(|response| response.starts_with(&format!("{number} FETCH (UID")));
        let answered = answered.unwrap_or_else(|| panic!("{second:?}"));
        if let Some(meant) = meant {
            assert_eq!(*answered, format!("{number} FETCH (UID {meant})"));
        }
    }

    /// Everything the client knows is so.
    async fn check(&mut self, truth: &BTreeMap<u32, String>) {
        self.run("NOOP", true).await;
        let sorted = |flags: &str| {
            let mut flags: Vec<&str> = flags.split(' ').filter(|flag| !flag.is_empty()).collect();
            flags.sort_unstable();
            flags.join(" ")
        };
        assert_eq!(self.known.messages.len(), truth.len());
        for ((uid, flags), (true_uid, true_flags)) in self.known.messages.iter().zip(truth) {
            assert!(uid.is_none_or(|uid| uid == *true_uid), "UID {true_uid} is {uid:?} to the client");
            if let Some(flags) = flags {
                assert_eq!(sorted(flags), sorted(true_flags), "flags of UID {true_uid}");
            }
        }
    }
}

/// The mailbox as a client that has just come sees it.
async fn truth(world: &World) -> BTreeMap<u32, String> {
    let mut newcomer = Player::new(world).await;
    newcomer.run("UID FETCH 1:* FLAGS", false).await;
    let messages = std::mem::take(&mut newcomer.known.messages);
    messages.into_iter().map(|(uid, flags)| (uid.unwrap(), flags.unwrap())).collect()
}

async fn play(steps: Vec<(bool, Step)>) {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one"), &message("two"), &message("three")]).await;
    let mut players = [Player::new(&world).await, Player::new(&world).await];
    for (n, (who, step)) in steps.iter().enumerate() {
        players[usize::from(*who)].play(step, &world).await;
        if n % 8 == 7 {
            let truth = truth(&world).await;
            players[usize::from(!*who)].check(&truth).await;
        }
    }
    let truth = truth(&world).await;
    for player in &mut players {
        player.check(&truth).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn clients_that_follow_the_responses_agree_with_the_server(
        steps in prop::collection::vec((any::<bool>(), step()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
