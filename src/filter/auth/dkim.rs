//! DKIM (RFC 6376, RFC 8301, RFC 8463).
//!
//! A message may carry any number of signatures, and each costs a lookup and a verification; so only some are looked at, those that
//! can matter to DMARC first. What RFC 8301 forbids is not verified at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ekitei_config::Authentication;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::headers::Header;
use mail_auth::common::verify::VerifySignature as _;
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::{AuthenticatedMessage, DkimResult, Error, Parameters};

use super::answers::Answers;
use super::{Outcome, a_labels, related};

/// What is known of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dkim {
    pub(crate) outcome: Outcome,
    /// Why, in a few words; empty if it is good.
    pub(crate) reason: String,
    /// `d=`, as A-labels; empty if the signature could not be read.
    pub(crate) domain: String,
    /// `s=`.
    pub(crate) selector: String,
    /// `i=`, if there is one.
    pub(crate) identity: String,
    /// `a=`.
    pub(crate) algorithm: &'static str,
    /// The beginning of `b=`, which tells signatures of one domain apart (RFC 6008).
    pub(crate) begins: String,
}

/// The signatures of a message that are looked at, which are taken out of it; `author` is the domain of From, and those of it come first.
pub(crate) fn select<'x>(
    message: &mut AuthenticatedMessage<'x>,
    author: Option<&str>,
    limits: &Authentication,
) -> Vec<Header<'x, Signature>> {
    let most = usize::try_from(limits.max_signatures).unwrap_or(usize::MAX);
    let mut signatures = std::mem::take(&mut message.dkim_headers);
    let matters =
        |header: &Header<'_, Signature>| author.is_some_and(|author| related(&header.header.d, author));
    signatures.sort_by_key(|header| !matters(header));
    let ignored = signatures.len().saturating_sub(most);
    if ignored > 0 {
        tracing::info!(ignored, "a message has more signatures than are verified");
    }
    signatures.truncate(most);
    signatures
}

/// The names of the keys that signatures are verified with.
pub(crate) fn keys<'a>(
    signatures: &'a [Header<'_, Signature>],
    limits: &'a Authentication,
) -> impl Iterator<Item = String> + 'a {
    let acceptable = signatures.iter().filter(|header| unacceptable(&header.header, limits).is_none());
    acceptable.map(|header| header.header.domain_key())
}

/// Verifies the signatures that were selected, by what was answered of their keys.
pub(crate) async fn verify<'x>(
    answers: &Answers<'_>,
    message: &mut AuthenticatedMessage<'x>,
    signatures: Vec<Header<'x, Signature>>,
    limits: &Authentication,
) -> Vec<Dkim> {
    let most = usize::try_from(limits.max_signatures).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for header in signatures {
        let mut dkim = describe(&header.header);
        if let Some(reason) = unacceptable(&header.header, limits) {
            dkim.reason = reason.to_owned();
            dkim.outcome = Outcome::Policy;
        } else {
            message.dkim_headers = vec![header];
            (dkim.outcome, dkim.reason) = verify_one(answers, message).await;
            message.dkim_headers.clear();
        }
        found.push(dkim);
    }
    let unreadable = message.errors.iter().filter_map(|error| match &error.header {
        Error::Dkim(why) => Some(why),
        _ => None,
    });
    let room = most - found.len();
    found.extend(unreadable.take(room).map(unread));
    found
}

/// The one signature that the message has at the moment.
async fn verify_one(answers: &Answers<'_>, message: &AuthenticatedMessage<'_>) -> (Outcome, String) {
    let verified = answers.authenticator().verify_dkim(Parameters::new(message).with_txt_cache(answers));
    match tokio::time::timeout_at(answers.end(), verified).await {
        Ok(outputs) => match outputs.iter().find(|output| output.signature().is_some()) {
            Some(output) => outcome(output.result()),
            None => (Outcome::Neutral, "not verified".to_owned()),
        },
        Err(_) => (Outcome::TempError, "no answer in time".to_owned()),
    }
}

fn describe(signature: &Signature) -> Dkim {
    let begins = signature.b.get(..6).unwrap_or(&signature.b);
    Dkim {
        outcome: Outcome::Neutral,
        reason: String::new(),
        domain: a_labels(signature.domain()),
        selector: signature.s.clone(),
        identity: signature.i.clone(),
        algorithm: match signature.a {
            Algorithm::RsaSha1 => "rsa-sha1",
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        },
        begins: STANDARD.encode(begins),
    }
}

/// Why a signature is not even verified.
fn unacceptable(signature: &Signature, limits: &Authentication) -> Option<&'static str> {
    let most = usize::try_from(limits.max_signed_fields).unwrap_or(usize::MAX);
    if signature.a == Algorithm::RsaSha1 {
        Some("rsa-sha1 is not accepted")
    } else if signature.h.len() > most {
        Some("too many signed fields")
    } else if !signature.h.iter().any(|field| field.eq_ignore_ascii_case("from")) {
        Some("From is not signed")
    } else {
        None
    }
}

/// A signature that could not be read.
fn unread(why: &DkimError) -> Dkim {
    let outcome = if *why == DkimError::SignatureLength { Outcome::Policy } else { Outcome::Neutral };
    Dkim {
        outcome,
        reason: reason(&Error::Dkim(why.clone())),
        domain: String::new(),
        selector: String::new(),
        identity: String::new(),
        algorithm: "",
        begins: String::new(),
    }
}

/// In the words of RFC 8601 §2.7.1.
pub(crate) fn outcome(result: &DkimResult) -> (Outcome, String) {
    match result {
        DkimResult::Pass => (Outcome::Pass, String::new()),
        DkimResult::None => (Outcome::None, String::new()),
        // What the signer signed is not what came, or came too late.
        DkimResult::Neutral(
            error @ Error::Dkim(DkimError::FailedBodyHashMatch | DkimError::SignatureExpired),
        )
        | DkimResult::Fail(error) => (Outcome::Fail, reason(error)),
        DkimResult::Neutral(error) => (Outcome::Neutral, reason(error)),
        DkimResult::PermError(error) => (Outcome::PermError, reason(error)),
        DkimResult::TempError(error) => (Outcome::TempError, reason(error)),
    }
}

/// An error in a few words, without what came from outside.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::Crypto(_) => "the signature is not good".to_owned(),
        Error::Dns(mail_auth::DnsError::Resolver(_)) => "the key cannot be looked up now".to_owned(),
        Error::Dns(mail_auth::DnsError::RecordNotFound(_)) => "there is no key".to_owned(),
        Error::Dns(mail_auth::DnsError::InvalidRecordType) | Error::ParseError => {
            "the key is malformed".to_owned()
        }
        Error::Dkim(DkimError::FailedBodyHashMatch) => "the body was changed".to_owned(),
        Error::Dkim(DkimError::SignatureExpired) => "the signature expired".to_owned(),
        Error::Dkim(DkimError::SignatureLength) => "l= is not accepted".to_owned(),
        Error::Dkim(DkimError::RevokedPublicKey) => "the key is revoked".to_owned(),
        Error::Io(_) => "internal error".to_owned(),
        other => other.to_string(),
    }
}
