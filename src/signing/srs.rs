//! The Sender Rewriting Scheme: a forwarded message gets a reverse-path in a domain of ours, so that SPF passes at its destination, and
//! a bounce to that finds its way back.
//!
//! `SRS0=hash=time=host=user@ours` stands for `user@host`. When `SRS0=rest@other` is forwarded once more, it becomes `SRS1=hash=other=rest@ours`, so that chains do not grow.
//! The hash, of 40 bits in base32, keeps others from making the service relay to whom they like. All of it is compared without case, since some servers fold it.

use std::time::Duration;

use aws_lc_rs::hmac;
use ekitei_directory::{Domain, EmailAddress, LOCAL_PART_OCTETS, LocalPart};

use crate::signing::Signing;

/// RFC 4648 §6, in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of a hash.
const HASH: usize = 8;
/// Days after which the time in an address begins anew: two characters.
const CYCLE: u64 = 32 * 32;
const DAY: u64 = 86_400;

impl Signing {
    /// The reverse-path of a message from `sender` that an address in `domain` forwards. It stays as it is where it is in `domain` already, the rewritten one would be too long
    /// (RFC 5321 §4.5.3.1.1), or there is no encryption key to make it with; then SPF fails at the destination, and DKIM and ARC have to do.
    pub fn srs_forward(&self, sender: &EmailAddress, domain: &Domain) -> EmailAddress {
        let key = self.inner.vault.srs_keys().next();
        key.and_then(|key| forward(key, self.now() / DAY, sender, domain)).unwrap_or_else(|| sender.clone())
    }

    /// The address that a rewritten one stands for: where mail to it goes. `None` if it was not made here, or too long ago. One step is undone: what comes out may be the rewritten address of another service.
    pub fn srs_reverse(&self, local: &LocalPart) -> Option<EmailAddress> {
        let validity = self.inner.live.load().signing.srs_validity.get();
        let today = self.now() / DAY;
        self.inner.vault.srs_keys().find_map(|key| reverse(key, today, validity, local.as_str()))
    }
}

/// Rewrites a sender; `None` if it is to stay.
fn forward(key: &hmac::Key, today: u64, sender: &EmailAddress, domain: &Domain) -> Option<EmailAddress> {
    if sender.domain() == domain || sender.domain().is_literal() {
        return None;
    }
    let (host, user) = (sender.domain().as_ascii(), sender.local().as_str());
    let local = match scheme(user) {
        Some((Scheme::First, rest)) => again(key, host, rest),
        // Another forwarder's: its hash is replaced by ours, and the bounce skips it.
        Some((Scheme::Again, rest)) => {
            let (_, rest) = rest.get(1..)?.split_once('=')?;
            let (host, rest) = rest.split_once('=')?;
            again(key, host, rest)
        }
        None => {
            let time = days(today);
            let hash = hash(key, &[&time, host, user]);
            format!("SRS0={hash}={time}={host}={user}")
        }
    };
    // Quoted where the user was.
    let local = match LocalPart::parse(&local) {
        Ok(local) => local,
        Err(_) => LocalPart::parse(&quoted(&local)).ok()?,
    };
    if local.to_string().len() > LOCAL_PART_OCTETS {
        return None;
    }
    EmailAddress::new(local, domain.clone()).ok()
}

fn again(key: &hmac::Key, host: &str, rest: &str) -> String {
    format!("SRS1={}={host}={rest}", hash(key, &[host, rest]))
}

fn reverse(key: &hmac::Key, today: u64, validity: Duration, local: &str) -> Option<EmailAddress> {
    let (scheme, rest) = scheme(local)?;
    let (claimed, rest) = rest.get(1..)?.split_once('=')?;
    let (user, host) = match scheme {
        Scheme::First => {
            let (time, address) = rest.split_once('=')?;
            let (host, user) = address.split_once('=')?;
            verify(key, claimed, &[time, host, user])?;
            let age = (today % CYCLE + CYCLE).checked_sub(parse_days(time)?)? % CYCLE;
            if age * DAY > validity.as_secs() {
                return None;
            }
            (user.to_owned(), host)
        }
        Scheme::Again => {
            let (host, rest) = rest.split_once('=')?;
            verify(key, claimed, &[host, rest])?;
            (format!("SRS0{rest}"), host)
        }
    };
    let local = LocalPart::parse(&user).or_else(|_| LocalPart::parse(&quoted(&user))).ok()?;
    EmailAddress::new(local, Domain::parse(host).ok()?).ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    First,
    Again,
}

/// Which kind of rewritten local part this is, and the rest from the first separator (`=`, `+` or `-`) on.
fn scheme(local: &str) -> Option<(Scheme, &str)> {
    let (name, rest) = local.split_at_checked(4)?;
    if !rest.starts_with(['=', '+', '-']) {
        return None;
    }
    if name.eq_ignore_ascii_case("SRS0") {
        Some((Scheme::First, rest))
    } else if name.eq_ignore_ascii_case("SRS1") {
        Some((Scheme::Again, rest))
    } else {
        None
    }
}

