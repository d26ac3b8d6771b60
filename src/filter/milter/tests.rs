//! Properties of the codec.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::codec::{
    Answer, Change, Command, FrameError, MAX_ANSWER, MAX_DATA, Negotiation, Stage, take_frame,
};
use super::content::edited;

/// Text without a NUL.
fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=255_u8, 0..40)
}

fn word() -> impl Strategy<Value = String> {
    "[a-z<>@.]{1,20}"
}

/// Changes with the octets that a milter sends for them.
fn change() -> impl Strategy<Value = (Change, Vec<u8>)> {
    let named = |letter: u8, index: Option<u32>, name: &[u8], value: &[u8]| {
        let index = index.map(|index| index.to_be_bytes().to_vec()).unwrap_or_default();
        [&[letter], &index[..], name, b"\0", value, b"\0"].concat()
    };
    let (name, value) = ("[!-9;-~]{1,20}".prop_map(String::into_bytes), text());
    let header = (any::<u32>(), name, value).prop_flat_map(move |(index, name, value)| {
        let (n, v) = (Bytes::from(name.clone()), Bytes::from(value.clone()));
        let add = (Change::AddHeader { name: n.clone(), value: v.clone() }, named(b'h', None, &name, &value));
        let insert = (
            Change::InsertHeader { index, name: n.clone(), value: v.clone() },
            named(b'i', Some(index), &name, &value),
        );
        let change =
            (Change::ChangeHeader { index, name: n, value: v }, named(b'm', Some(index), &name, &value));
        prop_oneof![Just(add), Just(insert), Just(change)]
    });
    let body = proptest::collection::vec(any::<u8>(), 0..100)
        .prop_map(|octets| (Change::Body(octets.clone().into()), [b"b", &octets[..]].concat()));
    let address = word().prop_flat_map(|word| {
        let octets = |letter: char| format!("{letter}{word}\0").into_bytes();
        prop_oneof![
            Just((Change::AddRecipient(word.clone()), octets('+'))),
            Just((Change::DeleteRecipient(word.clone()), octets('-'))),
            Just((Change::Sender(word.clone()), octets('e'))),
            Just((Change::Quarantine(word.clone()), octets('q'))),
        ]
    });
    prop_oneof![header, body, address]
}

fn frame(octets: &[u8]) -> Vec<u8> {
    [&u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes()[..], octets].concat()
}

proptest! {
    #[test]
    fn changes_are_read_as_they_were_sent((change, octets) in change()) {
        let read = Answer::decode(octets[0], Bytes::copy_from_slice(&octets[1..]));
        prop_assert_eq!(read, Ok(Answer::Change(change)));
    }

    #[test]
    fn frames_are_the_same_in_pieces_of_any_size(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..6),
        size in 1..20_usize,
    ) {
        let octets: Vec<u8> = frames.iter().flat_map(|data| frame(data)).collect();
        let mut input = BytesMut::new();
        let mut read = Vec::new();
        for piece in octets.chunks(size) {
            input.extend_from_slice(piece);
            while let Some((letter, data)) = take_frame(&mut input)? {
                read.push([&[letter], &data[..]].concat());
            }
        }
        prop_assert_eq!(read, frames);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn any_octets_are_answers_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut input = BytesMut::from(octets.as_slice());
        while let Ok(Some((letter, data))) = take_frame(&mut input) {
            let _ = Answer::decode(letter, data);
        }
        if let Some((letter, data)) = octets.split_first() {
            let _ = Answer::decode(*letter, Bytes::copy_from_slice(data));
        }
    }

    #[test]
    fn no_command_is_longer_than_a_frame_or_tells_more_texts_than_it_has(
        name in text(), value in proptest::collection::vec(any::<u8>(), 0..70_000), parameter in word(),
    ) {
        let mut out = Vec::new();
        Command::Header(&name, &value).encode(&mut out);
        let length = u32::from_be_bytes(*out.first_chunk().unwrap_or(&[0; 4]));
        prop_assert_eq!(usize::try_from(length).unwrap_or(0), out.len() - 4);
        prop_assert!(out.len() <= 5 + MAX_DATA);
        prop_assert_eq!(out[5..].iter().filter(|octet| **octet == 0).count(), 2);
        prop_assert_eq!(out.last(), Some(&0));
        let mut mail = Vec::new();
        Command::Mail("<a\0b>", std::slice::from_ref(&parameter)).encode(&mut mail);
        let wanted = format!("M<a\0{parameter}\0");
        prop_assert_eq!(&mail[4..], wanted.as_bytes());
    }
}

