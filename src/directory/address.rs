//! Mail addresses: parsed once at the edge, trusted afterwards.
//!
//! The rules are RFC 5321 §4.1.2 with the Unicode of RFC 6531 §3.3, and IDNA for domains (UTS 46, as browsers
//! and resolvers do it). Comparison, ordering and hashing of a [`LocalPart`] use its case-folded form, so `Alice` finds
//! `alice`; the spelling that came in is kept for display.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest local part in octets, with its quotes (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_OCTETS: usize = 64;
/// Longest domain in octets, as A-labels (RFC 5321 §4.5.3.1.2, less the root dot).
pub const DOMAIN_OCTETS: usize = 253;
/// Longest address in octets: a path of 256 (RFC 5321 §4.5.3.1.3) without its angle brackets.
pub const ADDRESS_OCTETS: usize = 254;

/// Why a text is not an address. Always the sender of the text is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing where an address, local part or domain belongs.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// No `@` outside of quotes.
    #[error("an address is written local-part@domain; there is no @ in it")]
    NoAt,
    /// A limit of RFC 5321 §4.5.3.1.
    #[error("the {what} is {octets} octets long; at most {limit} are allowed")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        octets: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A character that needs quotes, or is not allowed even in them.
    #[error("the local part may not contain {0:?} here")]
    LocalPart(char),
    /// A dot at either end of the local part, or two in a row, without quotes.
    #[error("an unquoted local part has no dot at its ends and no two dots in a row")]
    Dots,
    /// A quoted string without its end, or with text after it.
    #[error("the quoted local part does not end with a quotation mark")]
    Quote,
    /// Not a host name by DNS and IDNA.
    #[error("{0:?} is not a domain name")]
    Domain(String),
    /// An address literal that is neither IPv4 nor `IPv6:`.
    #[error("{0:?} is not an address literal such as [192.0.2.1] or [IPv6:2001:db8::1]")]
    Literal(String),
}

/// A domain in its lower-case A-label form (`xn--...`), or an address literal (`[192.0.2.1]`).
///
/// `Display` shows U-labels; [`Domain::as_ascii`] is what is stored, compared and sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// Parses a domain of A-labels or U-labels in any case, or an address literal (RFC 5321 §4.1.3).
    ///
    /// # Errors
    /// [`AddressError`] that names what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty("domain"));
        }
        if text.starts_with('[') {
            return Self::parse_literal(text);
        }
        let bad = || AddressError::Domain(shortened(text));
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| bad())?;
        if ascii.len() > DOMAIN_OCTETS {
            return Err(AddressError::TooLong { what: "domain", octets: ascii.len(), limit: DOMAIN_OCTETS });
        }
        // 192.0.2.1 without brackets is an address, not a name (RFC 3696 §2).
        let last_label = ascii.rsplit('.').next().unwrap_or_default();
        if last_label.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self(ascii.into()))
    }

    fn parse_literal(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::Literal(shortened(text));
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(bad)?;
        let is_v6 = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        let address: IpAddr = if is_v6 {
            IpAddr::V6(inner[5..].parse().map_err(|_| bad())?)
        } else {
            IpAddr::V4(inner.parse().map_err(|_| bad())?)
        };
        Ok(Self(match address {
            IpAddr::V4(v4) => format!("[{v4}]").into(),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]").into(),
        }))
    }

    /// A-labels in lower case, or the address literal with its brackets.
    pub fn as_ascii(&self) -> &str {
        &self.0
    }

    /// U-labels, for people.
    pub fn to_unicode(&self) -> Cow<'_, str> {
        if !self.0.contains("xn--") {
            return Cow::Borrowed(&self.0);
        }
        Uts46::new().to_unicode(self.0.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast).0
    }

    /// True for `[192.0.2.1]` and the like, which are never domains of ours.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_unicode())
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// The part of an address before the `@`, without the quotes and backslashes of its quoted form.
///
/// Equality, order and hash are those of [`LocalPart::folded`].
#[derive(Clone)]
pub struct LocalPart {
    /// NFC, in the spelling that came in.
    spelling: Box<str>,
    /// Case folded and again in NFC: what lookups compare.
    folded: Box<str>,
}

