//! One milter during one connection: what it is told, what it thinks, and what happens when it is not there.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::Milter;
use tokio::time::Instant;

use super::codec::{Answer, Change, Command, Reply, Stage, steps};
use super::connection::Connection;
use super::content::{Changes, tell_content};
use super::macros::Facts;
use crate::Refusal;
use crate::edit::Message;
use crate::scan::{Peer, ScanError, ScanMetrics, refusal_on_failure};

/// How long it may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a milter thinks of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opinion {
    /// Go on.
    Continue,
    /// The step is refused.
    Refuse(Refusal),
    /// The connection is to end.
    Disconnect(Refusal),
    /// The message is to be dropped.
    Discard,
}

/// Where the milter is.
enum State {
    /// No connection: there was none yet, or it is lost.
    Away,
    /// It is asked.
    Open(Box<Connection>),
    /// It wants to hear no more of this connection.
    Content,
    /// It refused the connection: whatever the client says, this is the answer.
    Refused(Refusal),
}

/// What the milter knows of the current message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing.
    Nothing,
    /// It was told of MAIL, and is asked on.
    Asked,
    /// It was told of MAIL, and wants to hear no more of it.
    Satisfied,
    /// It was lost on the way.
    Missed,
}

/// One milter.
pub(super) struct Session {
    config: Arc<Milter>,
    /// Its name in logs and metrics.
    label: String,
    metrics: ScanMetrics,
    state: State,
    told: Told,
    /// What its answers since the last message have cost.
    spent: Duration,
}

/// The client's commands.
struct Step<'a> {
    stage: Stage,
    command: Command<'a>,
    /// Bits of [`steps`]: it is left out, and it is not answered.
    left_out: u32,
    unanswered: u32,
}

impl Session {
    pub(super) fn new(config: Arc<Milter>, metrics: ScanMetrics) -> Self {
        let address = config.address.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = if config.name.is_empty() { &address } else { &config.name };
        let label = format!("milter:{name}");
        Self { config, label, metrics, state: State::Away, told: Told::Nothing, spent: Duration::ZERO }
    }

    /// Tells it of the connection. A milter that is not there is asked again when a message begins, and only then missed.
    pub(super) async fn connect(&mut self, peer: &Peer) -> Opinion {
        match self.open(peer).await {
            Ok(opinion) => self.counted(opinion),
            Err(error) => {
                self.lose(&error);
                Opinion::Continue
            }
        }
    }

    /// Tells it of EHLO.
    pub(super) async fn hello(&mut self, peer: &Peer) -> Opinion {
        match self.say_hello(peer).await {
            Ok(opinion) => self.counted(opinion),
            Err(error) => {
                self.lose(&error);
                Opinion::Continue
            }
        }
    }

    /// Tells it of MAIL.
    pub(super) async fn sender(&mut self, facts: &Facts<'_>, parameters: &[String]) -> Opinion {
        self.reset();
        if facts.peer.client.authenticated && !self.config.submissions {
            return Opinion::Continue;
        }
        let opinion = self.begin(facts, parameters).await;
        self.settle(opinion)
    }

    async fn begin(&mut self, facts: &Facts<'_>, parameters: &[String]) -> Result<Opinion, ScanError> {
        if matches!(self.state, State::Away) {
            let mut opinion = self.open(facts.peer).await?;
            if opinion == Opinion::Continue {
                opinion = self.say_hello(facts.peer).await?;
            }
            if opinion != Opinion::Continue {
                return Ok(opinion);
            }
        }
        match &self.state {
            State::Open(_) => self.told = Told::Asked,
            State::Refused(refusal) => return Ok(Opinion::Refuse(refusal.clone())),
            State::Away | State::Content => return Ok(Opinion::Continue),
        }
        let path = format!("<{}>", facts.address);
        let command = Command::Mail(&path, parameters);
        self.say(
            facts,
            Step { stage: Stage::Mail, command, left_out: steps::NO_MAIL, unanswered: steps::NO_REPLY_MAIL },
        )
        .await
    }

    /// Tells it of RCPT.
    pub(super) async fn recipient(&mut self, facts: &Facts<'_>, parameters: &[String]) -> Opinion {
        if self.told != Told::Asked {
            return self.unasked();
        }
        let path = format!("<{}>", facts.address);
        let command = Command::Rcpt(&path, parameters);
        let step =
            Step { stage: Stage::Rcpt, command, left_out: steps::NO_RCPT, unanswered: steps::NO_REPLY_RCPT };
        let opinion = self.say(facts, step).await;
        self.settle(opinion)
    }

