//! Addresses: what is read, what is refused, and that what is written is read back.

use proptest::prelude::*;

use super::address;
use crate::{AddressError, Domain, EmailAddress, LocalPart};

#[test]
fn addresses_differ_in_spelling_but_not_in_meaning() {
    for (one, other) in [
        ("Alice@Example.Test", "alice@example.test"),
        ("\"alice\"@example.test", "alice@example.test"),
        ("GRÜSSE@bücher.test", "grüße@xn--bcher-kva.test"),
        // Composed and decomposed.
        ("ren\u{e9}e@example.test", "rene\u{301}e@example.test"),
        ("a@[IPv6:2001:DB8:0:0:0:0:0:1]", "a@[ipv6:2001:db8::1]"),
    ] {
        assert_eq!(address(one), address(other), "{one} and {other}");
    }
    assert_ne!(address("a.b@example.test"), address("ab@example.test"));
}

#[test]
fn the_spelling_is_kept_and_the_domain_is_shown_in_unicode() {
    let mail = address("Jörg@XN--BCHER-KVA.test");
    assert_eq!(mail.to_string(), "Jörg@bücher.test");
    assert_eq!(mail.to_wire(), "Jörg@xn--bcher-kva.test");
    assert!(!mail.is_ascii());
    assert!(address("info@bücher.test").is_ascii());
}

#[test]
fn a_local_part_is_quoted_only_where_it_must_be() {
    for (read, written) in [
        ("\"plain\"@example.test", "plain@example.test"),
        ("\"with space\"@example.test", "\"with space\"@example.test"),
        ("\"a\\\"b\\\\c\"@example.test", "\"a\\\"b\\\\c\"@example.test"),
        ("\"at@sign\"@example.test", "\"at@sign\"@example.test"),
        ("\"dots..\"@example.test", "\"dots..\"@example.test"),
        ("\"\\p\\l\\a\\i\\n\"@example.test", "plain@example.test"),
        ("o'brien+tag=x/y@example.test", "o'brien+tag=x/y@example.test"),
    ] {
        assert_eq!(address(read).to_string(), written);
    }
}

#[test]
fn what_is_not_an_address_is_refused_with_the_reason() {
    let refused = |text: &str| EmailAddress::parse(text).unwrap_err();
    assert_eq!(refused("alice"), AddressError::NoAt);
    assert_eq!(refused("@example.test"), AddressError::Empty("local part"));
    assert_eq!(refused("alice@"), AddressError::Empty("domain"));
    assert_eq!(refused("\"\"@example.test"), AddressError::Empty("local part"));
    for dots in [".alice@example.test", "alice.@example.test", "al..ice@example.test"] {
        assert_eq!(refused(dots), AddressError::Dots, "{dots}");
    }
    for (text, bad) in [
        ("al ice@example.test", ' '),
        ("al<ice@example.test", '<'),
        ("a@b@example.test", '@'),
        ("al\u{202e}ice@example.test", '\u{202e}'),
        ("\"al\nice\"@example.test", '\n'),
        ("\"al\\\0ice\"@example.test", '\0'),
    ] {
        assert_eq!(refused(text), AddressError::LocalPart(bad), "{text:?}");
    }
    for open in ["\"alice@example.test", "\"al\"ice@example.test", "\"alice\\\"@example.test"] {
        assert!(matches!(refused(open), AddressError::Quote), "{open}");
    }
    for host in
        ["ex ample.test", "-a.test", "a-.test", "a..test", "a_b.test", "192.0.2.1", "example.test.", "a/b"]
    {
        assert!(matches!(refused(&format!("a@{host}")), AddressError::Domain(_)), "{host}");
    }
    for literal in ["[192.0.2.256]", "[192.0.2.1", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[]", "[tag:x]"] {
        assert!(matches!(refused(&format!("a@{literal}")), AddressError::Literal(_)), "{literal}");
    }
}

#[test]
fn lengths_are_those_of_rfc_5321() {
    let limit = |text: &str| match EmailAddress::parse(text) {
        Ok(_) => None,
        Err(AddressError::TooLong { what, .. }) => Some(what),
        // A label or a name too long for DNS is no name at all.
        Err(AddressError::Domain(_)) => Some("domain"),
        Err(other) => panic!("{other}"),
    };
    let label = "d".repeat(63);
    assert_eq!(limit(&format!("{}@example.test", "l".repeat(64))), None);
    assert_eq!(limit(&format!("{}@example.test", "l".repeat(65))), Some("local part"));
    // In octets, not in characters.
    assert_eq!(limit(&format!("{}@example.test", "ü".repeat(33))), Some("local part"));
    // The quotes count.
    assert_eq!(limit(&format!("\"{} \"@example.test", "l".repeat(62))), Some("local part"));
    assert_eq!(limit(&format!("a@{}.test", "d".repeat(64))), Some("domain"));
    assert_eq!(limit(&format!("a@{label}.{label}.{label}.{label}")), Some("domain"));
    assert_eq!(limit(&format!("{}@{label}.{label}.{}", "l".repeat(64), "d".repeat(61))), None);
    assert_eq!(limit(&format!("{}@{label}.{label}.{}", "l".repeat(64), "d".repeat(62))), Some("address"));
}

fn local_parts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-zA-Z0-9]{1,10}){0,3}",
        "\"([ !#-\\[\\]-~]|\\\\[ -~]){1,25}\"",
        "[\\p{L}\\p{N}]{1,15}",
    ]
}

fn domains() -> impl Strategy<Value = String> {
    prop_oneof![
        "([a-zA-Z0-9]{1,10}\\.){1,4}[a-zA-Z]{2,6}",
        "[äöüßéñçøł日本語한국ελ]{1,8}\\.test",
        any::<std::net::Ipv4Addr>().prop_map(|ip| format!("[{ip}]")),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[IPv6:{ip}]")),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(local in local_parts(), host in domains()) {
        if let Ok(mail) = EmailAddress::parse(&format!("{local}@{host}")) {
            for text in [mail.to_wire(), mail.to_string()] {
                let again = EmailAddress::parse(&text).unwrap();
                prop_assert_eq!(&again, &mail);
                prop_assert_eq!(again.to_wire(), mail.to_wire());
            }
            prop_assert!(mail.to_wire().len() <= crate::ADDRESS_OCTETS);
        }
    }

    #[test]
    fn ascii_local_parts_are_read(local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-zA-Z0-9]{1,10}){0,3}") {
        let upper = LocalPart::parse(&local.to_uppercase()).unwrap();
        let read = LocalPart::parse(&local).unwrap();
        prop_assert_eq!(read.as_str(), &local);
        prop_assert_eq!(read, upper);
    }

    #[test]
    fn no_text_is_too_strange_to_be_judged(text in ".{0,300}") {
        let _ = EmailAddress::parse(&text);
        let _ = Domain::parse(&text);
        let _ = LocalPart::parse(&text);
    }
}
