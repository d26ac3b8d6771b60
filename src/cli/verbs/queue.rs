//! `ekitei queue`

use clap::{Args, Subcommand, ValueEnum};
use ekitei_api::{
    Client, PageQuery, QueueAction, QueueEntry, QueueFilter, QueueOrder, QueueState, QueueStatistics,
    QueuedMessage, RecipientState, SuppressedAddress,
};
use ekitei_config::Duration;
use std::io::Write;

use super::all_pages;
use crate::cli::exit::{Context, Failure, Outcome};
use crate::cli::output::{self, Columns, Format, or_dash, size, time, yes_no};

/// Entries listed, if nothing else is said.
const LIMIT: usize = 1_000;

/// What to do with the queue.
#[derive(Subcommand)]
pub enum Verb {
    /// List what waits, in the order of arrival.
    List {
        #[command(flatten)]
        filter: FilterOptions,
        /// At most so many.
        #[arg(long, default_value_t = LIMIT)]
        limit: usize,
    },
    /// Show a message: its envelope, every recipient with what became of it, and why it waits.
    Show {
        /// The id of the message, or of an entry.
        id: String,
        /// Its header instead.
        #[arg(long, conflicts_with = "raw")]
        header: bool,
        /// The whole message instead, octet for octet.
        #[arg(long)]
        raw: bool,
    },
    /// Do not send, until it is released.
    Hold(Selection),
    /// Send what was held.
    Release(Selection),
    /// Try now what waits for its next attempt. What is held stays held.
    Retry(Selection),
    /// Return to the senders.
    Bounce(Selection),
    /// Remove, and tell nobody.
    Delete(Selection),
    /// Show figures, and the destinations that most waits for.
    Stats {
        /// So many destinations.
        #[arg(long, default_value_t = 10)]
        top: usize,
    },
    /// Addresses that mail is not sent to for a while, since it kept failing.
    #[command(subcommand)]
    Suppressed(SuppressedVerb),
}

/// What to do with suppressed addresses.
#[derive(Subcommand)]
pub enum SuppressedVerb {
    /// List them.
    List,
    /// Let mail go to an address again.
    Remove {
        /// The address.
        address: String,
    },
}

/// Which entries: by their ids, or all that fit.
#[derive(Args)]
pub struct Selection {
    /// Entries, or messages with all their entries.
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterOptions,
    /// All there is.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// Which entries; all that is given has to fit.
#[derive(Args)]
pub struct FilterOptions {
    /// The sender: an address, @domain, or <>.
    #[arg(long)]
    sender: Option<String>,
    /// A recipient that still waits: an address, or @domain.
    #[arg(long)]
    recipient: Option<String>,
    /// The destination domain.
    #[arg(long)]
    destination: Option<String>,
    /// The last failure: an enhanced status code or its beginning (4.4.), a reply code, a category (greylisted), or some of its text.
    #[arg(long)]
    error: Option<String>,
    /// In the queue for at least so long, as 30m or 2d.
    #[arg(long, value_name = "AGE")]
    older_than: Option<Duration>,
    /// In the queue for less than that.
    #[arg(long, value_name = "AGE")]
    newer_than: Option<Duration>,
    /// Where it waits.
    #[arg(long)]
    state: Option<State>,
    /// The account that submitted it, by address or number.
    #[arg(long)]
    account: Option<String>,
}

/// Where an entry waits.
#[derive(Clone, Copy, ValueEnum)]
enum State {
    /// To be tried as soon as may be, or being tried.
    Active,
    /// For its next attempt.
    Deferred,
    /// Held by an administrator.
    Held,
}

impl From<FilterOptions> for QueueFilter {
    fn from(options: FilterOptions) -> Self {
        Self {
            sender: options.sender,
            recipient: options.recipient,
            destination: options.destination,
            error: options.error,
            older_than: options.older_than.map(|age| age.as_secs()),
            newer_than: options.newer_than.map(|age| age.as_secs()),
            state: options.state.map(|state| match state {
                State::Active => QueueState::Active,
                State::Deferred => QueueState::Deferred,
                State::Held => QueueState::Held,
            }),
            account: options.account,
        }
    }
}

impl Columns for QueueEntry {
    const HEAD: &'static [&'static str] =
        &["ID", "RECEIVED", "SIZE", "SENDER", "RECIPIENTS", "STATE", "TRIES", "NEXT", "REASON"];

