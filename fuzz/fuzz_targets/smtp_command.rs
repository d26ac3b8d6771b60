//! SMTP commands: any octets are lines, any line is a command or an error, and both are the same however the octets are cut.
#![no_main]

use bytes::BytesMut;
use ekitei_smtp::proto::command::{Command, SyntaxError};
use ekitei_smtp::proto::line::{LineError, LineReader};
use ekitei_smtp::proto::sasl;
use libfuzzer_sys::fuzz_target;

type Line = Result<Result<Command, SyntaxError>, LineError>;

fuzz_target!(|input: &[u8]| {
    let [limit, piece, octets @ ..] = input else { return };
    let limit = usize::from(*limit).max(2);
    let whole = read(octets.chunks(octets.len().max(1)), limit);
    let pieces = read(octets.chunks(usize::from(*piece).max(1)), limit);
    assert_eq!(whole, pieces);
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = (sasl::plain(text), sasl::text(text));
    }
});

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> Vec<Line> {
    let (mut reader, mut buffer, mut found) = (LineReader::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(line) = reader.next(&mut buffer, |_| limit) {
            found.push(line.map(|line| Command::parse(&line)));
        }
        assert!(buffer.len() < limit, "what waits is bounded");
    }
    found
}