impl LocalPart {
    /// Parses a dot-string or a quoted string (RFC 5321 §4.1.2, RFC 6531 §3.3).
    ///
    /// # Errors
    /// [`AddressError`] that names what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let content = match text.strip_prefix('"') {
            Some(rest) => Cow::Owned(unquote(rest)?),
            None => {
                if let Some(bad) = text.chars().find(|&c| c != '.' && !is_atext(c)) {
                    return Err(AddressError::LocalPart(bad));
                }
                if text.starts_with('.') || text.ends_with('.') || text.contains("..") {
                    return Err(AddressError::Dots);
                }
                Cow::Borrowed(text)
            }
        };
        Self::from_content(&content)
    }

    /// Makes a local part of text that is not quoted whatever it contains, such as a detail put back onto a user.
    fn from_content(content: &str) -> Result<Self, AddressError> {
        if content.is_empty() {
            return Err(AddressError::Empty("local part"));
        }
        let spelling = nfc(content);
        let folded = fold(&spelling);
        let local = Self { spelling: spelling.into(), folded: folded.into() };
        let octets = local.to_string().len();
        if octets > LOCAL_PART_OCTETS {
            return Err(AddressError::TooLong { what: "local part", octets, limit: LOCAL_PART_OCTETS });
        }
        Ok(local)
    }

    /// The text as it came in, in NFC, without quotes.
    pub fn as_str(&self) -> &str {
        &self.spelling
    }

    /// The case-folded text that lookups compare.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether this is where every domain takes reports of others (`rua` of DMARC and of TLS), unless it says otherwise.
    pub fn is_for_reports(&self) -> bool {
        matches!(self.folded(), "dmarc-reports" | "tls-reports")
    }

    /// Whether every domain has this address, whoever gets its mail: postmaster (RFC 5321 §4.5.1), abuse (RFC 2142 §4), and those for reports.
    pub fn is_role(&self) -> bool {
        matches!(self.folded(), "postmaster" | "abuse") || self.is_for_reports()
    }

    /// Splits `user+detail` at the first separator; `None` when there is none, or no user before it.
    pub fn split_detail(&self, separator: char) -> Option<(Self, String)> {
        let (user, detail) = self.spelling.split_once(separator)?;
        let user = Self::from_content(user).ok()?;
        Some((user, detail.to_owned()))
    }

    fn needs_quotes(&self) -> bool {
        let text = &*self.spelling;
        text.starts_with('.')
            || text.ends_with('.')
            || text.contains("..")
            || text.chars().any(|c| c != '.' && !is_atext(c))
    }
}

impl fmt::Display for LocalPart {
    /// Writes the form that [`LocalPart::parse`] reads: quoted only where it has to be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.needs_quotes() {
            return f.write_str(&self.spelling);
        }
        f.write_str("\"")?;
        for c in self.spelling.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for LocalPart {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for LocalPart {}

impl PartialOrd for LocalPart {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LocalPart {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded.cmp(&other.folded)
    }
}

impl Hash for LocalPart {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl FromStr for LocalPart {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// A mail address, `local-part@domain`. Equal to another that differs only in case.
///
/// `Display` shows U-labels; [`EmailAddress::to_wire`] is what protocols and the store carry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress {
    domain: Domain,
    local: LocalPart,
}

impl EmailAddress {
    /// Parses an address without angle brackets, source route or display name.
    ///
    /// # Errors
    /// [`AddressError`] that names what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty("address"));
        }
        // A domain has no @, so the last one divides, quoted local part or not.
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        Self::new(LocalPart::parse(local)?, Domain::parse(domain)?)
    }

    /// Joins the two parts.
    ///
    /// # Errors
    /// [`AddressError::TooLong`] when the whole is over [`ADDRESS_OCTETS`].
    pub fn new(local: LocalPart, domain: Domain) -> Result<Self, AddressError> {
        let address = Self { domain, local };
        let octets = address.to_wire().len();
        if octets > ADDRESS_OCTETS {
            return Err(AddressError::TooLong { what: "address", octets, limit: ADDRESS_OCTETS });
        }
        Ok(address)
    }

    /// The address that a stored key names: all of it is in the form that lookups compare.
    pub(crate) fn from_key(domain: Domain, folded: &str) -> Self {
        Self { domain, local: LocalPart { spelling: folded.into(), folded: folded.into() } }
    }

    /// The part before the `@`.
    pub fn local(&self) -> &LocalPart {
        &self.local
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The address as protocols carry it: the local part as it was spelled, the domain in A-labels.
    pub fn to_wire(&self) -> String {
        format!("{}@{}", self.local, self.domain.as_ascii())
    }

    /// Whether SMTP can carry it without SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.local.as_str().is_ascii()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_wire())
    }
}

impl FromStr for EmailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl Serialize for EmailAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_wire())
    }
}

impl<'de> Deserialize<'de> for EmailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// atext of RFC 5321 §4.1.2 (by RFC 5322 §3.2.3), with the non-ASCII of RFC 6531 §3.3.
fn is_atext(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' | '{'
        | '|' | '}' | '~' => true,
        _ => !c.is_ascii() && is_visible(c),
    }
}

/// Non-ASCII that may stand in a local part: no controls, no separators that hide in a log, no reordering of what
/// follows.
fn is_visible(c: char) -> bool {
    !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Reads the content of a quoted string, after its first quotation mark.
fn unquote(rest: &str) -> Result<String, AddressError> {
    let mut content = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '"' if chars.as_str().is_empty() => return Ok(content),
            '"' => return Err(AddressError::Quote),
            '\\' => chars.next().ok_or(AddressError::Quote)?,
            c => c,
        };
        // qtextSMTP and quoted-pairSMTP: printable ASCII with the space, and what RFC 6531 adds.
        if !matches!(c, ' '..='~') && (c.is_ascii() || !is_visible(c)) {
            return Err(AddressError::LocalPart(c));
        }
        content.push(c);
    }
    Err(AddressError::Quote)
}

fn nfc(text: &str) -> Cow<'_, str> {
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Folding can undo composition ("ΐ" and the like), so it is composed again.
    nfc(&icu_casemap::CaseMapper::new().fold_string(text)).into_owned()
}

/// At most the first 100 characters, for an error text.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
