//! DKIM signatures (RFC 6376, RFC 8463).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ekitei_directory::Domain;
use mail_auth::common::crypto::{HashContext as _, HashImpl as _, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

use crate::error::Result;
use crate::fields::{Field, Message, Selection};
use crate::key::SigningKey;
use crate::tags::{TagField, Unsigned};

/// Octets of a body that are hashed before other tasks get their turn: a fraction of a millisecond.
const PIECE: usize = 64 * 1024;

/// The hash of the relaxed body (RFC 6376 §3.4.4) in base64, for `bh=`: the same for all signatures of a message.
pub(crate) async fn body_hash(body: &[u8]) -> String {
    let mut hasher = BodyHasher::new(Sha256::hasher(), Canonicalization::Relaxed, 0);
    for (index, piece) in body.chunks(PIECE).enumerate() {
        if index > 0 {
            tokio::task::yield_now().await;
        }
        hasher.write(piece);
    }
    BASE64.encode(hasher.finish().0.complete())
}

/// Which moment a signature is of, and until when it holds, in seconds since the epoch.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    pub(crate) at: u64,
    pub(crate) until: Option<u64>,
}

/// The tags that DKIM-Signature and ARC-Message-Signature share, in an order that verifiers are used to.
pub(crate) fn message_tags(
    field: &mut TagField,
    key: &SigningKey,
    domain: &Domain,
    validity: Validity,
    selection: &Selection,
    body_hash: &str,
) {
    field.tag("a", key.algorithm().tag());
    field.tag("c", "relaxed/relaxed");
    field.tag("d", domain.as_ascii());
    field.tag("s", &key.selector);
    field.tag("t", validity.at);
    if let Some(until) = validity.until {
        field.tag("x", until);
    }
    field.names(&selection.names);
    field.tag("bh", body_hash);
}

/// Signs `before`, which is canonical already, and the field itself.
pub(crate) fn finish(key: &SigningKey, before: &[u8], field: Unsigned) -> Result<String> {
    let mut text = before.to_vec();
    for field in Message::parse(field.text().as_bytes()).fields {
        Field::relaxed(&field, &mut text);
    }
    let signature = key.sign(&text)?;
    Ok(field.signed(&BASE64.encode(signature)))
}

/// A DKIM-Signature field with its line end.
pub(crate) fn signature(
    key: &SigningKey,
    domain: &Domain,
    validity: Validity,
    selection: &Selection,
    body_hash: &str,
) -> Result<String> {
    let mut field = TagField::new("DKIM-Signature");
    field.tag("v", 1);
    message_tags(&mut field, key, domain, validity, selection, body_hash);
    finish(key, &selection.canonical, field.unsigned())
}