fn hash(key: &hmac::Key, parts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        // Each with its length, so that nothing can move from one to the next.
        let folded = part.to_lowercase();
        context.update(&u64::try_from(folded.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(folded.as_bytes());
    }
    let tag = context.sign();
    let bits = tag.as_ref().iter().take(5).fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
    (0..HASH).rev().map(|index| base32(bits >> (5 * index))).collect()
}

/// Compares in constant time.
fn verify(key: &hmac::Key, claimed: &str, parts: &[&str]) -> Option<()> {
    let right = hash(key, parts);
    let claimed = claimed.to_ascii_lowercase();
    aws_lc_rs::constant_time::verify_slices_are_equal(right.as_bytes(), claimed.as_bytes()).ok()
}

fn base32(bits: u64) -> char {
    char::from(BASE32[usize::try_from(bits & 31).unwrap_or_default()])
}

fn days(today: u64) -> String {
    [base32(today >> 5), base32(today)].iter().collect()
}

fn parse_days(text: &str) -> Option<u64> {
    let digit = |octet: &u8| BASE32.iter().position(|known| known.eq_ignore_ascii_case(octet));
    match text.as_bytes() {
        [high, low] => u64::try_from(digit(high)? * 32 + digit(low)?).ok(),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALIDITY: Duration = Duration::from_secs(21 * DAY);

    fn key(octet: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[octet; 32])
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    fn ours() -> Domain {
        Domain::parse("ours.test").unwrap()
    }

    fn reverse_at(today: u64, address: &EmailAddress) -> Option<EmailAddress> {
        reverse(&key(1), today, VALIDITY, address.local().as_str())
    }

    #[test]
    fn a_bounce_finds_its_way_back() {
        let sender = address("Alice+x=y@example.com");
        let rewritten = forward(&key(1), 20_000, &sender, &ours()).unwrap();
        assert!(rewritten.to_wire().starts_with("SRS0="), "{rewritten}");
        assert_eq!(reverse_at(20_000, &rewritten), Some(sender.clone()));
        let folded = address(&rewritten.to_wire().to_lowercase());
        assert_eq!(reverse_at(20_001, &folded), Some(sender), "local parts are compared without case");
    }

    #[test]
    fn a_second_forwarder_is_undone_up_to_the_first() {
        let first =
            forward(&key(2), 20_000, &address("a@b.test"), &Domain::parse("first.test").unwrap()).unwrap();
        let second = forward(&key(1), 20_000, &first, &ours()).unwrap();
        assert!(second.to_wire().starts_with("SRS1="), "{second}");
        assert_eq!(reverse_at(20_000, &second), Some(first.clone()));
        let third = forward(&key(3), 20_000, &second, &Domain::parse("third.test").unwrap()).unwrap();
        let back = reverse(&key(3), 20_000, VALIDITY, third.local().as_str());
        assert_eq!(back, Some(first), "the one in the middle is left out");
    }

    #[test]
    fn addresses_end_with_their_time() {
        let rewritten = forward(&key(1), 1023, &address("a@b.test"), &ours()).unwrap();
        assert!(reverse_at(1023 + 21, &rewritten).is_some(), "the cycle begins anew in between");
        assert!(reverse_at(1023 + 22, &rewritten).is_none());
        assert!(reverse_at(1022, &rewritten).is_none(), "from the future");
    }

    #[test]
    fn what_does_not_fit_is_left_as_it_is() {
        let long = address(&format!("{}@example.com", "a".repeat(40)));
        assert_eq!(forward(&key(1), 20_000, &long, &ours()), None);
        assert_eq!(forward(&key(1), 20_000, &address("a@ours.test"), &ours()), None);
    }

    #[test]
    fn nobody_else_can_make_one() {
        let rewritten = forward(&key(2), 20_000, &address("a@b.test"), &ours()).unwrap();
        assert_eq!(reverse_at(20_000, &rewritten), None);
        for local in [
            "SRS0=",
            "SRS0=a",
            "SRS0=a=b=c",
            "SRS0=aaaaaaaa=aa=b.test=a",
            "SRS1=x=y=z",
            "SRS2=a",
            "srs",
            "SRS0é",
        ] {
            assert_eq!(reverse(&key(1), 20_000, VALIDITY, local), None, "{local}");
        }
    }

    proptest! {
        #[test]
        fn every_sender_comes_back_and_no_change_is_believed(
            user in "[a-z0-9=+._-]{1,20}", host in "[a-z]{1,8}\\.test", today in 0_u64..100_000, place in 0_usize..60, with in "[a-z2-7]",
        ) {
            prop_assume!(EmailAddress::parse(&format!("{user}@{host}")).is_ok() && host != "ours.test");
            let sender = address(&format!("{user}@{host}"));
            prop_assume!(scheme(&user).is_none());
            if let Some(rewritten) = forward(&key(1), today, &sender, &ours()) {
                prop_assert_eq!(reverse_at(today, &rewritten), Some(sender));
                let local = rewritten.local().as_str().to_owned();
                let mut changed = local.clone().into_bytes();
                if let Some(octet) = changed.get_mut(place + 5) {
                    *octet = with.as_bytes()[0];
                }
                let changed = String::from_utf8(changed).unwrap();
                if !changed.eq_ignore_ascii_case(&local) {
                    prop_assert_eq!(reverse(&key(1), today, VALIDITY, &changed), None);
                }
            }
        }
    }
}
