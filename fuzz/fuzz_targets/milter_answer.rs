//! Milters: any octets are frames or refused, the same however they are cut, and no change makes a message that is none.
#![no_main]

use bytes::{Bytes, BytesMut};
use ekitei_filter::milter::codec::{Answer, Change, FrameError, take_frame};
use ekitei_filter::milter::edited;
use libfuzzer_sys::fuzz_target;

const MAIL: &[u8] = b"Received: a\r\n by b\r\nSubject: One\r\nReceived: c\r\n\r\nBody\r\n";

fuzz_target!(|input: &[u8]| {
    let [size, octets @ ..] = input else { return };
    let (answers, end) = read(octets.chunks(octets.len().max(1)));
    assert_eq!(read(octets.chunks(usize::from(*size).max(1))), (answers.clone(), end));
    let change = |answer| if let Answer::Change(change) = answer { Some(change) } else { None };
    let changes: Vec<Change> = answers.into_iter().filter_map(change).collect();
    let Some(message) = edited(&Bytes::from_static(MAIL), &changes) else { return };
    let mut before = 0;
    for octet in message.iter().copied() {
        assert!((octet == b'\n') == (before == b'\r'), "a bare line end");
        before = octet;
    }
    // Whatever was put into the header, it ends where the body begins: at the first empty line.
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n").map_or(0, |at| at + 4);
    let body = changes.iter().any(|change| matches!(change, Change::Body(_)));
    assert!(
        body || message.starts_with(b"\r\n") || &message[end..] == b"Body\r\n",
        "the header lost its end"
    );
});

/// The answers up to the first that is none, and why it is none.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Answer>, Option<FrameError>) {
    let (mut input, mut answers) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let answer = match take_frame(&mut input) {
                Ok(None) => break,
                Ok(Some((letter, data))) => Answer::decode(letter, data),
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => return (answers, Some(error)),
            }
        }
    }
    (answers, None)
}