const MAIL: &[u8] = b"Received: a\r\n by b\r\nSubject: One\r\nReceived: c\r\n\r\nBody\r\n";

proptest! {
    #[test]
    fn no_change_makes_a_message_that_is_none(changes in proptest::collection::vec(change(), 0..8)) {
        let changes: Vec<Change> = changes.into_iter().map(|(change, _)| change).collect();
        let message = edited(&Bytes::from_static(MAIL), &changes).unwrap_or(Bytes::from_static(MAIL));
        let pairs = [b"\r\n"].iter().map(|pair| message.windows(2).filter(|two| two == pair).count());
        let ends = message.iter().filter(|octet| b"\r\n".contains(octet)).count();
        prop_assert_eq!(pairs.sum::<usize>() * 2, ends, "a bare line end");
        let end = message.windows(4).position(|octets| octets == b"\r\n\r\n").map_or(0, |at| at + 4);
        let replaced = changes.iter().any(|change| matches!(change, Change::Body(_)));
        let headless = message.starts_with(b"\r\n");
        prop_assert!(replaced || headless || &message[end..] == b"Body\r\n", "the header lost its end");
    }
}

#[test]
fn the_length_of_a_frame_is_bounded_before_it_comes() {
    let take = |head: u32| take_frame(&mut BytesMut::from(&head.to_be_bytes()[..]));
    assert_eq!(take(0), Err(FrameError::Empty));
    assert_eq!(take(u32::MAX), Err(FrameError::TooLong(u32::MAX)));
    let most = u32::try_from(MAX_ANSWER).unwrap_or(0);
    assert_eq!(take(most), Ok(None));
    assert_eq!(take(most + 1), Err(FrameError::TooLong(most + 1)));
}

#[test]
fn negotiation_brings_options_and_chosen_macros() {
    let data = [&6_u32.to_be_bytes()[..], &[0, 0, 0, 1], &[0, 0, 4, 0], &[0, 0, 0, 5], b"i, {mail_addr} \0"]
        .concat();
    let wanted = Negotiation {
        version: 6,
        actions: 1,
        steps: 0x400,
        macros: vec![(5, vec!["i".to_owned(), "{mail_addr}".to_owned()])],
    };
    assert_eq!(Answer::decode(b'O', data.into()), Ok(Answer::Negotiated(wanted)));
}

#[test]
fn replies_keep_their_code_and_lose_their_lines() {
    let reply = |text: &str| match Answer::decode(b'y', Bytes::copy_from_slice(text.as_bytes())) {
        Ok(Answer::Reply(reply)) => Some((reply.code, reply.enhanced, reply.text)),
        _ => None,
    };
    let of = |code, enhanced: &str, text: &str| Some((code, Some(enhanced.to_owned()), text.to_owned()));
    assert_eq!(reply("550 5.7.1 No\0"), of(550, "5.7.1", "No"));
    assert_eq!(reply("451-4.7.1 Wait\r\n451 4.7.1 a bit\0"), of(451, "4.7.1", "Wait a bit"));
    assert_eq!(reply("554 No\0"), Some((554, None, "No".to_owned())));
    assert_eq!(reply("550 4.7.1 odd\0"), Some((550, None, "4.7.1 odd".to_owned())), "not of its class");
    for text in ["250 ok\0", "99 x\0", "5", "\0", "abc de\0", "+50 x\0", "６50 x\0"] {
        assert_eq!(reply(text), None, "{text}");
    }
}

#[test]
fn a_mapped_address_is_told_as_ipv4() {
    let mut out = Vec::new();
    let address = "::ffff:192.0.2.1".parse().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    Command::Connect { name: "a.test", address, port: 25 }.encode(&mut out);
    assert_eq!(&out[4..], b"Ca.test\x004\x00\x19192.0.2.1\0");
    let mut macros = Vec::new();
    Command::Macros(Stage::Mail, &[("i", "t1".to_owned())]).encode(&mut macros);
    assert_eq!(&macros[4..], b"DMi\0t1\0");
}
