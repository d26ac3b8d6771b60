//! Chains made here, read back.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber};

use super::*;
use crate::KeyType;

/// A chain of a leaf for `names` under an authority whose key has the identifier `c0ffee`.
fn chain(names: &[&str], key: &Key) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![0xc0, 0xff, 0xee]);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let mut leaf =
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    leaf.serial_number = Some(SerialNumber::from_slice(&[0xca, 0xfe]));
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = rcgen::date_time_ymd(2026, 1, 1);
    leaf.not_after = rcgen::date_time_ymd(2026, 4, 1);
    let pair = KeyPair::from_pem(key.pem()).unwrap();
    let leaf = leaf.signed_by(&pair, &Issuer::new(authority, authority_key)).unwrap();
    leaf.pem() + &root.pem()
}

#[test]
fn a_chain_says_whom_it_is_for_and_until_when() {
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    let certificate = Certificate::from_pem(&chain(&["MX.example.org", "*.example.net"], &key)).unwrap();
    let names: Vec<HostName> =
        ["mx.example.org", "*.example.net"].iter().map(|name| name.parse().unwrap()).collect();
    assert_eq!(certificate.names(), names);
    assert_eq!(certificate.not_before(), "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(certificate.not_after(), "2026-04-01T00:00:00Z".parse().unwrap());
    assert!(certificate.is_valid("2026-03-31T23:59:59Z".parse().unwrap()));
    assert!(!certificate.is_valid("2026-04-01T00:00:01Z".parse().unwrap()));
    assert!(!certificate.is_valid("2025-12-31T23:59:59Z".parse().unwrap()));
    assert!(certificate.fits(&key));
    assert!(!certificate.fits(&Key::generate(KeyType::EcdsaP256).unwrap()));
    assert!(certificate.covers(&["mx.example.org".parse().unwrap(), "imap.example.net".parse().unwrap()]));
    let missing =
        certificate.missing(&["mx.example.org".parse().unwrap(), "mx.example.com".parse().unwrap()]);
    assert_eq!(missing, ["mx.example.com".parse().unwrap()]);
    assert_eq!(
        certificate.ari_id().as_deref(),
        Some("wP_u.AMr-"),
        "RFC 9773: a serial number has its sign octet"
    );
}

#[test]
fn what_is_no_chain_is_refused() {
    assert!(matches!(Certificate::from_pem(""), Err(CertificateError::Pem(_))));
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    assert!(matches!(Certificate::from_pem(key.pem()), Err(CertificateError::Pem(_))));
    let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert!(matches!(Certificate::from_pem(damaged), Err(CertificateError::Unreadable(_))));
}

/// Runs OpenSSL; `None` where it is not installed.
fn openssl(arguments: &[&str]) -> Option<String> {
    let output = Command::new("openssl").args(arguments).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// `dir/name` with `content`.
fn file(dir: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn keys_of_every_form_are_read_and_hashed_as_openssl_does() {
    let dir = tempfile::tempdir().unwrap();
    let made: [&[&str]; 5] = [
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["ecparam", "-genkey", "-name", "prime256v1"],
        &["ecparam", "-genkey", "-name", "secp384r1"],
        &["genrsa", "-traditional", "2048"],
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ];
    for arguments in made {
        let Some(pem) = openssl(arguments) else {
            eprintln!("skipped: openssl is not installed");
            return;
        };
        let key = Key::from_pem(&pem).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let path = file(&dir, "key.pem", &pem);
        let public = dir.path().join("public.der");
        openssl(&["pkey", "-in", &path, "-pubout", "-outform", "DER", "-out", public.to_str().unwrap()])
            .unwrap();
        assert_eq!(key.id(), KeyId::of_public_key(&std::fs::read(public).unwrap()), "{arguments:?}");
        assert_eq!(key.pem(), pem);
    }
}

#[test]
fn a_made_key_signs_a_request_that_openssl_accepts() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
        let key = Key::generate(kind).unwrap();
        assert!(key.is(kind));
        assert_eq!(Key::from_pem(key.pem()).unwrap().id(), key.id());
        let names = ["mx.example.org".parse().unwrap(), "*.example.net".parse().unwrap()];
        let path = dir.path().join("request.der");
        std::fs::write(&path, key.signing_request(&names).unwrap()).unwrap();
        let path = path.to_str().unwrap();
        let Some(text) = openssl(&["req", "-inform", "DER", "-in", path, "-noout", "-text", "-verify"])
        else {
            eprintln!("skipped: openssl is not installed");
            return;
        };
        assert!(text.contains("DNS:mx.example.org, DNS:*.example.net"), "{text}");
    }
}

#[test]
fn a_tlsa_record_is_of_the_key_with_or_without_a_certificate() {
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    let certificate = Certificate::from_pem(&chain(&["mx.example.org"], &key)).unwrap();
    let record = crate::Tlsa::of(key.id());
    assert_eq!(record, crate::Tlsa::of(certificate.key()));
    assert_eq!(record.to_string(), format!("3 1 1 {}", key.id()));
    assert_eq!(record.key(), Some(key.id()));
    assert_eq!(key.id().to_string().parse::<KeyId>().unwrap(), key.id());
    assert_eq!(crate::tlsa::owner("mx.example.org.", 25), "_25._tcp.mx.example.org");
    assert!("zz".repeat(32).parse::<KeyId>().is_err());
    assert!("00".parse::<KeyId>().is_err());
}

#[test]
fn debug_forms_tell_no_secret() {
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    assert_eq!(format!("{key:?}"), format!("Key(KeyId({}))", key.id().short()));
}

#[test]
fn names_of_others_are_told() {
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    let wanted: Vec<HostName> =
        ["mta-sts.example.org", "mail.example.org"].map(|name| name.parse().unwrap()).to_vec();
    let foreign =
        |names: &[&str]| Certificate::from_pem(&chain(names, &key)).unwrap().foreign(&wanted, "example.org");
    assert_eq!(foreign(&["mta-sts.example.org", "MAIL.example.org"]), [""; 0]);
    assert_eq!(foreign(&["mta-sts.example.org", "*.example.org"]), [""; 0]);
    assert_eq!(foreign(&["mail.example.org", "mx.example.net"]), ["mx.example.net"]);
    assert_eq!(foreign(&["mail.example.org", "mx.example.org"]), ["mx.example.org"], "it may be a region's");
    assert_eq!(
        foreign(&["*.example.org", "*.sub.example.org"]),
        ["*.sub.example.org"],
        "it covers nothing wanted"
    );
    assert_eq!(foreign(&["mail.example.org", "*.org"]), ["*.org"], "no host name to us, but maybe to others");
    let below = |domain: &str| {
        Certificate::from_pem(&chain(&["*.example.org"], &key)).unwrap().foreign(&wanted, domain)
    };
    assert_eq!(below("mail.example.org"), ["*.example.org"], "it is the domain above");
}
