//! The outgoing queue: what waits, why, and what is to become of it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ekitei_api::{
    Page, Problem, ProblemCode, QueueAction, QueueDestination, QueueDone, QueueEntry, QueueFailure,
    QueueFigures, QueueFilter, QueueOrder, QueueRecipient, QueueState, QueueStatistics, QueuedMessage,
    RecipientState, SuppressedAddress,
};
use ekitei_queue::{self as queue, EntryId, Listed, QueueId, Schedule, Spool};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Paging, accounts, convert};
use crate::extract::{Json, Path, Query};
use crate::problem::{Refused, Result};
use crate::state::AppState;

/// Objects on a page, if the client does not say.
const PAGE: usize = 100;
/// Destinations in the figures, if the client does not say, and at most.
const TOP: usize = 10;
const MAX_TOP: usize = 1_000;
/// Octets of a message that are read at once.
const PIECE: u64 = 256 << 10;
/// The longest header that is shown.
const MAX_HEADER: u64 = 256 << 10;

/// Which entries, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueQuery {
    /// The reverse-path: an address, `@domain`, or `<>`.
    sender: Option<String>,
    /// A recipient that still waits: an address, or `@domain`.
    recipient: Option<String>,
    /// The destination domain.
    destination: Option<String>,
    /// The last failure: an enhanced status code or its beginning (`4.4.`), a reply code, a category, or some of its text.
    error: Option<String>,
    /// In the queue for at least so many seconds.
    older_than: Option<u64>,
    /// In the queue for less than so many seconds.
    newer_than: Option<u64>,
    /// Where it waits.
    #[param(inline)]
    state: Option<QueueState>,
    /// Who submitted it, by address or number.
    account: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Entries on the page: 100 if absent, at most 1000. A page may have less, and still a `next`.
    limit: Option<usize>,
}

/// What waits, in the order of arrival.
#[utoipa::path(get, path = "/api/v1/queue", tag = "queue", params(QueueQuery), responses(
    (status = 200, description = "A page of entries.", body = Page<QueueEntry>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(query): Query<QueueQuery>,
) -> Result<axum::Json<Page<QueueEntry>>> {
    let after = query.after.as_deref().map(entry_id).transpose()?;
    let limit = query.limit.unwrap_or(PAGE);
    let filter = QueueFilter {
        sender: query.sender,
        recipient: query.recipient,
        destination: query.destination,
        error: query.error,
        older_than: query.older_than,
        newer_than: query.newer_than,
        state: query.state,
        account: query.account,
    };
    let page = state.parts.queue.list(&to_filter(&state, filter).await?, after, limit).await?;
    let items = page.items.iter().map(entry).collect();
    Ok(axum::Json(Page { items, next: page.next.map(|next| next.to_string()) }))
}

/// A message, with what is left of it in the queue.
#[utoipa::path(get, path = "/api/v1/queue/{id}", tag = "queue",
    params(("id" = String, Path, description = "The id of the message, or of one of its entries.")), responses(
    (status = 200, description = "The message.", body = QueuedMessage),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<axum::Json<QueuedMessage>> {
    let id = message_id(&id)?;
    let listed = state.parts.queue.show(id).await?;
    let message = listed.first().map(|first| &first.message).ok_or(queue::Error::NotFound)?;
    let envelope = &message.envelope;
    let ret = envelope.ret.map(|ret| match ret {
        queue::Return::Full => "FULL".to_owned(),
        queue::Return::Headers => "HDRS".to_owned(),
    });
    Ok(axum::Json(QueuedMessage {
        id: id.to_string(),
        sender: envelope.reverse_path.clone().unwrap_or_default(),
        ret,
        envelope_id: envelope.envelope_id.clone(),
        require_tls: envelope.require_tls,
        smtputf8: envelope.smtputf8,
        priority: envelope.priority,
        deliver_by: envelope.deliver_by.map(|by| by.deadline),
        received: message.received.as_secs(),
        size: message.size,
        entries: listed.iter().map(entry).collect(),
    }))
}

/// How much of a message.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OctetsQuery {
    /// Its header only, with the empty line.
    #[serde(default)]
    header: bool,
}

