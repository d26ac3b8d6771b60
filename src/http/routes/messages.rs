//! Mailboxes and messages: looking at them, taking mail in, and giving it out.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use ekitei_api::{ImportQuery, Imported, Mailbox, Message, Page, Problem, ProblemCode};
use ekitei_directory::{AccountId, PageRequest};
use ekitei_mailstore::{
    self as mailstore, Entry, Flags, Keywords, MailStore, MailboxName, MessageId, NewMessage, Uid,
};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::accounts;
use crate::extract::{Path, Query, message_body, patiently, read_body};
use crate::problem::{Refused, Result};
use crate::state::AppState;

/// Octets of a message that are read at once.
const PIECE: u64 = 256 << 10;

/// System flags as IMAP writes them.
const SYSTEM_FLAGS: [(&str, Flags); 5] = [
    ("\\Seen", Flags::SEEN),
    ("\\Answered", Flags::ANSWERED),
    ("\\Flagged", Flags::FLAGGED),
    ("\\Deleted", Flags::DELETED),
    ("\\Draft", Flags::DRAFT),
];

/// The mailboxes of an account with their counters.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/mailboxes", tag = "mail",
    params(("account" = String, Path, description = "Its address or number.")), responses(
    (status = 200, description = "All of them.", body = Page<Mailbox>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_mailboxes(
    State(state): State<AppState>,
    Path(account): Path<String>,
) -> Result<axum::Json<Page<Mailbox>>> {
    let id = accounts::find(&state, &account).await?.id;
    let store = &state.parts.mailstore;
    let mut items = Vec::new();
    for mailbox in store.mailboxes(id).await? {
        match store.status(id, mailbox.id).await {
            Ok(status) => items.push(describe(&mailbox, &status)),
            // Deleted since it was listed.
            Err(mailstore::Error::NoSuchMailbox) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(axum::Json(Page { items, next: None }))
}

fn describe(mailbox: &mailstore::Mailbox, status: &mailstore::Status) -> Mailbox {
    Mailbox {
        name: mailbox.name.to_string(),
        special_use: mailbox.special_use.map(|special| format!("\\{special:?}")),
        messages: status.messages,
        unseen: status.unseen,
        deleted: status.deleted,
        size: status.size,
        uid_next: status.uid_next.get(),
        uid_validity: status.uid_validity,
    }
}

/// Which mailbox, and which page of its messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailboxPaging {
    /// The mailbox; `INBOX` if absent.
    mailbox: Option<String>,
    /// The `next` of the page before.
    after: Option<u32>,
    /// Messages on the page: 100 if absent, at most 1000.
    limit: Option<usize>,
}

/// Messages of a mailbox in the order of their UIDs.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/messages", tag = "mail",
    params(("account" = String, Path, description = "Its address or number."), MailboxPaging), responses(
    (status = 200, description = "A page of messages.", body = Page<Message>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Path(account): Path<String>,
    Query(paging): Query<MailboxPaging>,
) -> Result<axum::Json<Page<Message>>> {
    let id = accounts::find(&state, &account).await?.id;
    let name = mailbox_name(paging.mailbox.as_deref())?;
    let snapshot = snapshot(&state.parts.mailstore, id, &name).await?;
    let after = paging.after.unwrap_or(0);
    let first = snapshot.entries.partition_point(|entry| entry.uid.get() <= after);
    let limit = paging.limit.unwrap_or(PageRequest::DEFAULT_LIMIT).clamp(1, PageRequest::MAX_LIMIT);
    let rest = &snapshot.entries[first..];
    let items: Vec<Message> = rest.iter().take(limit).map(message).collect();
    let next = if rest.len() > limit { items.last().map(|last| last.uid.to_string()) } else { None };
    Ok(axum::Json(Page { items, next }))
}

fn message(entry: &Entry) -> Message {
    let system = SYSTEM_FLAGS.iter().filter(|(_, flag)| entry.flags.contains(*flag)).map(|(name, _)| *name);
    Message {
        uid: entry.uid.get(),
        flags: system.chain(entry.keywords.iter()).map(str::to_owned).collect(),
        received: u64::try_from(entry.received).unwrap_or(0),
        size: entry.size,
    }
}

/// Put a message into a mailbox. Lines that end in LF alone throughout are given CRLF; apart from that every octet is kept.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/messages", tag = "mail",
    params(("account" = String, Path, description = "Its address or number."), ImportQuery),
    request_body(content = Vec<u8>, content_type = "message/rfc822", description = "The whole message (RFC 5322)."), responses(
    (status = 201, description = "Where it is.", body = Imported),
    (status = 413, description = "It is larger than admin.maxImportSize.", body = Problem, content_type = "application/problem+json"),
    (status = 507, description = "The account is over its quota.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn import(
    State(state): State<AppState>,
    Path(account): Path<String>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<(StatusCode, axum::Json<Imported>)> {
    let id = accounts::find(&state, &account).await?.id;
    let name = mailbox_name(query.mailbox.as_deref())?;
    let (flags, keywords) = parse_flags(&query.flags)?;
    let busy = |_| Refused::new(ProblemCode::Unavailable, "the service is stopping");
    let _turn = state.imports.acquire().await.map_err(busy)?;
    let config = state.parts.live.load();
    let request = patiently(request, config.admin.request_timeout.get());
    let body = read_body(request, config.admin.max_import_size).await?;
    if body.is_empty() {
        return Err(Refused::invalid("the message is empty"));
    }
    let store = &state.parts.mailstore;
    let mailbox = match store.mailbox(id, &name).await? {
        Some(mailbox) => mailbox.id,
        None if query.create => store.create_mailbox(id, &name, None).await?.id,
        None => return Err(mailstore::Error::NoSuchMailbox.into()),
    };
    let message = NewMessage {
        message: with_crlf(body),
        flags,
        keywords,
        received: query.received.map(Duration::from_secs),
    };
    let quota = state.parts.directory.quota(id).await?;
    let appended = store.append(id, mailbox, vec![message], Some(quota)).await?;
    let uid = appended.uids.first().map_or(0, |uid| uid.get());
    Ok((StatusCode::CREATED, axum::Json(Imported { uid_validity: appended.uid_validity, uid })))
}

/// Which mailbox.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct InMailbox {
    /// The mailbox; `INBOX` if absent.
    mailbox: Option<String>,
}

/// A whole message, octet for octet.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/messages/{uid}", tag = "mail", params(
    ("account" = String, Path, description = "Its address or number."),
    ("uid" = u32, Path),
    InMailbox,
), responses(
    (status = 200, description = "The message.", body = Vec<u8>, content_type = "message/rfc822"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn export(
    State(state): State<AppState>,
    Path((account, uid)): Path<(String, u32)>,
    Query(InMailbox { mailbox }): Query<InMailbox>,
) -> Result<Response> {
    let id = accounts::find(&state, &account).await?.id;
    let store = state.parts.mailstore.clone();
    let snapshot = snapshot(&store, id, &mailbox_name(mailbox.as_deref())?).await?;
    let index = Uid::new(uid).and_then(|uid| snapshot.position(uid));
    let Some(entry) = index.map(|index| &snapshot.entries[index]) else {
        return Err(Refused::new(ProblemCode::NotFound, format!("there is no message with UID {uid}")));
    };
    Ok(message_body(stream_message(store, id, entry.message, entry.size), entry.size))
}

/// The octets of a message piece by piece, as fast as the client takes them.
fn stream_message(store: MailStore, account: AccountId, message: MessageId, size: u64) -> Body {
    let pieces = stream::try_unfold(0, move |offset| {
        let store = store.clone();
        async move {
            if offset >= size {
                return Ok::<_, mailstore::Error>(None);
            }
            let piece = store.read(account, message, offset..offset.saturating_add(PIECE)).await?;
            let next = if piece.is_empty() { size } else { offset + piece.len() as u64 };
            Ok(Some((piece, next)))
        }
    });
    Body::from_stream(pieces)
}

async fn snapshot(
    store: &MailStore,
    account: AccountId,
    name: &MailboxName,
) -> Result<std::sync::Arc<mailstore::Snapshot>> {
    let mailbox = store.mailbox(account, name).await?.ok_or(mailstore::Error::NoSuchMailbox)?;
    Ok(store.view(account, mailbox.id).await?.refresh().await?)
}

fn mailbox_name(text: Option<&str>) -> Result<MailboxName> {
    text.map_or_else(|| Ok(MailboxName::inbox()), |text| MailboxName::new(text).map_err(Refused::invalid))
}

/// Reads flags as IMAP writes them, separated by spaces.
fn parse_flags(text: &str) -> Result<(Flags, Keywords)> {
    let mut flags = Flags::NONE;
    let mut keywords = Vec::new();
    for name in text.split_ascii_whitespace() {
        match SYSTEM_FLAGS.iter().find(|(system, _)| system.eq_ignore_ascii_case(name)) {
            Some((_, flag)) => flags = flags.union(*flag),
            None if is_keyword(name) => keywords.push(name),
            None => return Err(Refused::invalid(format!("{name} is neither a system flag nor a keyword"))),
        }
    }
    Ok((flags, keywords.into_iter().collect()))
}

/// An atom of RFC 9051 §9.
fn is_keyword(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte))
}

/// Gives CRLF to a message all of whose lines end in LF alone, as files on Unix do.
fn with_crlf(message: Bytes) -> Bytes {
    if message.contains(&b'\r') || !message.contains(&b'\n') {
        return message;
    }
    let lines = message.iter().filter(|&&byte| byte == b'\n').count();
    let mut converted = Vec::with_capacity(message.len() + lines);
    for &byte in &message {
        if byte == b'\n' {
            converted.push(b'\r');
        }
        converted.push(byte);
    }
    converted.into()
}