    fn cells(&self) -> Vec<String> {
        let waiting: Vec<&str> = waiting(self).collect();
        let recipients = match waiting[..] {
            [] => self.destination.clone(),
            [one] => one.to_owned(),
            [first, ..] => format!("{first} and {} more", waiting.len() - 1),
        };
        vec![
            self.id.clone(),
            time(self.received),
            size(Some(self.size)),
            sender(&self.sender),
            recipients,
            state(self.state).to_owned(),
            self.attempts.to_string(),
            self.next_attempt.map_or_else(|| "-".to_owned(), time),
            self.reason.clone(),
        ]
    }
}

fn waiting(entry: &QueueEntry) -> impl Iterator<Item = &str> {
    let waits = |recipient: &&ekitei_api::QueueRecipient| recipient.state == RecipientState::Waiting;
    entry.recipients.iter().filter(waits).map(|recipient| recipient.address.as_str())
}

fn sender(reverse_path: &str) -> String {
    if reverse_path.is_empty() { "<>" } else { reverse_path }.to_owned()
}

fn state(state: QueueState) -> &'static str {
    match state {
        QueueState::Active => "active",
        QueueState::Deferred => "deferred",
        QueueState::Held => "held",
    }
}

impl Columns for QueuedMessage {
    const HEAD: &'static [&'static str] = &[
        "ID",
        "SENDER",
        "RECEIVED",
        "SIZE",
        "RET",
        "ENVID",
        "PRIORITY",
        "DELIVER BY",
        "REQUIRE TLS",
        "SMTPUTF8",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            sender(&self.sender),
            time(self.received),
            size(Some(self.size)),
            or_dash(self.ret.as_ref()),
            or_dash(self.envelope_id.as_ref()),
            self.priority.to_string(),
            self.deliver_by.map_or_else(|| "-".to_owned(), time),
            yes_no(self.require_tls),
            yes_no(self.smtputf8),
        ]
    }
}

impl Columns for SuppressedAddress {
    const HEAD: &'static [&'static str] = &["ADDRESS", "BOUNCES", "LAST", "UNTIL", "SAID"];

    fn cells(&self) -> Vec<String> {
        let (last, until) = (time(self.last), time(self.until));
        vec![self.address.clone(), self.bounces.to_string(), last, until, self.text.clone()]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List { filter, limit } => list(client, format, &filter.into(), limit).await,
        Verb::Show { id, header, raw } if header || raw => {
            let octets = client.queued_octets(&id, header).await?;
            std::io::stdout().lock().write_all(&octets).context("standard output")
        }
        Verb::Show { id, .. } => show(format, &client.queued_message(&id).await?),
        Verb::Hold(selection) => order(client, format, QueueAction::Hold, selection).await,
        Verb::Release(selection) => order(client, format, QueueAction::Release, selection).await,
        Verb::Retry(selection) => order(client, format, QueueAction::Retry, selection).await,
        Verb::Bounce(selection) => order(client, format, QueueAction::Bounce, selection).await,
        Verb::Delete(selection) => order(client, format, QueueAction::Delete, selection).await,
        Verb::Stats { top } => statistics(format, &client.queue_statistics(top).await?),
        Verb::Suppressed(SuppressedVerb::List) => {
            let list = async |page| client.list_suppressed(&page).await;
            format.list(&all_pages(None, list).await?)
        }
        Verb::Suppressed(SuppressedVerb::Remove { address }) => {
            client.delete_suppressed(&address).await?;
            format.done(&format!("mail goes to {address} again"))
        }
    }
}