    /// Tells it of DATA.
    pub(super) async fn data(&mut self, facts: &Facts<'_>) -> Opinion {
        // DATA came with version 4.
        let speaks = matches!(&self.state, State::Open(connection) if connection.version() >= 4);
        if self.told != Told::Asked || !speaks {
            return self.unasked();
        }
        let step = Step {
            stage: Stage::Data,
            command: Command::Data,
            left_out: steps::NO_DATA,
            unanswered: steps::NO_REPLY_DATA,
        };
        let opinion = self.say(facts, step).await;
        self.settle(opinion)
    }

    /// Tells it of the message; its opinion, and the changes that it asks for if the message goes on.
    pub(super) async fn message(&mut self, facts: &Facts<'_>, message: &Message) -> (Opinion, Vec<Change>) {
        if self.told != Told::Asked {
            return (self.unasked(), Vec::new());
        }
        let start = Instant::now();
        let mut changes = Changes::new(Arc::clone(&self.config));
        let result = self.exchange(facts, message, &mut changes).await;
        self.spent += start.elapsed();
        self.metrics.cost(&self.label, std::mem::take(&mut self.spent));
        match result {
            Ok(opinion) => {
                let changes = changes.into_list();
                self.metrics.verdict(&self.label, verdict(&opinion, &changes));
                (opinion, changes)
            }
            Err(error) => (self.miss(&error), Vec::new()),
        }
    }

    async fn exchange(
        &mut self,
        facts: &Facts<'_>,
        message: &Message,
        changes: &mut Changes,
    ) -> Result<Opinion, ScanError> {
        let deadline = Instant::now() + self.config.message_timeout.get();
        let State::Open(connection) = &mut self.state else { return Ok(Opinion::Continue) };
        if let Some(early) = tell_content(connection, &self.config, facts, message, deadline).await? {
            // What it asked for counts only if it heard all.
            return self.understand(Stage::EndOfHeader, early);
        }
        connection.queue_macros(Stage::EndOfMessage, facts);
        connection.queue(&Command::EndOfMessage);
        loop {
            match connection.verdict(deadline).await? {
                Answer::Change(change) => changes.push(connection, change)?,
                last => return self.understand(Stage::EndOfMessage, last),
            }
        }
    }

    /// The message ends, or is not to be.
    pub(super) fn reset(&mut self) {
        if let (State::Open(connection), true) = (&mut self.state, self.told != Told::Nothing) {
            connection.queue(&Command::Abort);
        }
        self.told = Told::Nothing;
    }

    /// The connection ends.
    pub(super) async fn quit(&mut self) {
        if let State::Open(mut connection) = std::mem::replace(&mut self.state, State::Content) {
            connection.queue(&Command::Quit);
            // It learns the same from the end of the connection.
            let _ = connection.flush(Instant::now() + FAREWELL).await;
        }
    }

    async fn open(&mut self, peer: &Peer) -> Result<Opinion, ScanError> {
        let Some(address) = &self.config.address else {
            self.state = State::Content;
            return Ok(Opinion::Continue);
        };
        self.state = State::Open(Box::new(Connection::open(&self.config, address).await?));
        let unknown = format!("[{}]", peer.client.address.to_canonical());
        let name = peer.name.as_deref().unwrap_or(&unknown);
        let command = Command::Connect { name, address: peer.client.address, port: peer.port };
        let facts = Facts { peer, id: "", address: "" };
        let (left_out, unanswered) = (steps::NO_CONNECT, steps::NO_REPLY_CONNECT);
        let opinion = self.say(&facts, Step { stage: Stage::Connect, command, left_out, unanswered }).await?;
        if let Opinion::Refuse(refusal) = &opinion {
            self.state = State::Refused(refusal.clone());
        }
        Ok(opinion)
    }

    async fn say_hello(&mut self, peer: &Peer) -> Result<Opinion, ScanError> {
        if let State::Refused(refusal) = &self.state {
            return Ok(Opinion::Refuse(refusal.clone()));
        }
        if peer.hello.is_empty() {
            return Ok(Opinion::Continue);
        }
        let facts = Facts { peer, id: "", address: "" };
        let command = Command::Hello(&peer.hello);
        let (left_out, unanswered) = (steps::NO_HELLO, steps::NO_REPLY_HELLO);
        self.say(&facts, Step { stage: Stage::Hello, command, left_out, unanswered }).await
    }

