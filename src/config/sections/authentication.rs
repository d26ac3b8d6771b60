//! Checks of who a client is and whose mail it brings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::Duration;

section! {
    /// SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 9989), ARC (RFC 8617) and reverse names (RFC 8601 §3) of mail that comes to port 25 from
    /// clients that are not in `smtp.trustedNetworks`.
    pub struct Authentication {
        /// Whether anything is checked.
        enabled: bool = true,
        /// Whether SPF is checked.
        spf: bool = true,
        /// Whether DKIM signatures are verified.
        dkim: bool = true,
        /// Whether DMARC is evaluated; without SPF and DKIM it can only fail, so they should be on.
        dmarc: bool = true,
        /// Whether chains of ARC are verified.
        arc: bool = true,
        /// Whether the name of a client's address has to lead back to the address.
        iprev: bool = true,
        /// How long each check may take; what is not known by then is `temperror`.
        time_limit: Duration = Duration::seconds(20),
        /// What follows from a lookup that failed for the moment, where a policy could depend on it.
        on_temporary_error: TemporaryError = TemporaryError::Continue,
        /// The most signatures of one message that are verified; those of the author's domain first.
        max_signatures: u32 = 10,
        /// The most fields that one signature may name (`h=`); one that names more is not verified: `dkim=policy`.
        max_signed_fields: u32 = 200,
        /// The most sets of an ARC chain; a longer one fails (RFC 8617 §5.1.2 allows 50).
        #[schemars(range(max = 50))]
        max_arc_sets: u32 = 20,
        /// The most lookups of one SPF check that may find nothing; `permerror` above it (RFC 7208 §4.6.4).
        max_void_lookups: u32 = 2,
        /// Domains whose ARC seals are believed: if such a host saw DMARC pass, it counts although it fails here.
        trusted_sealers: Vec<String> = Vec::new(),
        /// Whether Received-SPF (RFC 7208 §9.1) is written besides Authentication-Results.
        received_spf: bool = false,
        /// Whether Authentication-Results of mail that users submit says who logged in (`auth=pass smtp.auth=`).
        name_login: bool = false,
    }
}

/// What follows from a failed lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TemporaryError {
    /// The result is `temperror`, and nothing follows from it.
    #[default]
    Continue,
    /// The client has to come again: `451 4.7.24` for SPF, `451 4.4.3` for DMARC.
    Tempfail,
}

/// What becomes of a message that the filter could not judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterFailure {
    /// The client has to come again: `451 4.7.0`.
    #[default]
    Tempfail,
    /// It is taken as if nothing had been found out.
    Pass,
}

section! {
    /// What is expected of the name that a client gives in EHLO or HELO.
    pub struct HelloChecks {
        /// A name that is neither a full host name nor an address in brackets (RFC 5321 §4.1.3).
        malformed: HelloAction = HelloAction::Tag,
        /// An address in brackets that is not the client's.
        wrong_address: HelloAction = HelloAction::Reject,
        /// Any address in brackets.
        literal: HelloAction = HelloAction::Off,
        /// The name of this host, or the bare address of one, from a client that is another.
        own_name: HelloAction = HelloAction::Reject,
        /// A name with no address in the DNS.
        unresolvable: HelloAction = HelloAction::Off,
    }
}

/// What follows from a name in EHLO that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HelloAction {
    /// It is not looked at.
    #[default]
    Off,
    /// It is noted in the message and counts `policy.scores.hello`.
    Tag,
    /// EHLO is answered with `550 5.7.1`.
    Reject,
}

/// What becomes of a message for something that was found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterAction {
    /// It is only told in Authentication-Results.
    #[default]
    Observe,
    /// It is noted in the field X-Ekitei-Filter, which users' rules may look for.
    Tag,
    /// The message goes to the mailbox for junk.
    Quarantine,
    /// The message is refused.
    Reject,
}

section! {
    /// What follows from what was found out about a message. Scores of what failed, of DNS lists, and of EHLO are added up.
    pub struct FilterPolicy {
        /// DMARC failed, and the owner of the domain asks for `reject`; `550 5.7.26`.
        dmarc_reject: FilterAction = FilterAction::Reject,
        /// DMARC failed, and the owner asks for `quarantine`.
        dmarc_quarantine: FilterAction = FilterAction::Quarantine,
        /// From names authors in several domains, one of which has a policy of DMARC: such a message cannot be checked (RFC 9989), so
        /// spammers like it; `550 5.7.1`.
        several_authors: FilterAction = FilterAction::Reject,
        /// From is not there or names nobody, so that there is nobody to ask; `550 5.6.0`.
        no_author: FilterAction = FilterAction::Tag,
        /// SPF failed (`-all`), and DMARC did not pass; `550 5.7.23`.
        spf_fail: FilterAction = FilterAction::Observe,
        /// There are signatures and none is good; `550 5.7.20`. RFC 6376 §6.3 advises against it: they break on the way.
        dkim_fail: FilterAction = FilterAction::Observe,
        /// The name of the client's address does not lead back to it, or it has none; `550 5.7.25`.
        iprev_fail: FilterAction = FilterAction::Observe,
        /// What each finding counts.
        scores: FilterScores = FilterScores::default(),
        /// The sum of scores at which a message goes to the mailbox for junk. `0` is never.
        junk_score: u32 = 6,
        /// The sum of scores at which a message is refused, `550 5.7.1`. `0` is never.
        reject_score: u32 = 0,
    }
}

section! {
    /// Scores; negative ones speak for a message. What DNS lists count is in `dnsLists`.
    pub struct FilterScores {
        /// SPF failed and DMARC did not pass.
        spf_fail: i32 = 3,
        /// SPF failed softly and DMARC did not pass.
        spf_soft_fail: i32 = 1,
        /// There are signatures, and none is good.
        dkim_fail: i32 = 1,
        /// DMARC failed, whatever the owner asks for.
        dmarc_fail: i32 = 2,
        /// DMARC passed.
        dmarc_pass: i32 = -1,
        /// The reverse name fails.
        iprev_fail: i32 = 1,
        /// A check of EHLO says `tag`.
        hello: i32 = 2,
    }
}

/// The policy of one domain of ours, for mail to it. `domain` is required; keys of `policy` that are left out have their defaults, not what `filter.policy` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainPolicy {
    /// The domain, as A-labels in lower case.
    pub domain: String,
    /// What follows for mail to it.
    #[serde(default)]
    pub policy: FilterPolicy,
}
