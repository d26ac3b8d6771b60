//! ARC seals (RFC 8617): what this service found out about a message, for those whom it forwards it to.
//!
//! Whether the chain up to here holds is not found out again: the check of the incoming message did, and its Authentication-Results say so (`arc=`).

use ekitei_directory::Domain;

use crate::dkim::{self, Validity};
use crate::error::Result;
use crate::fields::{self, Field, Message};
use crate::key::{Algorithm, SigningKey};
use crate::signing::Signing;
use crate::tags::TagField;

/// The longest chain (RFC 8617 §4.2.1).
const INSTANCES: u32 = 50;

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// Chain validation status (RFC 8617 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    None,
    Pass,
    Fail,
}

impl Chain {
    fn tag(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

impl Signing {
    /// The ARC set (three fields with their CRLF) for a message that is forwarded in the name of `domain`, whose checks came out as `results` (the value of an
    /// Authentication-Results field, with the authserv-id). Empty if the domain has no keys, or the chain must not be continued: it failed before (RFC 8617 §5.1.2), is
    /// as long as chains may be, or could not be checked.
    ///
    /// # Errors
    /// As [`Signing::sign`].
    pub async fn seal(&self, domain: &Domain, message: &[u8], results: &str) -> Result<Vec<u8>> {
        let keys = self.keys(domain).await?;
        // Few verifiers of ARC know Ed25519, and a set has one signature only.
        let rsa = keys.iter().find(|key| key.algorithm() == Algorithm::Rsa);
        let Some(key) = rsa.or(keys.first()) else { return Ok(Vec::new()) };
        let message = Message::parse(message);
        let before = Before::of(&message);
        let Some((instance, chain)) = before.next(results) else { return Ok(Vec::new()) };
        let config = self.inner.live.load();
        let given = &config.signing;
        let mut signed = given.signed_headers.clone();
        signed.push("DKIM-Signature".to_owned());
        let seal = NewSet {
            key,
            domain,
            validity: self.validity(std::time::Duration::ZERO),
            selection: fields::select(&message, &given.oversigned_headers, &signed),
            body_hash: dkim::body_hash(message.body).await,
        };
        let set = seal.make(&before, instance, chain, results)?;
        self.count("arc", key);
        Ok(set.into_bytes())
    }
}

/// The sets that a message has.
struct Before<'a> {
    /// By instance from 1: results, signature, seal.
    sets: Vec<[Option<Field<'a>>; 3]>,
    /// Whether the sets are not those of a chain: one is missing, doubled, or without a number.
    broken: bool,
}

impl<'a> Before<'a> {
    fn of(message: &Message<'a>) -> Self {
        let mut this = Self { sets: Vec::new(), broken: false };
        for field in &message.fields {
            let Some(kind) = [RESULTS, SIGNATURE, SEAL].iter().position(|name| field.is(name)) else {
                continue;
            };
            let instance = tag(field, "i").and_then(|text| text.parse::<usize>().ok());
            let Some(index) =
                instance.filter(|&instance| instance <= INSTANCES as usize).and_then(|i| i.checked_sub(1))
            else {
                this.broken = true;
                continue;
            };
            if this.sets.len() <= index {
                this.sets.resize(index + 1, [None; 3]);
            }
            let place = &mut this.sets[index][kind];
            this.broken |= place.is_some();
            *place = Some(*field);
        }
        this.broken |= this.sets.iter().flatten().any(Option::is_none);
        this
    }

    /// The instance of the next set, and what it says of those before; `None` if there must be none.
    fn next(&self, results: &str) -> Option<(u32, Chain)> {
        if self.sets.is_empty() && !self.broken {
            return Some((1, Chain::None));
        }
        let newest = self.sets.last().and_then(|set| set[2].as_ref());
        let failed_before =
            newest.and_then(|seal| tag(seal, "cv")).is_some_and(|cv| cv.eq_ignore_ascii_case("fail"));
        let instance = u32::try_from(self.sets.len()).ok()?.checked_add(1)?;
        if failed_before || instance > INSTANCES {
            return None;
        }
        match chain_result(results)? {
            Chain::Pass if !self.broken => Some((instance, Chain::Pass)),
            Chain::Fail | Chain::Pass => Some((instance, Chain::Fail)),
            Chain::None => None,
        }
    }

    /// All sets in the order in which a seal covers them.
    fn canonical(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for field in self.sets.iter().flatten().flatten() {
            field.relaxed(&mut text);
            text.extend_from_slice(b"\r\n");
        }
        text
    }
}

/// A tag of a field, without the white space around it. (`i=1` is also how ARC-Authentication-Results begins.)
fn tag(field: &Field<'_>, name: &str) -> Option<String> {
    let value = String::from_utf8_lossy(field.value);
    let mut tags = value.split(';').filter_map(|tag| tag.split_once('='));
    tags.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// What our own results say of the chain: `arc=pass` and the like (RFC 8617 §8.1). What can only be known later is nothing.
fn chain_result(results: &str) -> Option<Chain> {
    let mut methods = results.split(';').skip(1).map(str::trim_start);
    let result = methods.find_map(|method| method.strip_prefix("arc")?.trim_start().strip_prefix('='))?;
    match result.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| !word.is_empty())? {
        "pass" => Some(Chain::Pass),
        "fail" => Some(Chain::Fail),
        "none" => Some(Chain::None),
        _ => None,
    }
}

/// What a new set is made of.
struct NewSet<'a> {
    key: &'a SigningKey,
    domain: &'a Domain,
    validity: Validity,
    selection: fields::Selection,
    body_hash: String,
}

impl NewSet<'_> {
    /// The three fields, the seal first, since each covers those below it.
    fn make(&self, before: &Before<'_>, instance: u32, chain: Chain, results: &str) -> Result<String> {
        let results = format!("{RESULTS}: i={instance}; {}\r\n", results.trim());
        let mut field = TagField::new(SIGNATURE);
        field.tag("i", instance);
        dkim::message_tags(
            &mut field,
            self.key,
            self.domain,
            self.validity,
            &self.selection,
            &self.body_hash,
        );
        let signature = dkim::finish(self.key, &self.selection.canonical, field.unsigned())?;

        let mut field = TagField::new(SEAL);
        field.tag("i", instance);
        field.tag("a", self.key.algorithm().tag());
        field.tag("t", self.validity.at);
        field.tag("cv", chain.tag());
        field.tag("d", self.domain.as_ascii());
        field.tag("s", &self.key.selector);
        // RFC 8617 §5.1.2: what failed is not covered.
        let mut covered = if chain == Chain::Fail { Vec::new() } else { before.canonical() };
        for text in [&results, &signature] {
            for field in Message::parse(text.as_bytes()).fields {
                field.relaxed(&mut covered);
                covered.extend_from_slice(b"\r\n");
            }
        }
        let seal = dkim::finish(self.key, &covered, field.unsigned())?;
        Ok(format!("{seal}{signature}{results}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn next(header: &str, results: &str) -> Option<(u32, Chain)> {
        Before::of(&Message::parse(header.as_bytes())).next(results)
    }

    fn set(instance: u32, cv: &str) -> String {
        format!(
            "ARC-Seal: a=rsa-sha256; i={instance}; cv={cv}; b=x\r\nARC-Message-Signature: i={instance};\r\n b=y\r\n\
             ARC-Authentication-Results: i={instance}; mx.test; spf=pass\r\n"
        )
    }

    #[test]
    fn our_own_result_decides_what_is_said_of_the_chain() {
        assert_eq!(next("From: a@a.test\r\n", "mx.test; arc=none"), Some((1, Chain::None)));
        let one = set(1, "none");
        assert_eq!(next(&one, "mx.test; spf=pass;\r\n arc=pass (i=1)"), Some((2, Chain::Pass)));
        assert_eq!(next(&one, "mx.test; arc = fail"), Some((2, Chain::Fail)));
        for unknown in ["mx.test; spf=pass", "mx.test; arc=temperror", "arc=pass", "mx.test; arc=none"] {
            assert_eq!(next(&one, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_chain_that_failed_or_is_full_is_not_continued() {
        let failed = set(2, "fail") + &set(1, "none");
        assert_eq!(next(&failed, "mx.test; arc=fail"), None);
        let full: String = (1..=50).rev().map(|i| set(i, if i == 1 { "none" } else { "pass" })).collect();
        assert_eq!(next(&full, "mx.test; arc=pass"), None);
    }

    #[test]
    fn a_broken_chain_is_sealed_as_failed_at_most() {
        let missing = set(3, "pass") + &set(1, "none");
        assert_eq!(next(&missing, "mx.test; arc=pass"), Some((4, Chain::Fail)));
        let doubled = set(1, "none") + &set(1, "none");
        assert_eq!(next(&doubled, "mx.test; arc=fail"), Some((2, Chain::Fail)));
        let numberless = "ARC-Seal: cv=none; b=x\r\n";
        assert_eq!(next(numberless, "mx.test; arc=fail"), Some((1, Chain::Fail)));
    }
}