    /// Tells it of one step, with the step's macros, and hears what it thinks.
    async fn say(&mut self, facts: &Facts<'_>, step: Step<'_>) -> Result<Opinion, ScanError> {
        let State::Open(connection) = &mut self.state else { return Ok(Opinion::Continue) };
        if connection.agreed(step.left_out) {
            return Ok(Opinion::Continue);
        }
        connection.queue_macros(step.stage, facts);
        connection.queue(&step.command);
        let deadline = Instant::now() + self.config.timeout.get();
        if connection.agreed(step.unanswered) {
            connection.flush_if_full(deadline).await?;
            return Ok(Opinion::Continue);
        }
        let start = Instant::now();
        let answer = connection.verdict(deadline).await;
        self.spent += start.elapsed();
        self.understand(step.stage, answer?)
    }

    /// What an answer means.
    fn understand(&mut self, stage: Stage, answer: Answer) -> Result<Opinion, ScanError> {
        if stage == Stage::EndOfMessage {
            // It has forgotten the message with its answer.
            self.told = Told::Nothing;
        }
        Ok(match answer {
            Answer::Continue => Opinion::Continue,
            Answer::Accept => {
                match stage {
                    Stage::Connect | Stage::Hello => self.state = State::Content,
                    Stage::EndOfMessage => {}
                    _ => self.told = Told::Satisfied,
                }
                Opinion::Continue
            }
            Answer::Discard => Opinion::Discard,
            Answer::Reject => Opinion::Refuse(Refusal::new(550, "5.7.1", "Refused by a filter")),
            Answer::Tempfail => {
                Opinion::Refuse(Refusal::new(451, "4.7.1", "Refused by a filter for now, try again later"))
            }
            Answer::Shutdown => Opinion::Disconnect(Refusal::new(421, "4.7.0", "Closing the connection")),
            Answer::Reply(reply) if reply.code == 421 => Opinion::Disconnect(refusal(reply)),
            Answer::Reply(reply) => Opinion::Refuse(refusal(reply)),
            Answer::Negotiated(_) | Answer::Skip | Answer::Progress | Answer::Change(_) => {
                return Err(ScanError::Nonsense(format!("an answer that does not belong to {stage:?}")));
            }
        })
    }

    /// The opinion on a step, or what stands for it if the milter failed.
    fn settle(&mut self, opinion: Result<Opinion, ScanError>) -> Opinion {
        match opinion {
            Ok(opinion) => self.counted(opinion),
            Err(error) => self.miss(&error),
        }
    }

    /// Counts an opinion that ends something before the message.
    fn counted(&self, opinion: Opinion) -> Opinion {
        if opinion != Opinion::Continue {
            self.metrics.verdict(&self.label, verdict(&opinion, &[]));
        }
        opinion
    }

    /// The connection is of no use any more.
    fn lose(&mut self, error: &ScanError) {
        self.metrics.failure(&self.label, error);
        self.state = State::Away;
        self.told = Told::Nothing;
    }

    /// What stands for the opinion of a milter that failed, now and for the rest of the message.
    fn miss(&mut self, error: &ScanError) -> Opinion {
        self.lose(error);
        self.told = Told::Missed;
        self.unasked()
    }

    /// The opinion on a step that it is not asked about.
    fn unasked(&self) -> Opinion {
        match (self.told, refusal_on_failure(self.config.on_failure)) {
            (Told::Missed, Some(refusal)) => Opinion::Refuse(refusal),
            _ => Opinion::Continue,
        }
    }
}

/// A milter's reply in our words: control characters gone, and an enhanced status code where it has none.
fn refusal(reply: Reply) -> Refusal {
    let enhanced = reply.enhanced.unwrap_or_else(|| format!("{}.7.1", reply.code / 100));
    let text = if reply.text.is_empty() { "Refused by a filter" } else { &reply.text };
    Refusal::new(reply.code, enhanced, text)
}

/// The name of an opinion in metrics.
fn verdict(opinion: &Opinion, changes: &[Change]) -> &'static str {
    match opinion {
        Opinion::Refuse(refusal) | Opinion::Disconnect(refusal) if refusal.is_temporary() => "tempfail",
        Opinion::Refuse(_) | Opinion::Disconnect(_) => "reject",
        Opinion::Discard => "discard",
        Opinion::Continue if changes.iter().any(|change| matches!(change, Change::Quarantine(_))) => {
            "quarantine"
        }
        Opinion::Continue if !changes.is_empty() => "change",
        Opinion::Continue => "accept",
    }
}
