//! POP3: any line is a command or an error, and a message comes to the client the same however it is cut, without a false
//! end.
#![no_main]

use ekitei_pop3::proto::{Command, Encoder, decode, plain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [lines, size, octets @ ..] = input else { return };
    let _ = Command::parse(octets);
    let _ = decode(octets).and_then(|message| plain(&message));

    let encoder = || if *lines == 0 { Encoder::whole() } else { Encoder::top(u64::from(*lines) - 1) };
    let whole = encode(encoder(), octets, octets.len().max(1));
    assert_eq!(whole, encode(encoder(), octets, usize::from(*size).max(1)));
    let text = whole.strip_suffix(b".\r\n").expect("the line with the dot ends every message");
    assert!(text.is_empty() || text.ends_with(b"\r\n"));
    // Also for a client that takes LF alone for a line end.
    for line in text.split(|octet| *octet == b'\n') {
        assert_ne!(line.strip_suffix(b"\r").unwrap_or(line), b".");
    }
});

fn encode(mut encoder: Encoder, message: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in message.chunks(size) {
        encoder.push(piece, &mut out);
    }
    encoder.finish(&mut out);
    out
}
