//! Delivery status notifications of others: any message is read within bounds or is none, and nothing of it can steer a terminal.
#![no_main]

use ekitei_queue::dsn::{MAX_RECIPIENTS, parse};
use libfuzzer_sys::fuzz_target;

/// Makes the fuzzer begin inside the status part, where there is more to find.
const FRAME: &str = "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\
    Content-Type: message/global-delivery-status\r\n";

fuzz_target!(|input: &[u8]| {
    let [form, octets @ ..] = input else { return };
    let encoding: &[u8] = match form % 4 {
        0 => b"",
        1 => b"\r\n",
        2 => b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
        _ => b"Content-Transfer-Encoding: base64\r\n\r\n",
    };
    let message = if form % 4 == 0 { octets.to_vec() } else { [FRAME.as_bytes(), encoding, octets].concat() };
    let Some(report) = parse(&message) else { return };
    assert!((1..=MAX_RECIPIENTS).contains(&report.recipients.len()));
    let about = [&report.envelope_id, &report.reporting_mta, &report.message_id];
    let recipients = report.recipients.iter();
    let each = recipients.flat_map(|r| [&r.original_recipient, &r.final_recipient, &r.remote_mta, &r.diagnostic]);
    for text in about.into_iter().chain(each).flatten() {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
});
