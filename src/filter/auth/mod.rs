//! Whose mail it is: reverse names, EHLO, SPF, DKIM, ARC and DMARC. Each check says what it found; what follows from it is decided in
//! `policy`.
//!
//! No check waits longer than its deadline: what is not known by then is `temperror`.

pub(crate) mod answers;
pub(crate) mod arc;
pub(crate) mod authors;
pub(crate) mod dkim;
pub(crate) mod dmarc;
pub(crate) mod hello;
pub(crate) mod iprev;
mod policy_record;
pub(crate) mod sender;

/// What a check came to, in the words of RFC 8601 §2.7. SPF has words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was nothing to check.
    None,
    Pass,
    Fail,
    /// It may be good, but is not what we accept.
    Policy,
    Neutral,
    TempError,
    PermError,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// A domain in lower case as A-labels, without the last dot.
pub(crate) fn a_labels(domain: &str) -> String {
    // Other dots become dots on the way.
    mail_auth::common::to_a_label(domain).trim_end_matches('.').to_owned()
}

/// Whether one is the other, or below it.
pub(crate) fn related(one: &str, other: &str) -> bool {
    let below = |name: &str, parent: &str| {
        name.len() > parent.len()
            && name.is_char_boundary(name.len() - parent.len())
            && name[..name.len() - parent.len()].ends_with('.')
            && name[name.len() - parent.len()..].eq_ignore_ascii_case(parent)
    };
    one.eq_ignore_ascii_case(other) || below(one, other) || below(other, one)
}
