//! SMTP replies: any octets are replies or an error, the same however they are cut, and what is kept of them is bounded. What a server announces or asks in an
//! AUTH exchange never does harm.
#![no_main]

use bytes::BytesMut;
use ekitei_relay::proto::capabilities::{Capabilities, Mechanisms};
use ekitei_relay::proto::reply::{Reply, ReplyError, ReplyLimits, ReplyReader};
use ekitei_relay::proto::sasl::Exchange;
use ekitei_relay::proto::status::Phase;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [octets, lines, piece, input @ ..] = input else { return };
    let limits = ReplyLimits { octets: usize::from(*octets) * 4 + 1, lines: usize::from(*lines) };
    let whole = read(input.chunks(input.len().max(1)), limits);
    let pieces = read(input.chunks(usize::from(*piece).max(1)), limits);
    assert_eq!(whole, pieces);
    for reply in &whole.0 {
        let _ = Capabilities::parse(reply);
        assert!(reply.summary(100).len() <= 100);
        assert!(!reply.lines().any(|line| line.chars().any(char::is_control)));
        let class = u16::from(reply.status(Phase::Rcpt).0);
        assert!(class == reply.code() / 100 || reply.is_intermediate());
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let offered = Mechanisms { scram_sha_256: true, ..Mechanisms::default() };
        if let Some(mut exchange) = Exchange::new(offered, "user", "password", "nonce") {
            exchange.command();
            let responses = text.lines().take(9).filter(|challenge| exchange.respond(challenge).is_ok());
            assert!(responses.count() <= 2, "an exchange ends");
        }
    }
});

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: ReplyLimits) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut buffer, mut found) = (ReplyReader::new(limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match reader.next(&mut buffer) {
                Ok(Some(reply)) => found.push(reply),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(buffer.len() <= limits.octets, "what waits is bounded");
    }
    (found, None)
}