/// A queued message, octet for octet.
#[utoipa::path(get, path = "/api/v1/queue/{id}/octets", tag = "queue", params(
    ("id" = String, Path, description = "The id of the message, or of one of its entries."),
    OctetsQuery,
), responses(
    (status = 200, description = "The message.", body = Vec<u8>, content_type = "message/rfc822"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn octets(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<OctetsQuery>,
) -> Result<Response> {
    let message = state.parts.queue.message(message_id(&id)?).await?;
    let spool = state.parts.queue.spool().clone();
    let body = if query.header {
        let mut head = spool.read(&message, 0..MAX_HEADER).await?;
        let end = memchr::memmem::find(&head, b"\r\n\r\n").map_or(head.len(), |end| end + 4);
        head.truncate(end);
        Body::from(head)
    } else {
        stream_message(spool, message)
    };
    Ok(([(CONTENT_TYPE, "message/rfc822")], body).into_response())
}

/// The octets of a message piece by piece, as fast as the client takes them.
fn stream_message(spool: Spool, message: queue::MessageRow) -> Body {
    let pieces = stream::try_unfold((spool, message, 0), |(spool, message, at)| async move {
        let piece = spool.read(&message, at..at + PIECE).await?;
        let next = at + piece.len() as u64;
        Ok::<_, queue::Error>((!piece.is_empty()).then_some((piece, (spool, message, next))))
    });
    Body::from_stream(pieces)
}

/// Hold, release, retry, bounce or delete entries. With a filter, each request does it to some of them; go on with `after` while there is a
/// `next`. May be repeated.
#[utoipa::path(post, path = "/api/v1/queue/orders", tag = "queue", request_body = QueueOrder, responses(
    (status = 200, description = "What was done.", body = QueueDone),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn order(
    State(state): State<AppState>,
    Json(order): Json<QueueOrder>,
) -> Result<axum::Json<QueueDone>> {
    let action = match order.action {
        QueueAction::Hold => queue::Action::Hold,
        QueueAction::Release => queue::Action::Release,
        QueueAction::Retry => queue::Action::Retry,
        QueueAction::Bounce => queue::Action::Bounce,
        QueueAction::Delete => queue::Action::Delete,
    };
    let queue = &state.parts.queue;
    let done = match order.filter {
        Some(filter) if order.ids.is_empty() => {
            let after = order.after.as_deref().map(entry_id).transpose()?;
            let acted = queue.act_where(action, &to_filter(&state, filter).await?, after).await?;
            QueueDone { changed: acted.changed, next: acted.next.map(|next| next.to_string()) }
        }
        None if !order.ids.is_empty() && order.ids.len() <= queue::MAX_PAGE => {
            let mut entries = Vec::with_capacity(order.ids.len());
            for id in &order.ids {
                match EntryId::parse(id) {
                    Some(id) => entries.push(id),
                    None => entries.extend(queue.show(message_id(id)?).await?.iter().map(|one| one.id)),
                }
            }
            QueueDone { changed: queue.act(action, &entries).await?, next: None }
        }
        _ => return Err(Refused::invalid("give either a filter or some ids, at most 1000")),
    };
    Ok(axum::Json(done))
}

/// How many destinations.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatisticsQuery {
    /// Destinations to show: 10 if absent, at most 1000.
    top: Option<usize>,
}

/// Figures of the queue.
#[utoipa::path(get, path = "/api/v1/queue/statistics", tag = "queue", params(StatisticsQuery), responses(
    (status = 200, description = "Figures.", body = QueueStatistics),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn statistics(
    State(state): State<AppState>,
    Query(query): Query<StatisticsQuery>,
) -> Result<axum::Json<QueueStatistics>> {
    let found = state.parts.queue.statistics(query.top.unwrap_or(TOP).min(MAX_TOP)).await?;
    let figures =
        |of: queue::Figures| QueueFigures { active: of.active, deferred: of.deferred, held: of.held };
    let top = found.top.into_iter();
    let top = top.map(|one| QueueDestination { destination: one.destination, entries: figures(one.figures) });
    Ok(axum::Json(QueueStatistics {
        messages: found.messages,
        bytes: found.bytes,
        entries: figures(found.figures),
        oldest: found.oldest.map(|oldest| oldest.as_secs()),
        destinations: found.destinations,
        top: top.collect(),
    }))
}

/// Addresses that mail is not sent to for a while, in their order.
#[utoipa::path(get, path = "/api/v1/suppressed", tag = "queue", params(Paging), responses(
    (status = 200, description = "A page of addresses.", body = Page<SuppressedAddress>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_suppressed(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<SuppressedAddress>>> {
    let limit = paging.limit.unwrap_or(PAGE);
    let (found, next) = state.parts.queue.suppressions(paging.after.as_deref(), limit).await?;
    let items = found.into_iter().map(|one| SuppressedAddress {
        address: one.address,
        bounces: one.bounces,
        last: one.last.as_secs(),
        until: one.until.as_secs(),
        text: one.text,
    });
    Ok(axum::Json(Page { items: items.collect(), next }))
}

/// Let mail go to an address again, and forget its failures.
#[utoipa::path(delete, path = "/api/v1/suppressed/{address}", tag = "queue", params(("address" = String, Path)), responses(
    (status = 204, description = "It is not suppressed any more."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_suppressed(
    State(state): State<AppState>,
    Path(address): Path<String>,
) -> Result<StatusCode> {
    match state.parts.queue.unsuppress(&convert::address(&address)?).await {
        Err(queue::Error::NotFound) => {
            Err(Refused::new(ProblemCode::NotFound, format!("{address} is not suppressed")))
        }
        done => Ok(done.map(|()| StatusCode::NO_CONTENT)?),
    }
}

async fn to_filter(state: &AppState, filter: QueueFilter) -> Result<queue::Filter> {
    let account = match &filter.account {
        // Mail of an account that was removed meanwhile is still found by its number.
        Some(named) => Some(match named.parse() {
            Ok(number) => ekitei_directory::AccountId::new(number),
            Err(_) => accounts::find(state, named).await?.id,
        }),
        None => None,
    };
    Ok(queue::Filter {
        sender: filter.sender,
        recipient: filter.recipient,
        destination: filter.destination,
        error: filter.error,
        older_than: filter.older_than.map(Duration::from_secs),
        newer_than: filter.newer_than.map(Duration::from_secs),
        state: filter.state.map(|state| match state {
            QueueState::Active => queue::State::Active,
            QueueState::Deferred => queue::State::Deferred,
            QueueState::Held => queue::State::Held,
        }),
        account,
    })
}

fn entry_id(text: &str) -> Result<EntryId> {
    EntryId::parse(text).ok_or_else(|| Refused::invalid(format!("{text:?} is not the id of an entry")))
}

/// The message that an id names, its own or that of an entry.
fn message_id(text: &str) -> Result<QueueId> {
    let id = EntryId::parse(text).map(|id| id.message).or_else(|| QueueId::parse(text));
    id.ok_or_else(|| Refused::invalid(format!("{text:?} is not the id of a message in the queue")))
}

fn entry(listed: &Listed) -> QueueEntry {
    let Listed { id, message, entry } = listed;
    let (state, next_attempt) = match entry.schedule {
        Schedule::Fresh => (QueueState::Active, None),
        Schedule::At(due) => (QueueState::Deferred, Some(due.as_secs())),
        Schedule::Held => (QueueState::Held, None),
    };
    QueueEntry {
        id: id.to_string(),
        sender: message.envelope.reverse_path.clone().unwrap_or_default(),
        destination: entry.destination.clone(),
        recipients: entry.recipients.iter().map(recipient).collect(),
        state,
        reason: listed.reason(),
        attempts: entry.attempts,
        last_attempt: entry.last_attempt.map(|at| at.as_secs()),
        next_attempt,
        received: message.received.as_secs(),
        size: message.size,
        origin: origin(message.origin).to_owned(),
        account: message.account.map(ekitei_directory::AccountId::get),
    }
}

fn origin(origin: queue::Origin) -> &'static str {
    match origin {
        queue::Origin::Submission => "submission",
        queue::Origin::Relay => "relay",
        queue::Origin::Forward => "forward",
        queue::Origin::Notification => "notification",
        queue::Origin::Report => "report",
        queue::Origin::Delivered => "delivered",
        queue::Origin::Expanded => "expanded",
    }
}

fn recipient(row: &queue::RecipientRow) -> QueueRecipient {
    let address = row.recipient.address.clone();
    let waiting =
        QueueRecipient { address, state: RecipientState::Waiting, failure: None, reply: None, at: None };
    match &row.state {
        queue::RecipientState::Waiting { last } => {
            QueueRecipient { failure: last.as_ref().map(failure), ..waiting }
        }
        queue::RecipientState::Sent { remote, reply, at } => QueueRecipient {
            state: RecipientState::Sent,
            reply: Some(format!("{remote}: {reply}")),
            at: Some(at.as_secs()),
            ..waiting
        },
        queue::RecipientState::Failed { failure: why, at } => QueueRecipient {
            state: RecipientState::Failed,
            failure: Some(failure(why)),
            at: Some(at.as_secs()),
            ..waiting
        },
    }
}

fn failure(failure: &queue::Failure) -> QueueFailure {
    QueueFailure {
        status: failure.status.to_string(),
        code: failure.code,
        category: Some(queue::Category::of(failure).as_str().to_owned()),
        text: failure.text.clone(),
        remote: failure.remote.clone(),
    }
}
