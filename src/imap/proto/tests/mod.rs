//! Tests of the codec as a whole: the RFCs' own examples, the cutting of the stream, round trips.
#![allow(clippy::unwrap_used)]

mod examples;
mod reading;
mod responses;
mod round_trip;
mod serialize;

use std::sync::Arc;

use bytes::Bytes;

use super::command::Request;
use super::event::{Event, LiteralPurpose, LiteralWanted};
use super::limits::Limits;
use super::mailbox_name::Encoding;
use super::reader::Reader;

/// Small limits, so that small inputs reach them.
fn small_limits() -> Limits {
    Limits {
        line: 120,
        literal: 40,
        login_literal: 20,
        append: 60,
        append_messages: 3,
        non_sync_literal: 50,
        command: 200,
        literals: 3,
        skip: 500,
        nesting: 4,
        sequence_ranges: 6,
        search_keys: 6,
        mailbox_name: 30,
        list_patterns: 3,
        list_items: 5,
    }
}

/// Feeds `pieces` and answers literals with `accept`: all events but [`Event::NeedMore`], with the chunks
/// of each message joined. Checks after each piece that the reader holds no more than it may.
fn read(
    pieces: &[&[u8]],
    limits: &Limits,
    encoding: Encoding,
    accept: impl Fn(&LiteralWanted) -> bool,
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
                (Event::Literal(wanted), _) if accept(wanted) => reader.accept_literal(),
                (Event::Literal(_), _) => reader.refuse_literal(),
                (Event::AppendData { data, last }, Some(Event::AppendData { data: joined, last: false })) => {
                    let data = Bytes::from([&joined[..], &data[..]].concat());
                    *events.last_mut().unwrap() = Event::AppendData { data, last: *last };
                    continue;
                }
                _ => {}
            }
            events.push(event);
            assert!(events.len() < 1000, "no end of events: {:?}", &events[990..]);
        }
        assert!(reader.buffered() <= limits.command + 1, "holds {}", reader.buffered());
    }
    events
}

/// The commands in `octets`, all literals accepted.
fn requests(octets: &[u8], encoding: Encoding) -> Vec<Request> {
    read(&[octets], &Limits::default(), encoding, |_| true)
        .into_iter()
        .filter_map(|event| match event {
            Event::Command(request) => Some(request),
            Event::Literal(LiteralWanted { purpose: LiteralPurpose::Argument, .. }) => None,
            other => panic!("{other:?} in {}", octets.escape_ascii()),
        })
        .collect()
}
