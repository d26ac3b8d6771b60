//! How commands are cut from the stream: literals, limits, and what happens after a bad command.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{read, small_limits};
use crate::proto::command::{Command, Request};
use crate::proto::error::CommandError;
use crate::proto::event::{Event, LiteralPurpose, LiteralWanted, Rejected};
use crate::proto::limits::Limits;
use crate::proto::mailbox_name::Encoding;
use crate::proto::reader::Reader;
use crate::proto::response::Status;
use crate::proto::tag::Tag;

fn tag(text: &str) -> Tag {
    Tag::new(text.to_owned().into()).unwrap()
}

fn noop(text: &str) -> Event {
    Event::Command(Request { tag: tag(text), command: Command::Noop })
}

fn rejected(tag_text: Option<&str>, error: CommandError) -> Event {
    Event::Rejected(Rejected { tag: tag_text.map(tag), error, close: false })
}

fn closed(tag_text: Option<&str>, error: CommandError) -> Event {
    Event::Rejected(Rejected { tag: tag_text.map(tag), error, close: true })
}

fn argument(tag_text: &str, size: u64, synchronizing: bool) -> Event {
    let purpose = LiteralPurpose::Argument;
    Event::Literal(LiteralWanted { tag: tag(tag_text), size, synchronizing, purpose })
}

/// All events of `octets` under small limits, literals accepted.
fn events(octets: &[u8]) -> Vec<Event> {
    read(&[octets], &small_limits(), Encoding::ModifiedUtf7, |_| true)
}

#[test]
fn pipelined_commands_come_one_by_one() {
    assert_eq!(events(b"a NOOP\r\nb NOOP\r\nc NO"), [noop("a"), noop("b")]);
}

#[test]
fn a_bad_command_costs_its_line_only() {
    for line in
        ["a FROB", "a FETCH x", "a NOOP x", "a LOGIN \"x", "a SELECT a\"b", "a APPEND INBOX", "a UID NOOP"]
    {
        let found = events(format!("{line}\r\nb NOOP\r\n").as_bytes());
        assert!(
            matches!(&found[0], Event::Rejected(r) if r.tag == Some(tag("a")) && !r.close),
            "{line}: {found:?}"
        );
        assert_eq!(found[1..], [noop("b")], "{line}");
    }
}

#[test]
fn without_a_tag_the_refusal_has_none() {
    for line in ["", " NOOP", "NOOP", "+ NOOP", "(a NOOP", "a*b NOOP"] {
        let found = events(format!("{line}\r\nb NOOP\r\n").as_bytes());
        let expected = if line == "NOOP" { Some("NOOP") } else { None };
        assert_eq!(found, [rejected(expected, CommandError::NoTag), noop("b")], "{line:?}");
    }
}

#[test]
fn a_bare_line_end_refuses_the_command_at_once_and_ends_nothing() {
    let bare = || rejected(Some("a"), CommandError::BareLineEnd);
    assert_eq!(events(b"a NOOP\n"), [bare()]);
    assert_eq!(events(b"a NOOP\nb NOOP\r\nc NOOP\r\n"), [bare(), noop("c")]);
    assert_eq!(events(b"a NOOP\rb NOOP\r\nc NOOP\r\n"), [bare(), noop("c")]);
    // Where a literal may or may not follow, nothing can be believed any more.
    assert_eq!(events(b"a LOGIN {9+}\nx NOOP\r\nb NOOP\r\n"), [closed(Some("a"), CommandError::BareLineEnd)]);
    assert_eq!(
        events(b"a LOGIN x\n{9+}\nx NOOP\r\nb NOOP\r\n"),
        [bare(), closed(None, CommandError::BareLineEnd)]
    );
}

#[test]
fn a_refused_synchronizing_literal_ends_the_command() {
    let found = read(&[b"a LOGIN {4}\r\n", b"b NOOP\r\n"], &small_limits(), Encoding::Utf8, |_| false);
    assert_eq!(found, [argument("a", 4, true), noop("b")]);
}

