//! Programs that scan messages: rspamd, clamd, milters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::{ByteSize, Duration, Endpoint, Secret};

section! {
    /// Programs that scan messages. Milters come first, in their order, each with what the ones before it changed; then clamd and rspamd at the
    /// same time.
    pub struct Scanners {
        /// rspamd.
        rspamd: Rspamd = Rspamd::default(),
        /// clamd.
        clamd: Clamd = Clamd::default(),
        /// Milters, in the order in which they are asked.
        milters: Vec<Milter> = Vec::new(),
    }
}

/// What becomes of a message that a scanner cannot be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScannerFailure {
    /// It goes on as if there were no such scanner.
    Accept,
    /// `451 4.7.1`: the client tries again later.
    #[default]
    Tempfail,
    /// `550 5.7.1`.
    Reject,
}

/// What becomes of a message that a scanner objects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Objection {
    /// It is delivered; the scanner's fields are in its header.
    Tag,
    /// It is delivered to the mailbox for junk.
    Junk,
    /// `550 5.7.1`.
    #[default]
    Reject,
    /// It is accepted and dropped.
    Discard,
}

/// What becomes of a message that rspamd wants greylisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GreylistAction {
    /// It goes on: rspamd's own greylisting asks for `soft reject` as long as the client has to wait.
    #[default]
    Accept,
    /// `451 4.7.1`, every time.
    Tempfail,
}

section! {
    /// rspamd, asked over HTTP (`/checkv2`).
    pub struct Rspamd {
        /// Its normal or proxy workers. The next one is asked when one does not answer. Empty: rspamd is not asked.
        servers: Vec<Endpoint> = Vec::new(),
        /// The password, if the worker wants one.
        password: Option<Secret> = None,
        /// Which of rspamd's settings apply (Settings-ID); empty for its own choice.
        settings_id: String = String::new(),
        /// Whether messages that users submit are scanned too.
        submissions: bool = true,
        /// What becomes of a message when no server answers.
        on_failure: ScannerFailure = ScannerFailure::Accept,
        /// What `reject` comes to.
        on_reject: Objection = Objection::Reject,
        /// What `add header` comes to.
        on_add_header: Objection = Objection::Junk,
        /// What `rewrite subject` comes to, besides the new subject.
        on_rewrite_subject: Objection = Objection::Junk,
        /// What `greylist` comes to.
        on_greylist: GreylistAction = GreylistAction::Accept,
        /// The field that is set to `Yes` in messages that `add header` is for; fields of that name that come in are removed. Empty for none.
        spam_header: String = "X-Spam".to_owned(),
        /// Whether a DKIM-Signature that rspamd makes is put into the message.
        dkim_signature: bool = false,
        /// Larger messages are not scanned.
        max_message_size: ByteSize = ByteSize::mib(50),
        /// The largest answer; a larger one is a failure.
        max_answer_size: ByteSize = ByteSize::mib(1),
        /// The most fields that an answer may add or remove; more are a failure.
        max_header_changes: u32 = 100,
        /// How long one server may take to accept a connection.
        connect_timeout: Duration = Duration::seconds(3),
        /// How long all of it may take, over all servers.
        timeout: Duration = Duration::seconds(60),
        /// Learning from what users move into and out of their mailbox for junk.
        learning: RspamdLearning = RspamdLearning::default(),
    }
}

section! {
    /// Learning from what users move into and out of their mailbox for junk, or flag `$Junk` or `$NotJunk`.
    pub struct RspamdLearning {
        /// rspamd's controller workers (`/learnspam`, `/learnham`). Empty: nothing is learned.
        controllers: Vec<Endpoint> = Vec::new(),
        /// The controller's password.
        password: Option<Secret> = None,
        /// Messages that wait to be learned; what comes when there are as many is not learned.
        #[schemars(range(min = 1))]
        queue: u32 = 1000,
        /// Messages that are learned from one command; the others of a larger command are not.
        #[schemars(range(min = 1))]
        max_messages_per_command: u32 = 100,
        /// Larger messages are not learned.
        max_message_size: ByteSize = ByteSize::mib(2),
        /// The largest answer; a larger one is a failure.
        max_answer_size: ByteSize = ByteSize::kib(64),
        /// How long one controller may take to accept a connection.
        connect_timeout: Duration = Duration::seconds(3),
        /// How long one attempt may take, over all controllers.
        timeout: Duration = Duration::seconds(30),
        /// How often one message is tried while no controller can be reached, or they fail in a way that may pass; what they refuse for good, such as
        /// with 401, is not tried again. The messages behind it wait.
        #[schemars(range(min = 1))]
        attempts: u32 = 5,
        /// The pause before the second attempt; each one after is twice as long.
        retry_delay: Duration = Duration::seconds(1),
        /// No pause is longer.
        max_retry_delay: Duration = Duration::seconds(30),
    }
}

section! {
    /// clamd, asked with INSTREAM.
    pub struct Clamd {
        /// Where it listens. The next one is asked when one does not answer. Empty: clamd is not asked.
        servers: Vec<Endpoint> = Vec::new(),
        /// Whether messages that users submit are scanned too.
        submissions: bool = true,
        /// What becomes of a message when no server answers.
        on_failure: ScannerFailure = ScannerFailure::Tempfail,
        /// What becomes of a message with a virus; `550 5.7.1` names it.
        on_virus: Objection = Objection::Reject,
        /// What becomes of a message that is too large or too deep to be scanned: above `maxMessageSize`, above clamd's StreamMaxLength, or one that
        /// clamd reports as `Heuristics.Limits.Exceeded` (its AlertExceedsMax).
        on_limit: ScannerFailure = ScannerFailure::Accept,
        /// Larger messages are not sent to clamd. It should be clamd's StreamMaxLength.
        max_message_size: ByteSize = ByteSize::mib(50),
        /// How much of a message is in one chunk.
        chunk_size: ByteSize = ByteSize::kib(256),
        /// The longest answer; a longer one is a failure.
        max_answer_size: ByteSize = ByteSize::kib(4),
        /// How long one server may take to accept a connection.
        connect_timeout: Duration = Duration::seconds(3),
        /// How long all of it may take, over all servers.
        timeout: Duration = Duration::minutes(2),
    }
}

section! {
    /// A program that speaks the milter protocol.
    pub struct Milter {
        /// Its name in logs and metrics; empty for its address.
        name: String = String::new(),
        /// Where it listens.
        address: Option<Endpoint> = None,
        /// Whether it is asked about messages that users submit too.
        submissions: bool = true,
        /// What becomes of commands and messages when it does not answer, or answers what makes no sense.
        on_failure: ScannerFailure = ScannerFailure::Tempfail,
        /// How long it may take to accept a connection.
        connect_timeout: Duration = Duration::seconds(5),
        /// How long it may take for one answer before the end of the message.
        timeout: Duration = Duration::seconds(30),
        /// How long it may take for all its answers to the end of a message; what it says of its progress does not make it longer.
        message_timeout: Duration = Duration::minutes(5),
        /// The most octets of changes to one message, a new body included; more are a failure.
        max_changes_size: ByteSize = ByteSize::mib(64),
        /// The most changes to one message, pieces of a new body apart; more are a failure.
        max_changes: u32 = 1000,
    }
}
