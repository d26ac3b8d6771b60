//! What is told to the part that reports to domains' owners: one outcome for each message that DMARC was evaluated for (RFC 9990 §3.1).

use std::net::IpAddr;
use std::time::Duration;

/// Collects the outcomes of DMARC.
pub trait DmarcReporter: Send + Sync + 'static {
    /// Takes an outcome. Called at the end of each message, so it may neither wait nor fail: it hands the outcome to a task of its own.
    fn report(&self, outcome: DmarcOutcome);
}

/// One message, as the owner of its author's domain is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmarcOutcome {
    /// When, as the time since the epoch.
    pub time: Duration,
    /// The client's address.
    pub source: IpAddr,
    /// The domain of From, lower case, A-labels.
    pub header_from: String,
    /// The domain of MAIL; `None` for the null reverse-path.
    pub envelope_from: Option<String>,
    /// The domain of the first recipient.
    pub envelope_to: Option<String>,
    /// The policy that was found.
    pub policy: PublishedPolicy,
    /// What was done with the message because of it.
    pub disposition: EvaluatedDisposition,
    /// Which mechanisms passed with an aligned identifier.
    pub aligned: AlignedResults,
    /// Why `disposition` is not what the policy asks for.
    pub reasons: Vec<PolicyOverride>,
    /// The results of DKIM before alignment, at most those that were evaluated.
    pub dkim: Vec<DkimIdentity>,
    /// The result of SPF before alignment; `None` if it was not checked.
    pub spf: Option<SpfIdentity>,
}

/// `policy_published`: the record as its owner wrote it, not what the test mode makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPolicy {
    /// Where the record was found: the author's domain, its organizational domain, or a public suffix.
    pub domain: String,
    /// `p`: `none`, `quarantine` or `reject`.
    pub p: &'static str,
    /// `sp`, or what it defaults to.
    pub sp: &'static str,
    /// `np`, or what it defaults to.
    pub np: &'static str,
    /// `adkim=s`.
    pub strict_dkim: bool,
    /// `aspf=s`.
    pub strict_spf: bool,
    /// `t=y`.
    pub testing: bool,
    /// `fo`, such as `0` or `d:s`.
    pub failure_options: &'static str,
    /// `rua`: the address of each `mailto:` URI, with the most octets that it takes, 0 for any. Never empty: nothing is told to who wants no reports.
    pub rua: Vec<(String, u64)>,
}

/// `policy_evaluated/disposition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluatedDisposition {
    /// `pass`: DMARC passed.
    Pass,
    /// `none`.
    None,
    /// `quarantine`.
    Quarantine,
    /// `reject`.
    Reject,
}

impl EvaluatedDisposition {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// `policy_evaluated/dkim` and `spf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedResults {
    /// A signature of an aligned domain is good.
    pub dkim: bool,
    /// SPF passed for an aligned domain.
    pub spf: bool,
}

/// `policy_evaluated/reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOverride {
    /// `type`.
    pub reason: OverrideReason,
    /// `comment`, for people.
    pub comment: String,
}

/// The types of reasons (RFC 9990 §3.1.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideReason {
    /// `local_policy`.
    LocalPolicy,
    /// `mailing_list`.
    MailingList,
    /// `other`.
    Other,
    /// `policy_test_mode`: the record says `t=y`.
    PolicyTestMode,
    /// `trusted_forwarder`: an ARC seal of a trusted sealer.
    TrustedForwarder,
}

impl OverrideReason {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LocalPolicy => "local_policy",
            Self::MailingList => "mailing_list",
            Self::Other => "other",
            Self::PolicyTestMode => "policy_test_mode",
            Self::TrustedForwarder => "trusted_forwarder",
        }
    }
}

/// `auth_results/dkim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimIdentity {
    /// The domain that signed (`d=`).
    pub domain: String,
    /// The selector (`s=`).
    pub selector: String,
    /// The result in the words of RFC 8601 §2.7.1.
    pub result: &'static str,
}

/// `auth_results/spf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfIdentity {
    /// The domain that was checked.
    pub domain: String,
    /// Where it came from.
    pub scope: SpfScope,
    /// The result in the words of RFC 8601 §2.7.2.
    pub result: &'static str,
}

/// `auth_results/spf/scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfScope {
    /// `mfrom`.
    MailFrom,
    /// `helo`: the null reverse-path (RFC 7208 §2.4). RFC 9990 knows only `mfrom`; readers of RFC 7489 know this one.
    Helo,
}
