//! Responses as the RFCs show them, and whatever is put into them, whole.

use std::borrow::Cow;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::proto::command::StatusItem;
use crate::proto::date::DateTime;
use crate::proto::error::CommandError;
use crate::proto::event::Rejected;
use crate::proto::flag::Flag;
use crate::proto::mailbox_name::{Encoding, MailboxName};
use crate::proto::response::{
    Address, BodyKind, BodyStructure, Code, Disposition, Envelope, FetchWriter, ListAttribute, ListEntry,
    NamespaceEntry, ResponseWriter, Rfc822Name, SearchResult, SingleFields, Status, StatusValue, Text,
};
use crate::proto::search::SearchReturn;
use crate::proto::section::{HeaderName, PartPath, Section, SectionText};
use crate::proto::sequence::NumberSet;
use crate::proto::special_use::SpecialUse;
use crate::proto::tag::Tag;

fn written(encoding: Encoding, write: impl FnOnce(&mut ResponseWriter<'_>)) -> String {
    let mut out = BytesMut::new();
    write(&mut ResponseWriter::new(&mut out, encoding));
    String::from_utf8(out.to_vec()).unwrap()
}

fn rev1(write: impl FnOnce(&mut ResponseWriter<'_>)) -> String {
    written(Encoding::ModifiedUtf7, write)
}

fn fetched(write: impl FnOnce(&mut FetchWriter, &mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    let mut fetch = FetchWriter::begin(&mut out, 12, Encoding::ModifiedUtf7);
    write(&mut fetch, &mut out);
    fetch.end(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::new(text.to_owned().into()).unwrap()
}

fn set(numbers: impl IntoIterator<Item = u32>) -> NumberSet {
    numbers.into_iter().collect()
}

fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

fn text(text: &str) -> Text<'_> {
    Cow::Borrowed(text.as_bytes())
}

#[test]
fn status_responses() {
    assert_eq!(rev1(|w| w.tagged(&tag("a1"), Status::Ok, None, "done")), "a1 OK done\r\n");
    assert_eq!(
        rev1(|w| w.untagged(Status::Bye, Some(&Code::Unavailable), "going down")),
        "* BYE [UNAVAILABLE] going down\r\n"
    );
    let code = |code: Code| rev1(|w| w.untagged(Status::Ok, Some(&code), "x"));
    let uids = set([3956, 3957, 3958, 3960]);
    assert_eq!(
        code(Code::AppendUid { uid_validity: 38505, uids: uids.clone() }),
        "* OK [APPENDUID 38505 3956:3958,3960] x\r\n"
    );
    assert_eq!(
        code(Code::CopyUid {
            uid_validity: 38505,
            source: set([304, 319, 320]),
            destination: set(3956..=3958)
        }),
        "* OK [COPYUID 38505 304,319:320 3956:3958] x\r\n"
    );
    let flags = vec![Flag::Deleted, Flag::Seen];
    assert_eq!(
        code(Code::PermanentFlags { flags, more: true }),
        "* OK [PERMANENTFLAGS (\\Deleted \\Seen \\*)] x\r\n"
    );
    assert_eq!(code(Code::PermanentFlags { flags: vec![], more: false }), "* OK [PERMANENTFLAGS ()] x\r\n");
    assert_eq!(code(Code::BadCharset(vec!["UTF-8".into()])), "* OK [BADCHARSET (UTF-8)] x\r\n");
    assert_eq!(code(Code::Modified(set([7, 9]))), "* OK [MODIFIED 7,9] x\r\n");
    assert_eq!(code(Code::HighestModSeq(715_194_045_007)), "* OK [HIGHESTMODSEQ 715194045007] x\r\n");
    assert_eq!(code(Code::ReadWrite), "* OK [READ-WRITE] x\r\n");
    assert_eq!(code(Code::MailboxId("F2212ea87".into())), "* OK [MAILBOXID (F2212ea87)] x\r\n");
}

#[test]
fn refusals_say_whose_fault_it_is() {
    let reply = |tag, error, close| rev1(|w| w.rejected(&Rejected { tag, error, close }));
    assert_eq!(reply(Some(tag("a")), CommandError::UnknownCommand, false), "a BAD unknown command\r\n");
    assert_eq!(
        reply(Some(tag("a")), CommandError::TooMany("search keys"), false),
        "a NO [LIMIT] too many search keys\r\n"
    );
    let closing = reply(None, CommandError::LiteralTooLarge, true);
    assert!(closing.starts_with("* BAD [TOOBIG] ") && closing.contains("\r\n* BYE "), "{closing}");
}

#[test]
fn continuations() {
    assert_eq!(rev1(|w| w.continuation("idling")), "+ idling\r\n");
    assert_eq!(rev1(|w| w.challenge(b"")), "+ \r\n");
    assert_eq!(rev1(|w| w.challenge(b"Password:")), "+ UGFzc3dvcmQ6\r\n");
}

#[test]
fn lists() {
    let inbox = MailboxName::inbox();
    let (foo, old) = (name("Foo"), name("t\u{e9}"));
    let entry =
        |mailbox, attributes| ListEntry { mailbox, attributes, child_subscribed: false, old_name: None };
    assert_eq!(
        rev1(|w| w.list(&entry(&inbox, &[ListAttribute::Marked, ListAttribute::NoInferiors]))),
        "* LIST (\\Marked \\NoInferiors) \"/\" INBOX\r\n"
    );
    let sent = [ListAttribute::HasNoChildren, ListAttribute::SpecialUse(SpecialUse::Sent)];
    let special = name("A \"b\"");
    assert_eq!(
        rev1(|w| w.list(&entry(&special, &sent))),
        "* LIST (\\HasNoChildren \\Sent) \"/\" \"A \\\"b\\\"\"\r\n"
    );
    let both = ListEntry { child_subscribed: true, old_name: Some(&old), ..entry(&foo, &[]) };
    assert_eq!(
        rev1(|w| w.list(&both)),
        "* LIST () \"/\" Foo (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (t&AOk-))\r\n"
    );
    assert_eq!(rev1(|w| w.list(&entry(&old, &[]))), "* LIST () \"/\" t&AOk-\r\n");
    assert_eq!(written(Encoding::Utf8, |w| w.list(&entry(&old, &[]))), "* LIST () \"/\" \"t\u{e9}\"\r\n");
    assert_eq!(rev1(|w| w.lsub(&foo, &[ListAttribute::NoSelect])), "* LSUB (\\Noselect) \"/\" Foo\r\n");
    assert_eq!(rev1(|w| w.list_delimiter()), "* LIST (\\Noselect) \"/\" \"\"\r\n");
    assert_eq!(
        rev1(|w| w.namespace(&[NamespaceEntry { prefix: "" }], &[], &[NamespaceEntry { prefix: "Shared/" }])),
        "* NAMESPACE ((\"\" \"/\")) NIL ((\"Shared/\" \"/\"))\r\n"
    );
}

#[test]
fn searches() {
    let found = set([2, 10, 11]);
    assert_eq!(rev1(|w| w.search(&found, None)), "* SEARCH 2 10 11\r\n");
    assert_eq!(rev1(|w| w.search(&set([]), Some(5))), "* SEARCH\r\n");
    assert_eq!(rev1(|w| w.search(&found, Some(917_162_500))), "* SEARCH 2 10 11 (MODSEQ 917162500)\r\n");
    let all = SearchReturn { min: true, max: true, all: true, count: true, save: false };
    let tag = tag("A282");
    let result = SearchResult { tag: &tag, uid: true, returns: all, found: &found, mod_seq: None };
    assert_eq!(
        rev1(|w| w.esearch(&result)),
        "* ESEARCH (TAG \"A282\") UID MIN 2 MAX 11 ALL 2,10:11 COUNT 3\r\n"
    );
    let saved =
        SearchResult { returns: SearchReturn { save: true, ..SearchReturn::default() }, ..result.clone() };
    assert_eq!(rev1(|w| w.esearch(&saved)), "");
    let nothing = SearchResult { found: &set([]), uid: false, ..result };
    assert_eq!(rev1(|w| w.esearch(&nothing)), "* ESEARCH (TAG \"A282\") COUNT 0\r\n");
}

#[test]
fn mailbox_data() {
    let items = [
        (StatusItem::Messages, StatusValue::Number(231)),
        (StatusItem::AppendLimit, StatusValue::Nil),
        (StatusItem::MailboxId, StatusValue::ObjectId("F1")),
    ];
    assert_eq!(
        rev1(|w| w.status(&name("blurdybloop"), &items)),
        "* STATUS blurdybloop (MESSAGES 231 APPENDLIMIT NIL MAILBOXID (F1))\r\n"
    );
    assert_eq!(rev1(|w| w.flags(&[Flag::Answered, Flag::Seen])), "* FLAGS (\\Answered \\Seen)\r\n");
    assert_eq!(rev1(|w| w.exists(23)), "* 23 EXISTS\r\n");
    assert_eq!(rev1(|w| w.recent(5)), "* 5 RECENT\r\n");
    assert_eq!(rev1(|w| w.expunge(44)), "* 44 EXPUNGE\r\n");
    assert_eq!(rev1(|w| w.vanished(&set([300, 310, 311]), true)), "* VANISHED (EARLIER) 300,310:311\r\n");
    assert_eq!(rev1(|w| w.quota("", &[("STORAGE", 10, 512)])), "* QUOTA \"\" (STORAGE 10 512)\r\n");
    assert_eq!(rev1(|w| w.quota_root(&MailboxName::inbox(), &["", "a"])), "* QUOTAROOT INBOX \"\" a\r\n");
    assert_eq!(
        rev1(|w| w.capability(&["IMAP4rev2".into(), "AUTH=PLAIN".into()])),
        "* CAPABILITY IMAP4rev2 AUTH=PLAIN\r\n"
    );
    assert_eq!(rev1(|w| w.enabled(&["CONDSTORE"])), "* ENABLED CONDSTORE\r\n");
    assert_eq!(rev1(|w| w.id(&[])), "* ID NIL\r\n");
    assert_eq!(
        rev1(|w| w.id(&[("name", Some("Ekitei")), ("os", None)])),
        "* ID (\"name\" \"Ekitei\" \"os\" NIL)\r\n"
    );
}

fn rfc_envelope() -> Envelope<'static> {
    let terry = || vec![Address::new(Some(text("Terry Gray")), text("gray"), text("cac.washington.edu"))];
    Envelope {
        date: Some(text("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)")),
        subject: Some(text("IMAP4rev2 WG mtg summary and minutes")),
        from: terry(),
        to: vec![Address::new(None, text("imap"), text("cac.washington.edu"))],
        cc: vec![
            Address::new(None, text("minutes"), text("CNRI.Reston.VA.US")),
            Address::new(Some(text("John Klensin")), text("KLENSIN"), text("MIT.EDU")),
        ],
        message_id: Some(text("<B27397-0100000@cac.washington.edu>")),
        ..Envelope::default()
    }
}

#[test]
fn the_envelope_of_the_rfc() {
    // RFC 9051 §7.5.2 (sender and reply-to default to from).
    assert_eq!(
        fetched(|f, out| f.envelope(out, &rfc_envelope())),
        "* 12 FETCH (ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \
         \"IMAP4rev2 WG mtg summary and minutes\" \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((NIL NIL \"imap\" \"cac.washington.edu\")) \
         ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")\
         (\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
         \"<B27397-0100000@cac.washington.edu>\"))\r\n"
    );
    let group = Envelope {
        to: vec![Address::group_start(text("undisclosed")), Address::group_end()],
        ..Envelope::default()
    };
    assert_eq!(
        fetched(|f, out| f.envelope(out, &group)),
        "* 12 FETCH (ENVELOPE (NIL NIL NIL NIL NIL ((NIL NIL \"undisclosed\" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL))\r\n"
    );
}

fn single(kind: BodyKind<'static>) -> BodyStructure<'static> {
    BodyStructure { kind, parameters: Vec::new(), disposition: None, language: Vec::new(), location: None }
}

fn plain_text(size: u64, lines: u64) -> BodyStructure<'static> {
    let fields = SingleFields { size, ..SingleFields::default() };
    let mut body = single(BodyKind::Text { subtype: text("PLAIN"), fields, lines });
    body.parameters = vec![(text("CHARSET"), text("US-ASCII"))];
    body
}

#[test]
fn the_body_structures_of_the_rfc() {
    assert_eq!(
        fetched(|f, out| f.body(out, &plain_text(2279, 48))),
        "* 12 FETCH (BODY (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 2279 48))\r\n"
    );
    let mut attachment = plain_text(4554, 73);
    attachment.parameters.push((text("NAME"), text("cc.diff")));
    attachment.disposition =
        Some(Disposition { kind: text("attachment"), parameters: vec![(text("filename"), text("cc.diff"))] });
    attachment.language = vec![text("en"), text("de")];
    if let BodyKind::Text { fields, .. } = &mut attachment.kind {
        fields.id = Some(text("<960723163407.20117h@cac.washington.edu>"));
        fields.description = Some(text("Compiler diff"));
        fields.encoding = Some(text("BASE64"));
    }
    let mut mixed =
        single(BodyKind::Multipart { subtype: text("MIXED"), parts: vec![plain_text(1152, 23), attachment] });
    mixed.parameters = vec![(text("BOUNDARY"), text("b"))];
    let attached = "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\" \"NAME\" \"cc.diff\") \
                    \"<960723163407.20117h@cac.washington.edu>\" \"Compiler diff\" \"BASE64\" 4554 73";
    assert_eq!(
        fetched(|f, out| f.body(out, &mixed)),
        format!(
            "* 12 FETCH (BODY ((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)\
             {attached}) \"MIXED\"))\r\n"
        )
    );
    assert_eq!(
        fetched(|f, out| f.body_structure(out, &mixed)),
        format!(
            "* 12 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23 \
             NIL NIL NIL NIL){attached} NIL (\"attachment\" (\"filename\" \"cc.diff\")) (\"en\" \"de\") NIL) \
             \"MIXED\" (\"BOUNDARY\" \"b\") NIL NIL NIL))\r\n"
        )
    );
    let message = single(BodyKind::Message {
        subtype: text("RFC822"),
        fields: SingleFields { size: 99, ..SingleFields::default() },
        envelope: Box::new(Envelope::default()),
        body: Box::new(plain_text(5, 1)),
        lines: 7,
    });
    assert_eq!(
        fetched(|f, out| f.body(out, &message)),
        "* 12 FETCH (BODY (\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 99 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) \
         (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 5 1) 7))\r\n"
    );
}

#[test]
fn fetch_items_in_a_row() {
    let fields = ["DATE", "a(b"].map(|name| HeaderName::new(name.into()).unwrap()).to_vec();
    let header = Section { part: PartPath(vec![1, 2]), text: Some(SectionText::HeaderFields(fields)) };
    let part = PartPath(vec![1, 2]);
    let response = fetched(|f, out| {
        f.flags(out, &[Flag::Seen]);
        f.uid(out, 7);
        f.internal_date(out, DateTime { unix: 837_596_665, offset_minutes: -420 });
        f.rfc822_size(out, 4286);
        f.mod_seq(out, 624_140_003);
        f.section(out, &Section::whole(), Some(10), Some(b"hi\0"));
        f.section(out, &header, None, None);
        f.rfc822(out, Rfc822Name::Text, b"");
        f.binary(out, &part, None, Some(b"a\0"));
        f.binary_size(out, &part, 2);
        f.email_id(out, "M1");
        f.thread_id(out, None);
        f.section_header(out, &Section::whole(), None, 3);
        out.extend_from_slice(b"xyz");
    });
    assert_eq!(
        response,
        "* 12 FETCH (FLAGS (\\Seen) UID 7 INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 4286 \
         MODSEQ (624140003) BODY[]<10> {3}\r\nhi? BODY[1.2.HEADER.FIELDS (DATE \"a(b\")] NIL RFC822.TEXT \"\" \
         BINARY[1.2] ~{2}\r\na\0 BINARY.SIZE[1.2] 2 EMAILID (M1) THREADID NIL BODY[] {3}\r\nxyz)\r\n"
    );
}

/// Reads one response as a client does: over quoted strings and literals to the line end. Returns what is
/// left, or `None` if the parentheses do not balance or a string is broken.
fn client_reads(mut rest: &[u8]) -> Option<&[u8]> {
    let mut depth = 0i32;
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'"' => loop {
                let (&byte, tail) = rest.split_first()?;
                rest = tail;
                match byte {
                    b'"' => break,
                    b'\\' => rest = matches!(rest[0], b'"' | b'\\').then(|| &rest[1..])?,
                    b'\r' | b'\n' | 0 => return None,
                    _ => {}
                }
            },
            b'{' => {
                let end = rest.iter().position(|b| *b == b'}')?;
                let size: usize = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
                rest = rest[end + 1..].strip_prefix(b"\r\n")?.get(size..)?;
            }
            b'\r' => return if depth == 0 { rest.strip_prefix(b"\n") } else { None },
            b'\n' | 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
}

fn value() -> impl Strategy<Value = Option<Text<'static>>> {
    option::of(
        prop_oneof![vec(any::<u8>(), 0..20), "[a-z\"\\\\{}()\r\n]{0,12}".prop_map(String::into_bytes)]
            .prop_map(Cow::Owned),
    )
}

proptest! {
    #[test]
    fn nothing_in_a_string_ends_its_response(
        values in vec(value(), 12), human in any::<String>(), mailbox in "\\PC{1,10}", utf8 in any::<bool>(),
    ) {
        let encoding = if utf8 { Encoding::Utf8 } else { Encoding::ModifiedUtf7 };
        let mut out = BytesMut::new();
        let mut values = values.into_iter();
        let mut next = || values.next().flatten();
        let address = Address { name: next(), route: next(), mailbox: next(), host: next() };
        let envelope = Envelope {
            date: next(), subject: next(), to: vec![address], in_reply_to: next(), ..Envelope::default()
        };
        let fields = SingleFields { id: next(), description: next(), md5: next(), ..SingleFields::default() };
        let mut body = single(BodyKind::Basic { media_type: text("image"), subtype: text("png"), fields });
        body.parameters = vec![(next().unwrap_or_default(), next().unwrap_or_default())];
        let mut fetch = FetchWriter::begin(&mut out, 1, encoding);
        fetch.envelope(&mut out, &envelope);
        fetch.body_structure(&mut out, &body);
        fetch.email_id(&mut out, &human);
        fetch.end(&mut out);
        let mut writer = ResponseWriter::new(&mut out, encoding);
        writer.id(&[(&human, Some(&human))]);
        writer.quota(&human, &[(&human, 1, 2)]);
        if let Some(mailbox) = MailboxName::new(&mailbox) {
            writer.status(&mailbox, &[(StatusItem::MailboxId, StatusValue::ObjectId(&human))]);
        }
        let mut rest = &out[..];
        while !rest.is_empty() {
            rest = client_reads(rest).ok_or_else(|| TestCaseError::fail(out.escape_ascii().to_string()))?;
        }
    }

    #[test]
    fn human_text_stays_on_its_line_and_is_no_code(human in "[\\[\\] a-z\r\n\u{0}\u{e9}]{0,20}", utf8 in any::<bool>()) {
        let encoding = if utf8 { Encoding::Utf8 } else { Encoding::ModifiedUtf7 };
        let line = written(encoding, |w| w.untagged(Status::Ok, None, &human));
        let body = line.strip_prefix("* OK ").unwrap().strip_suffix("\r\n").unwrap();
        prop_assert!(!body.is_empty() && !body.starts_with('[') && !body.contains(char::is_control));
        prop_assert!(utf8 || body.is_ascii());
    }
}
