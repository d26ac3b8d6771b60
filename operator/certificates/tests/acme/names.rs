//! A name server, and the challenges that are written to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ekitei_operator_certificates::acme::{ChallengeError, ChallengeFuture, Challenges, TxtRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong with the challenges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// The second record is written, and then the answer is an error.
    SecondFails,
    /// What is written is something else.
    WrongValue,
    /// It is never seen everywhere.
    NeverVisible,
}

#[derive(Default)]
struct State {
    texts: BTreeMap<String, Vec<String>>,
    aliases: BTreeMap<String, String>,
    /// Every record that was ever written.
    written: Vec<TxtRecord>,
}

/// Records, which the name server serves and the challenges change.
pub struct Names {
    state: Arc<Mutex<State>>,
    trouble: Trouble,
    address: String,
}

impl Names {
    /// An empty zone of everything, served over TCP on the loopback.
    pub async fn serve(trouble: Trouble) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&served)));
            }
        });
        Arc::new(Self { state, trouble, address })
    }

    /// Where Pebble finds it.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn alias(&self, name: &str, target: &str) {
        self.state.lock().unwrap().aliases.insert(name.to_owned(), target.to_owned());
    }

    /// The names at which something was ever written.
    pub fn written(&self) -> Vec<String> {
        self.state.lock().unwrap().written.iter().map(|record| record.name.clone()).collect()
    }

    /// How many TXT records are there now.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().texts.values().map(Vec::len).sum()
    }
}

impl Challenges for Names {
    fn alias<'a>(&'a self, name: &'a str) -> ChallengeFuture<'a, Option<String>> {
        Box::pin(async move { Ok(self.state.lock().unwrap().aliases.get(name).cloned()) })
    }

    fn present<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.written.push(record.clone());
            let value = match self.trouble {
                Trouble::WrongValue => "something else".to_owned(),
                _ => record.value.clone(),
            };
            state.texts.entry(record.name.clone()).or_default().push(value);
            if self.trouble == Trouble::SecondFails && state.written.len() == 2 {
                return Err(ChallengeError::Unavailable {
                    detail: "the answer is lost".to_owned(),
                    after: None,
                });
            }
            Ok(())
        })
    }

    fn wait_until_visible<'a>(&'a self, _: &'a TxtRecord) -> ChallengeFuture<'a, ()> {
        Box::pin(async move {
            if self.trouble == Trouble::NeverVisible {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    fn clean_up<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            let wrong = self.trouble == Trouble::WrongValue;
            if let Some(values) = state.texts.get_mut(&record.name) {
                values.retain(|value| *value != record.value && !wrong);
            }
            Ok(())
        })
    }
}

/// Answers the questions of one connection (RFC 1035 §4.2.2), as an authoritative server of all zones would.
async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let reply = reply(&question, &state.lock().unwrap());
        let mut framed = u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(reply);
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

fn reply(question: &[u8], state: &State) -> Vec<u8> {
    let (name, end) = read_name(question);
    let mut at = name;
    let mut answers = Vec::new();
    while let Some(target) = state.aliases.get(&at) {
        answers.push(record(&at, 5, &wire(target)));
        at.clone_from(target);
    }
    for text in state.texts.get(&at).into_iter().flatten() {
        let mut data = vec![u8::try_from(text.len()).unwrap()];
        data.extend(text.as_bytes());
        answers.push(record(&at, 16, &data));
    }
    let mut reply = question[..2].to_vec();
    // A response, authoritative, without error; one question, these answers, nothing else.
    reply.extend([0x84, 0x00, 0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
    reply.extend(&question[12..end + 4]);
    answers.iter().for_each(|answer| reply.extend(answer));
    reply
}

/// The name of the question, and where it ends.
fn read_name(message: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + length]).to_ascii_lowercase());
        at += length + 1;
    }
    (labels.join("."), at + 1)
}

fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn record(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut record = wire(name);
    record.extend([0, kind, 0, 1, 0, 0, 0, 1]);
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}