#[test]
fn a_refused_non_synchronizing_literal_is_skipped_with_the_rest_of_its_command() {
    let octets = b"a SELECT {8+}\r\nx NOOP\r\n {8+}\r\ny NOOP\r\n\r\nb NOOP\r\n";
    let found = read(&[octets], &small_limits(), Encoding::Utf8, |_| false);
    assert_eq!(found, [argument("a", 8, false), noop("b")]);
}

#[test]
fn a_literal_beyond_its_limit_is_refused_before_it_is_sent() {
    let too_large = || rejected(Some("a"), CommandError::LiteralTooLarge);
    assert_eq!(events(b"a SELECT {41}\r\nb NOOP\r\n"), [too_large(), noop("b")]);
    assert_eq!(events(b"a LOGIN {21}\r\nb NOOP\r\n"), [too_large(), noop("b")]);
    assert_eq!(events(b"a APPEND INBOX {61}\r\nb NOOP\r\n"), [too_large(), noop("b")]);
    let payload = "x".repeat(45);
    let octets = format!("a SELECT {{45+}}\r\n{payload}\r\nb NOOP\r\n");
    assert_eq!(events(octets.as_bytes()), [too_large(), noop("b")]);
}

#[test]
fn a_literal_too_large_to_be_skipped_closes_the_connection() {
    for size in ["501", "18446744073709551615", "99999999999999999999999999"] {
        let octets = format!("a APPEND INBOX {{{size}+}}\r\nb NOOP\r\n");
        assert_eq!(
            events(octets.as_bytes()),
            [rejected(Some("a"), CommandError::LiteralTooLarge), closed(None, CommandError::LiteralTooLarge)]
        );
    }
}

#[test]
fn a_literal_is_not_asked_for_where_none_can_be() {
    for line in ["a LOGIN x{4}", "a LOGIN \"x {4}", "a SEARCH BODY ~{4}", "a LOGIN \"\\\" {4}"] {
        let found = events(format!("{line}\r\nb NOOP\r\n").as_bytes());
        assert_eq!(found, [rejected(Some("a"), CommandError::MisplacedLiteral), noop("b")], "{line}");
    }
    // A non-synchronizing one is under way all the same (RFC 7888 §3).
    assert_eq!(
        events(b"a LOGIN \"x {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n"),
        [rejected(Some("a"), CommandError::MisplacedLiteral), noop("b")]
    );
}

#[test]
fn a_line_beyond_its_limit_is_refused_when_it_is_and_skipped_to_its_end() {
    let too_long = || rejected(Some("a"), CommandError::LineTooLong);
    let long = "y".repeat(300);
    assert_eq!(events(format!("a NOOP {long}").as_bytes()), [too_long()]);
    let octets = format!("a LOGIN {long} {{8+}}\r\nx NOOP\r\n\r\nb NOOP\r\n");
    assert_eq!(events(octets.as_bytes()), [too_long(), noop("b")]);
    let endless = "y".repeat(700);
    assert_eq!(
        events(endless.as_bytes()),
        [rejected(None, CommandError::LineTooLong), closed(None, CommandError::LineTooLong)]
    );
    // Exactly at the limit it is accepted.
    let line = format!("a SELECT \"{}\"\r\n", "z".repeat(30));
    let limits = Limits { line: line.len(), ..small_limits() };
    let found = read(&[line.as_bytes()], &limits, Encoding::Utf8, |_| true);
    assert!(matches!(found[..], [Event::Command(_)]), "{found:?}");
    let limits = Limits { line: line.len() - 1, ..small_limits() };
    assert_eq!(read(&[line.as_bytes()], &limits, Encoding::Utf8, |_| true), [too_long()]);
}

