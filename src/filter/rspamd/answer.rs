//! What rspamd answers to `/checkv2`: JSON, of which only what changes mail is read.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::scan::ScanError;

/// What rspamd wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `no action`
    NoAction,
    /// `greylist`
    Greylist,
    /// `add header`
    AddHeader,
    /// `rewrite subject`
    RewriteSubject,
    /// `soft reject`
    SoftReject,
    /// `reject`
    Reject,
    /// `quarantine`, or `reject` that is to be one.
    Quarantine,
    /// `discard`, or `reject` that is to be one.
    Discard,
    /// One that the operator of rspamd made.
    Other,
}

impl Action {
    fn parse(name: &str) -> Self {
        // Old versions write underscores.
        match name.replace('_', " ").as_str() {
            "no action" | "accept" => Self::NoAction,
            "greylist" => Self::Greylist,
            "add header" => Self::AddHeader,
            "rewrite subject" => Self::RewriteSubject,
            "soft reject" => Self::SoftReject,
            "reject" => Self::Reject,
            "quarantine" => Self::Quarantine,
            "discard" => Self::Discard,
            _ => Self::Other,
        }
    }

    /// The name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoAction => "no action",
            Self::Greylist => "greylist",
            Self::AddHeader => "add header",
            Self::RewriteSubject => "rewrite subject",
            Self::SoftReject => "soft reject",
            Self::Reject => "reject",
            Self::Quarantine => "quarantine",
            Self::Discard => "discard",
            Self::Other => "other",
        }
    }
}

/// Where a field is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end of the header.
    End,
    /// Before the field with this number, from 0; -1 is the end, and less is counted back from there.
    At(i64),
}

/// A field to put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where.
    pub place: Place,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What is to be done.
    pub action: Action,
    /// The score, for the log.
    pub score: f64,
    /// The new subject.
    pub subject: Option<String>,
    /// What the client is to be told.
    pub message: Option<String>,
    /// Fields to remove: their name, and which: all for 0, from 1 for the top, from -1 for the end.
    pub removed: Vec<(String, i64)>,
    /// Fields to add.
    pub added: Vec<Added>,
    /// Values of DKIM-Signature.
    pub dkim_signatures: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    action: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    messages: Option<Map<String, Value>>,
    #[serde(default)]
    milter: Milter,
    #[serde(default, rename = "dkim-signature")]
    dkim_signature: Value,
}

#[derive(Default, Deserialize)]
struct Milter {
    #[serde(default)]
    add_headers: Map<String, Value>,
    #[serde(default)]
    remove_headers: Map<String, Value>,
    #[serde(default)]
    reject: Option<String>,
}

impl Answer {
    /// Reads an answer with at most `max_changes` fields to add and remove.
    ///
    /// # Errors
    /// [`ScanError::Nonsense`]
    pub fn parse(body: &[u8], max_changes: u32) -> Result<Self, ScanError> {
        let raw: Raw =
            serde_json::from_slice(body).map_err(|error| ScanError::Nonsense(error.to_string()))?;
        let action = match (Action::parse(&raw.action), raw.milter.reject.as_deref()) {
            (Action::Reject, Some("quarantine")) => Action::Quarantine,
            (Action::Reject, Some("discard")) => Action::Discard,
            (action, _) => action,
        };
        let message = raw.messages.as_ref().and_then(|messages| messages.get("smtp_message")?.as_str());
        let added: Vec<Added> = raw.milter.add_headers.iter().flat_map(additions).collect();
        let removed: Vec<(String, i64)> = raw.milter.remove_headers.iter().flat_map(removals).collect();
        let dkim_signatures = texts(&raw.dkim_signature);
        let changes = added.len() + removed.len() + dkim_signatures.len();
        if changes > usize::try_from(max_changes).unwrap_or(usize::MAX) {
            return Err(ScanError::Nonsense(format!("{changes} fields to change")));
        }
        Ok(Self {
            action,
            score: raw.score,
            subject: raw.subject,
            message: message.map(str::to_owned),
            removed,
            added,
            dkim_signatures,
        })
    }
}

/// The elements of a list, or the value itself.
fn each(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        other => std::slice::from_ref(other),
    }
}

fn texts(value: &Value) -> Vec<String> {
    each(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `"value"`, `{"value": "value", "order": 0}`, or a list of them.
fn additions<'a>((name, value): (&'a String, &'a Value)) -> impl Iterator<Item = Added> + 'a {
    each(value).iter().filter_map(move |item| {
        let text = item.as_str().or_else(|| item.get("value")?.as_str())?;
        let place = item.get("order").and_then(Value::as_i64).map_or(Place::End, Place::At);
        Some(Added { name: name.clone(), value: text.to_owned(), place })
    })
}

/// A number, or a list of them.
fn removals<'a>((name, value): (&'a String, &'a Value)) -> impl Iterator<Item = (String, i64)> + 'a {
    each(value).iter().filter_map(move |item| Some((name.clone(), item.as_i64()?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Answer {
        Answer::parse(json.as_bytes(), 100).unwrap()
    }

    #[test]
    fn actions_are_known_by_name() {
        let action = |name: &str| parse(&format!(r#"{{"action":"{name}"}}"#)).action;
        assert_eq!(action("no action"), Action::NoAction);
        assert_eq!(action("soft reject"), Action::SoftReject);
        assert_eq!(action("add_header"), Action::AddHeader);
        assert_eq!(action("my own"), Action::Other);
        let milter = |reject: &str| {
            parse(&format!(r#"{{"action":"reject","milter":{{"reject":"{reject}"}}}}"#)).action
        };
        assert_eq!(milter("quarantine"), Action::Quarantine);
        assert_eq!(milter("discard"), Action::Discard);
        assert_eq!(milter(""), Action::Reject);
    }

    #[test]
    fn fields_come_in_every_form_that_rspamd_writes() {
        let answer = parse(
            r#"{"action":"no action","score":-1.5,"subject":"New","messages":{"smtp_message":"Later"},
            "dkim-signature":["a","b"],"milter":{
              "add_headers":{"A":"1","B":{"value":"2","order":0},"C":["3",{"value":"4","order":-1}],"D":{"order":1}},
              "remove_headers":{"X":0,"Y":[1,-1],"Z":"no"}}}"#,
        );
        let added: Vec<_> =
            answer.added.iter().map(|f| (f.name.as_str(), f.value.as_str(), f.place)).collect();
        assert_eq!(
            added,
            [
                ("A", "1", Place::End),
                ("B", "2", Place::At(0)),
                ("C", "3", Place::End),
                ("C", "4", Place::At(-1))
            ]
        );
        let removed: Vec<_> = answer.removed.iter().map(|(name, nth)| (name.as_str(), *nth)).collect();
        assert_eq!(removed, [("X", 0), ("Y", 1), ("Y", -1)]);
        assert_eq!(answer.dkim_signatures, ["a", "b"]);
        assert_eq!((answer.subject.as_deref(), answer.message.as_deref()), (Some("New"), Some("Later")));
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        let many: String = (0..101).map(|n| format!(r#""X{n}":"y","#)).collect();
        let many = format!(
            r#"{{"action":"no action","milter":{{"add_headers":{{{}}}}}}}"#,
            many.trim_end_matches(',')
        );
        for text in
            ["", "{}", "[]", r#"{"action":1}"#, "<html>", r#"{"error":"no"}"#, &many, &"[".repeat(100_000)]
        {
            assert!(
                matches!(Answer::parse(text.as_bytes(), 100), Err(ScanError::Nonsense(_))),
                "{:.60}",
                text
            );
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Answer::parse(&octets, 100);
        }
    }
}
