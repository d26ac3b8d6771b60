//! The message behind DATA: it ends at the first CRLF `.` CRLF and nowhere else, and is the same however the octets are cut.
#![no_main]

use ekitei_smtp::proto::data::{DataReader, Defects};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [piece, octets @ ..] = input else { return };
    let whole = read(octets.chunks(octets.len().max(1)));
    assert_eq!(whole, read(octets.chunks(usize::from(*piece).max(1))));
    let lined = [b"\r\n", octets].concat();
    let end = lined.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 3);
    assert_eq!(whole.1, end);
});

/// The message, how many octets it took if it ended, and what is wrong with it.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Option<usize>, Defects) {
    let (mut reader, mut message, mut before) = (DataReader::default(), Vec::new(), 0);
    for piece in pieces {
        if let Some(used) = reader.feed(piece, |octets| message.extend_from_slice(octets)) {
            return (message, Some(before + used), reader.defects());
        }
        before += piece.len();
    }
    (message, None, reader.defects())
}
