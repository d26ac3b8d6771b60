//! The IMAP command reader: whatever a client sends, it does not panic, holds no more than its limits allow,
//! and finds the same however the octets are cut.
#![no_main]

use std::sync::Arc;

use ekitei_imap::proto::{Encoding, Event, Limits, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [choices, piece, octets @ ..] = input else { return };
    let encoding = if choices & 1 == 0 { Encoding::ModifiedUtf7 } else { Encoding::Utf8 };
    // Every literal whose size has this remainder is refused; none if it is 7.
    let refused = u64::from(choices >> 5);
    let limits = if choices & 2 == 0 { Limits::default() } else { small_limits() };
    let raw = choices & 4 != 0;

    let whole = read(octets.chunks(octets.len().max(1)), &limits, encoding, refused, raw);
    let pieces = read(octets.chunks(usize::from(*piece).max(1)), &limits, encoding, refused, raw);
    assert_eq!(whole, pieces);
});

/// Limits that short inputs reach.
fn small_limits() -> Limits {
    Limits {
        line: 64,
        literal: 16,
        login_literal: 8,
        append: 32,
        append_messages: 2,
        non_sync_literal: 24,
        command: 100,
        literals: 2,
        skip: 200,
        nesting: 3,
        sequence_ranges: 3,
        search_keys: 4,
        mailbox_name: 12,
        list_patterns: 2,
        list_items: 3,
    }
}

/// All events, with the chunks of each message joined and the literals answered. If `raw`, a raw line is
/// read after each command, as after IDLE.
fn read<'i>(
    pieces: impl Iterator<Item = &'i [u8]>,
    limits: &Limits,
    encoding: Encoding,
    refused: u64,
    raw: bool,
) -> Vec<Event> {
    let mut reader = Reader::new(Arc::new(limits.clone()));
    reader.set_encoding(encoding);
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            let event = reader.next_event();
            match (&event, events.last_mut()) {
                (Event::NeedMore, _) => break,
                (Event::Literal(wanted), _) if wanted.size % 7 == refused => reader.refuse_literal(),
                (Event::Literal(_), _) => reader.accept_literal(),
                (Event::Command(_), _) if raw => reader.expect_line(),
                (
                    Event::AppendData { data, last },
                    Some(Event::AppendData { data: joined, last: joined_last }),
                ) if !*joined_last => {
                    *joined = [&joined[..], &data[..]].concat().into();
                    *joined_last = *last;
                    continue;
                }
                _ => {}
            }
            events.push(event);
        }
        assert!(reader.buffered() <= limits.command + 1);
    }
    events
}
