//! Reports of others: any message is read or said to be unreadable, within bounds, and nothing of it can steer a terminal.


use ekitei_reports::{Kind, Limits, parse};


const LIMITS: Limits = Limits { unpacked: 1 << 20, records: 10 };

/// The media types that reports come in; the first stands for a message that is fuzzed as a whole.
const FORMS: [&str; 7] = [
    "",
    "text/xml",
    "application/gzip",
    "application/zip",
    "application/tlsrpt+json",
    "application/tlsrpt+gzip",
    "message/feedback-report",
];

fn fuzz(input: &[u8]) {
    let [form, octets @ ..] = input else { return };
    let message = match FORMS[usize::from(*form) % FORMS.len()] {
        "" => octets.to_vec(),
        form => [format!("Content-Type: {form}\r\nContent-Transfer-Encoding: binary\r\n\r\n").as_bytes(), octets].concat(),
    };
    let parsed = parse(&message, LIMITS);
    assert!(parsed.records.len() <= LIMITS.records);
    assert_eq!(parsed.head.kept, parsed.records.len() as u64);
    assert_eq!(parsed.head.kind == Kind::Unreadable, parsed.head.problem.is_some());
    let head = [&parsed.head.organization, &parsed.head.report_id, &parsed.head.domain];
    let records = parsed.records.iter().flat_map(|record| [&record.result, &record.detail]);
    for text in head.into_iter().chain(records).chain(&parsed.head.problem) {
        assert!(text.len() <= 255 && !text.chars().any(char::is_control), "{text:?}");
    }
}
fn main() { for n in 0..200u8 { let mut v = vec![n]; v.extend_from_slice(b"PK\x03\x04<feedback>"); fuzz(&v); } }