#[test]
fn every_count_has_its_limit() {
    let limited = [
        "a FETCH 1,2,3,4,5,6,7 FLAGS",
        "a FETCH 1,2,3,4,5,6:7,9 FLAGS",
        "a SEARCH 1,2,3,4 OR 5,6 7",
        "a SEARCH ALL ALL ALL ALL ALL ALL ALL",
        "a SEARCH NOT NOT NOT NOT NOT ALL",
        "a SEARCH (((((ALL)))))",
        "a SEARCH OR OR OR OR OR ALL ALL ALL ALL ALL ALL",
        "a STORE 1 FLAGS (a b c d e f)",
        "a STORE 1 FLAGS a b c d e f",
        "a FETCH 1 (UID FLAGS ENVELOPE BODY MODSEQ INTERNALDATE)",
        "a FETCH 1 BODY[HEADER.FIELDS (a b c d e f)]",
        "a FETCH 1 BODY[1.2.3.4.5.6]",
        "a LIST \"\" (a b c d)",
        "a ENABLE A B C D E F",
        "a SELECT x (A B C D E F)",
        "a SELECT x (A ((((())))))",
        "a SELECT yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        "a LIST \"\" yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ];
    for line in limited {
        let found = events(format!("{line}\r\nb NOOP\r\n").as_bytes());
        let Event::Rejected(Rejected { error, .. }) = &found[0] else { panic!("{line}: {found:?}") };
        assert!(matches!(error, CommandError::TooMany(_) | CommandError::TooDeep), "{line}: {error}");
        assert_eq!((error.status(), found[1..].to_vec()), (Status::No, vec![noop("b")]), "{line}");
    }
    let found = events(b"a LIST {1+}\r\nx ({1+}\r\ny {1+}\r\nz {1+}\r\nz)\r\nb NOOP\r\n");
    assert_eq!(found[3..], [rejected(Some("a"), CommandError::TooMany("literals")), noop("b")]);
}

#[test]
fn an_append_that_fails_late_appends_nothing() {
    let done = |event: &Event| matches!(event, Event::AppendDone { .. });
    let bad: [&[u8]; 4] = [
        b"a APPEND INBOX {2+}\r\nhi garbage\r\nb NOOP\r\n",
        b"a APPEND INBOX {2+}\r\nhi (\\Recent) {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n",
        b"a APPEND INBOX UTF8 (~{2+}\r\nhi\r\nb NOOP\r\n",
        b"a APPEND INBOX {2+}\r\nhi {0+}\r\n {0+}\r\n {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n",
    ];
    for octets in bad {
        let found = events(octets);
        assert!(!found.iter().any(done), "{found:?}");
        assert!(
            matches!(&found[found.len() - 2], Event::Rejected(r) if r.tag == Some(tag("a"))),
            "{found:?}"
        );
        assert_eq!(found.last(), Some(&noop("b")));
    }
}

#[test]
fn a_mailbox_name_of_append_may_be_a_literal() {
    let found = events(b"a append {5+}\r\nINBOX {2+}\r\nhi\r\n");
    assert_eq!(found[0], argument("a", 5, false));
    assert!(matches!(&found[1], Event::Literal(w) if matches!(w.purpose, LiteralPurpose::Message(_))));
    assert!(matches!(found[3], Event::AppendDone { .. }), "{found:?}");
}

#[test]
fn raw_lines_are_read_between_commands() {
    let mut reader = Reader::new(Arc::new(small_limits()));
    reader.feed(b"a IDLE\r\nDONE\r\nb NOOP\r\n");
    assert!(matches!(reader.next_event(), Event::Command(Request { command: Command::Idle, .. })));
    reader.expect_line();
    assert_eq!(reader.next_event(), Event::Line("DONE".into()));
    assert_eq!(reader.next_event(), noop("b"));
    // Nothing announces a literal in a raw line, and one that is too long does not hurt the next command.
    for line in ["{4+}".to_owned(), "y".repeat(200), "y".repeat(119), "a\rb".to_owned()] {
        reader.expect_line();
        reader.feed(format!("{line}\r\nc NOOP\r\n").as_bytes());
        assert!(matches!(reader.next_event(), Event::Line(_) | Event::Rejected(Rejected { tag: None, .. })));
        assert_eq!(reader.next_event(), noop("c"), "{line}");
    }
}

#[test]
fn nothing_is_held_while_idle() {
    let mut reader = Reader::new(Arc::new(Limits::default()));
    reader.feed(format!("a LOGIN \"{}\" x\r\nb FROB {{9+}}\r\n123456789\r\n", "y".repeat(5000)).as_bytes());
    assert!(!reader.is_idle());
    while reader.next_event() != Event::NeedMore {
        reader.accept_literal();
    }
    assert!(reader.is_idle());
    assert_eq!(reader.buffer().capacity(), 0);
}

#[test]
fn what_came_before_the_handshake_can_be_discarded() {
    let mut reader = Reader::new(Arc::new(Limits::default()));
    reader.feed(b"a STARTTLS\r\nb LOGIN x y\r\nc NO");
    assert!(matches!(reader.next_event(), Event::Command(Request { command: Command::StartTls, .. })));
    assert_eq!(reader.discard_buffered(), 17);
    assert_eq!(reader.next_event(), Event::NeedMore);
    reader.feed(b"d NOOP\r\n");
    assert_eq!(reader.next_event(), noop("d"));
}

/// Pieces of commands, good and bad, that make the interesting mixtures likely.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"a ",
        b"b NOOP",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"{3}\r\n",
        b"{5+}\r\n",
        b"{30+}\r\n",
        b"{70+}\r\n",
        b"{41}\r\n",
        b"{0}\r\n",
        b"~{4+}\r\n",
        b"{999999999999999999999+}\r\n",
        b"{2+}\n",
        b"{",
        b"+}",
        b"\"",
        b"\\",
        b"(",
        b")",
        b"LOGIN ",
        b"APPEND INBOX ",
        b"c APPEND ",
        b"UTF8 (",
        b"SEARCH ",
        b"FETCH 1:* ",
        b"BODY[HEADER.FIELDS (",
        b"]",
        b"<0.5>",
        b"NIL",
        b"\0",
        b"\xc3\xa9",
        b"\xff",
        b"&AOk-",
        b"d SELECT ",
        b"e UID STORE 1,2:* +FLAGS (\\Seen)",
        b"f LIST \"\" *",
        b"NOT ",
        b"OR ",
        b"g ID NIL",
        b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ];
    let word = prop_oneof![
        8 => select(words).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..6),
    ];
    vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn anything_is_read_within_the_limits_however_it_is_cut(
        octets in soup(), cuts in vec(any::<prop::sample::Index>(), 0..4), refuse in 1u64..5, utf8 in any::<bool>(),
    ) {
        let limits = small_limits();
        let encoding = if utf8 { Encoding::Utf8 } else { Encoding::ModifiedUtf7 };
        let accept = |wanted: &LiteralWanted| wanted.size % refuse != 1;
        // One octet at a time, which also checks the memory held after each.
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        let expected = read(&single, &limits, encoding, accept);
        let mut reader = Reader::new(Arc::new(limits.clone()));
        reader.feed(&octets);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
        places.extend([0, octets.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|w| &octets[w[0]..w[1]]).collect();
        prop_assert_eq!(read(&pieces, &limits, encoding, accept), expected);
    }

    #[test]
    fn data_is_never_taken_for_a_command(
        before in "[ -z|~]{0,40}", payload in vec(any::<u8>(), 0..40), after in "[ -z|~]{0,20}", accept in any::<bool>(),
    ) {
        // Whatever else is wrong with it, a command goes on after the literal it announces.
        let mut octets = format!("a {before}{{{}+}}\r\n", payload.len() + 8).into_bytes();
        octets.extend_from_slice(b"x NOOP\r\n");
        octets.extend_from_slice(&payload);
        octets.extend_from_slice(after.as_bytes());
        octets.extend_from_slice(b"\r\nb NOOP\r\n");
        let found = read(&[&octets], &small_limits(), Encoding::Utf8, |_| accept);
        let commands: Vec<&Request> =
            found.iter().filter_map(|e| if let Event::Command(r) = e { Some(r) } else { None }).collect();
        prop_assert_eq!(commands.last().map(|r| &r.tag), Some(&tag("b")), "{:?}", found);
        prop_assert!(!commands.iter().any(|r| r.tag == tag("x")), "{:?}", found);
    }
}