async fn list(client: &Client, format: Format, filter: &QueueFilter, limit: usize) -> Outcome {
    let mut page = PageQuery::default();
    let mut entries = Vec::new();
    loop {
        page.limit = Some((limit - entries.len()).clamp(1, LIMIT));
        let found = client.list_queue(filter, &page).await?;
        entries.extend(found.items);
        page.after = found.next;
        if page.after.is_none() || entries.len() >= limit {
            break;
        }
    }
    let more = page.after.is_some() && entries.len() >= limit;
    entries.truncate(limit);
    format.list(&entries)?;
    if more && format == Format::Table {
        output::print("... and more: --limit shows more, stats the figures\n")?;
    }
    Ok(())
}

fn show(format: Format, message: &QueuedMessage) -> Outcome {
    format.show(message)?;
    if format == Format::Json {
        return Ok(());
    }
    let mut text = String::new();
    for entry in &message.entries {
        let next =
            entry.next_attempt.map_or_else(String::new, |next| format!(", next attempt {}", time(next)));
        let last = entry.last_attempt.map_or_else(String::new, |last| format!(", last one {}", time(last)));
        text.push_str(&format!(
            "\n{}  {}  {}{next}\n  {} attempts{last}\n  {}\n",
            entry.id,
            entry.destination,
            state(entry.state),
            entry.attempts,
            entry.reason,
        ));
        for recipient in &entry.recipients {
            let state = match recipient.state {
                RecipientState::Waiting => "waits",
                RecipientState::Sent => "sent",
                RecipientState::Failed => "returned",
            };
            let at = recipient.at.map_or_else(String::new, |at| format!(" {}", time(at)));
            text.push_str(&format!("  {}: {state}{at}\n", recipient.address));
            if let Some(failure) = &recipient.failure {
                let code = failure.code.map_or_else(String::new, |code| format!("{code} "));
                let remote = failure.remote.as_deref().map_or_else(String::new, |r| format!(" ({r})"));
                let category = failure.category.as_deref().map_or_else(String::new, |c| format!("{c}: "));
                text.push_str(&format!("    {category}{code}{} {}{remote}\n", failure.status, failure.text));
            }
            if let Some(reply) = &recipient.reply {
                text.push_str(&format!("    {reply}\n"));
            }
        }
    }
    output::print(&text)
}

/// Does something to a selection, in as many requests as it takes.
async fn order(client: &Client, format: Format, action: QueueAction, selection: Selection) -> Outcome {
    let filter = QueueFilter::from(selection.filter);
    let is_filtered = filter != QueueFilter::default() || selection.all;
    if is_filtered != selection.ids.is_empty() {
        return Err(Failure::usage("give ids, or options that say which entries, or --all"));
    }
    let mut changed = 0;
    if is_filtered {
        let mut order = QueueOrder { action, ids: Vec::new(), filter: Some(filter), after: None };
        loop {
            let done = client.order_queue(&order).await?;
            changed += done.changed;
            order.after = done.next;
            if order.after.is_none() {
                break;
            }
        }
    } else {
        for ids in selection.ids.chunks(LIMIT) {
            let order = QueueOrder { action, ids: ids.to_vec(), filter: None, after: None };
            changed += client.order_queue(&order).await?.changed;
        }
    }
    let what = match action {
        QueueAction::Hold => "held",
        QueueAction::Release => "released",
        QueueAction::Retry => "to be tried now",
        QueueAction::Bounce => "to be returned",
        QueueAction::Delete => "deleted",
    };
    match format {
        Format::Json => output::json(&serde_json::json!({ "changed": changed })),
        Format::Table => output::print(&format!("{changed} entries are {what}\n")),
    }
}

fn statistics(format: Format, figures: &QueueStatistics) -> Outcome {
    if format == Format::Json {
        return output::json(figures);
    }
    let mut text = format!(
        "messages      {}\nsize          {}\nentries       {} active, {} deferred, {} held\ndestinations  {}\noldest        {}\n",
        figures.messages,
        size(Some(figures.bytes)),
        figures.entries.active,
        figures.entries.deferred,
        figures.entries.held,
        figures.destinations,
        figures.oldest.map_or_else(|| "-".to_owned(), time),
    );
    for one in &figures.top {
        let of = one.entries;
        let line = format!(
            "  {}: {} active, {} deferred, {} held\n",
            one.destination, of.active, of.deferred, of.held
        );
        text.push_str(&line);
    }
    output::print(&text)
}
