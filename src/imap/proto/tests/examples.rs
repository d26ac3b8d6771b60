//! Lines from the RFCs, read as the RFCs mean them.

use super::requests;
use crate::proto::command::{Command, ListSelection, ParameterValue, Request, StatusItem, StoreAction};
use crate::proto::date::Date;
use crate::proto::fetch::FetchItem;
use crate::proto::flag::{Flag, Keyword};
use crate::proto::mailbox_name::Encoding;
use crate::proto::search::{SearchCharset, SearchKey, SearchReturn};
use crate::proto::section::{HeaderName, PartPath, Partial, Section, SectionText};
use crate::proto::sequence::SequenceSet;
use crate::proto::special_use::SpecialUse;

/// The one command in `line`, which gets its CRLF here.
fn command(line: &str) -> Command {
    let mut found = requests(format!("{line}\r\n").as_bytes(), Encoding::ModifiedUtf7);
    assert_eq!(found.len(), 1, "{line}");
    found.remove(0).command
}

/// What `command` refuses `line` with.
fn error(line: &str) -> String {
    let octets = format!("{line}\r\n");
    let found =
        super::read(&[octets.as_bytes()], &super::Limits::default(), Encoding::ModifiedUtf7, |_| true);
    match found.as_slice() {
        [super::Event::Rejected(rejected)] => rejected.error.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_example_line_is_read() {
    let lines = [
        // RFC 9051
        "a441 CAPABILITY",
        "a002 NOOP",
        "A023 LOGOUT",
        "a001 STARTTLS",
        "a001 LOGIN SMITH SESAME",
        "a1 ENABLE CONDSTORE",
        "t1 ENABLE IMAP4rev2",
        "A142 SELECT INBOX",
        "A932 EXAMINE blurdybloop",
        "A003 CREATE owatagusiam/",
        "A683 DELETE blurdybloop",
        "A682 RENAME blurdybloop sarasoop",
        "A002 SUBSCRIBE #news.comp.mail.mime",
        "A101 LIST \"\" \"\"",
        "A102 LIST #news.comp.mail.misc \"\"",
        "A202 LIST ~/Mail/ %",
        "A01 LIST (SUBSCRIBED) \"\" \"*\"",
        "A04 LIST (REMOTE) \"\" \"%\" RETURN (CHILDREN)",
        "A05 LIST (REMOTE SUBSCRIBED) \"\" \"*\"",
        "A06 LIST () \"\" \"INBOX\" RETURN (STATUS (MESSAGES UNSEEN))",
        "C02 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"%\"",
        "BBB LIST \"\" (\"INBOX\" \"Drafts\" \"Sent/%\")",
        "A001 NAMESPACE",
        "A042 STATUS blurdybloop (UIDNEXT MESSAGES)",
        "A002 IDLE",
        "FXXZ CHECK",
        "A341 CLOSE",
        "A342 UNSELECT",
        "A202 EXPUNGE",
        "A003 UID EXPUNGE 3000:3002",
        "A282 SEARCH RETURN (MIN COUNT) FLAGGED \
        SINCE 1-Feb-1994 NOT FROM \"Smith\"",
        "A283 SEARCH RETURN () FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"",
        "A284 SEARCH TEXT \"string not in mailbox\"",
        "C180 SEARCH RETURN (SAVE) FROM \"@example.com\"",
        "A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])",
        "A003 STORE 2:4 +FLAGS (\\Deleted)",
        "A003 COPY 2:4 MEETING",
        "a UID MOVE 42:69 foo",
        "A999 UID FETCH 4827313:4828442 FLAGS",
        "A023 FETCH $ (FLAGS)",
        "C282 SEARCH RETURN (SAVE) 1:$2 ALL",
        // RFC 3501
        "A002 LSUB \"#news.\" \"comp.mail.*\"",
        "A003 FETCH 12 RFC822.HEADER",
        "A001 SEARCH CHARSET UTF-8 TEXT {6+}\r\nXXXXXX",
        // RFC 2971, 3516, 4315, 5032, 5182, 5819, 6154, 7162, 7889, 8438, 8474, 9208
        "a023 ID (\"name\" \"sodr\" \"version\" \"19.34\" \"vendor\" \"Pink Floyd Music Limited\")",
        "a042 ID NIL",
        "3 FETCH 2 BINARY.PEEK[1.1]<0.100>",
        "a2 SEARCH UNSEEN YOUNGER 259200",
        "E282 UID SEARCH RETURN (SAVE COUNT) $ OR $ 1,3000:3021 TEXT {8+}\r\nmargarin",
        "t2 LIST \"\" % RETURN (SPECIAL-USE)",
        "t1 CREATE MySpecial (USE (\\Drafts \\Sent))",
        "s100 UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345)",
        "d105 STORE 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted)",
        "a SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338",
        "A142 SELECT INBOX (CONDSTORE)",
        "A02 SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541))",
        "t1 STATUS blurdybloop (APPENDLIMIT)",
        "A042 STATUS blurdybloop (UIDNEXT MESSAGES SIZE)",
        "3 STATUS foo (MAILBOXID)",
        "22 FETCH 1 (EMAILID THREADID)",
        "G0001 GETQUOTA \"!partition/sda4\"",
        "A003 GETQUOTAROOT INBOX",
        "A0001 SETQUOTA \"\" (STORAGE 512)",
    ];
    for line in lines.into_iter().filter(|line| !line.contains("1:$2")) {
        command(line);
    }
    // A saved result cannot be an end of a range.
    assert!(error("C282 SEARCH RETURN (SAVE) 1:$2 ALL").starts_with("a message number or * expected"));
}

#[test]
fn search_examples_mean_what_the_rfc_says() {
    let Command::Search(search) = command("A282 SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"") else {
        panic!()
    };
    assert_eq!(search.returns, None);
    assert_eq!(
        search.key,
        SearchKey::And(vec![
            SearchKey::HasFlag(Flag::Flagged),
            SearchKey::Since(Date::new(1994, 2, 1).unwrap()),
            SearchKey::Not(Box::new(SearchKey::From("Smith".into()))),
        ])
    );
    let Command::Search(search) = command("a UID SEARCH RETURN () CHARSET iso-8859-1 OR (SEEN OLD) $ UID 5")
    else {
        panic!()
    };
    assert!(search.uid);
    assert_eq!(search.returns, Some(SearchReturn { all: true, ..SearchReturn::default() }));
    assert_eq!(search.charset, SearchCharset::Other("iso-8859-1".into()));
    let seen_and_old =
        SearchKey::And(vec![SearchKey::HasFlag(Flag::Seen), SearchKey::LacksFlag(Flag::Recent)]);
    let SearchKey::And(keys) = search.key else { panic!() };
    assert_eq!(
        keys[0],
        SearchKey::Or(Box::new(seen_and_old), Box::new(SearchKey::Sequence(SequenceSet::Saved)))
    );
    assert_eq!(command("a SEARCH UNKEYWORD $Junk"), {
        let Command::Search(mut search) = command("a SEARCH ALL") else { panic!() };
        search.key = SearchKey::Unkeyword(Keyword::new("$junk").unwrap());
        Command::Search(search)
    });
}

#[test]
fn fetch_macros_and_sections() {
    let items = |line: &str| match command(line) {
        Command::Fetch(fetch) => fetch.items,
        other => panic!("{other:?}"),
    };
    let fast = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    assert_eq!(items("a FETCH 1 FAST"), fast);
    assert_eq!(items("a FETCH 1 all"), [&fast[..], &[FetchItem::Envelope]].concat());
    assert_eq!(items("a FETCH 1 FULL"), [&fast[..], &[FetchItem::Envelope, FetchItem::Body]].concat());
    assert_eq!(items("a FETCH 1 (UID UID FLAGS)"), [FetchItem::Uid, FetchItem::Flags]);
    let fields = ["DATE", "FROM"].map(|name| HeaderName::new(name.into()).unwrap()).to_vec();
    assert_eq!(
        items("A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])")[1],
        FetchItem::BodySection {
            peek: false,
            section: Section { part: PartPath::default(), text: Some(SectionText::HeaderFields(fields)) },
            partial: None,
        }
    );
    assert_eq!(
        items("a FETCH 1 body.peek[4.2.1.mime]<0.2048>"),
        [FetchItem::BodySection {
            peek: true,
            section: Section { part: PartPath(vec![4, 2, 1]), text: Some(SectionText::Mime) },
            partial: Some(Partial { offset: 0, length: 2048 }),
        }]
    );
    assert!(items("a FETCH 1 BODY[]")[0].sets_seen());
    assert!(!items("a FETCH 1 BODY.PEEK[]")[0].sets_seen());
    assert!(!items("a FETCH 1 RFC822.HEADER")[0].sets_seen());
    for bad in [
        "BODY[MIME]",
        "BODY[0]",
        "BODY[1.]",
        "BODY[]<0.0>",
        "BODY[1",
        "BODYSTRUCTURE[1]",
        "(ALL)",
        "()",
        "BODY[TEXT.1]",
        "RFC822[]",
    ] {
        error(&format!("a FETCH 1 {bad}"));
    }
}

#[test]
fn mailbox_commands() {
    let Command::List(list) =
        command("A01 LIST (SUBSCRIBED) \"\" % RETURN (STATUS (MESSAGES UNSEEN) CHILDREN)")
    else {
        panic!()
    };
    assert_eq!(list.selection, ListSelection { subscribed: true, ..ListSelection::default() });
    assert_eq!(list.returns.status, [StatusItem::Messages, StatusItem::Unseen]);
    assert!(list.returns.children && list.extended);
    assert!(error("a LIST (RECURSIVEMATCH REMOTE) \"\" *").contains("RECURSIVEMATCH"));
    let Command::Create { mailbox, special_use } =
        command("t1 CREATE \"MySpecial/\" (USE (\\Drafts \\Sent))")
    else {
        panic!()
    };
    assert_eq!(mailbox.as_str(), "MySpecial");
    assert_eq!(special_use, [SpecialUse::Drafts, SpecialUse::Sent]);
    assert_eq!(error("a CREATE x (USE (\\Foo))"), "no such special use");
    let Command::Select(select) = command("A02 SELECT INBOX (CONDSTORE QRESYNC (67890007 9:* (1 2)) X 5)")
    else {
        panic!()
    };
    let names: Vec<&str> = select.parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["CONDSTORE", "QRESYNC", "X"]);
    assert_eq!(select.parameters[0].value, None);
    assert_eq!(select.parameters[2].value, Some(ParameterValue::Text("5".into())));
    let Command::Delete(mailbox) = command("a DELETE \"&U,BTFw-/&ZeVnLIqe-\"") else { panic!() };
    assert_eq!(mailbox.as_str(), "\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}");
    error("a DELETE &U,BTFw");
    error("a DELETE \"\"");
}

#[test]
fn login_and_authenticate() {
    let Command::Login { username, password } = command("A1 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man")
    else {
        panic!()
    };
    assert_eq!((&username[..], password.expose()), (&b"FRED FOOBAR"[..], &b"fat man"[..]));
    assert!(!format!("{:?}", command("a LOGIN u hunter2")).contains("hunter2"));
    let response = |line: &str| match command(line) {
        Command::Authenticate { mechanism, initial_response } => {
            (mechanism, initial_response.map(|r| r.expose().to_vec()))
        }
        other => panic!("{other:?}"),
    };
    // RFC 4959 §4
    assert_eq!(
        response("C2 AUTHENTICATE plain dGVzdAB0ZXN0AHRlc3Q="),
        ("PLAIN".to_owned(), Some(b"test\0test\0test".to_vec()))
    );
    assert_eq!(response("C2 AUTHENTICATE EXTERNAL ="), ("EXTERNAL".to_owned(), Some(Vec::new())));
    assert_eq!(response("C2 AUTHENTICATE GSSAPI"), ("GSSAPI".to_owned(), None));
    error("C2 AUTHENTICATE PLAIN dGVzd");
}

#[test]
fn utf8_is_read_in_strings_and_names_a_mailbox_only_where_it_is_enabled() {
    // RFC 9051's quoted strings have it whether or not the client said ENABLE: a password may need it.
    command("a LOGIN fred \"caf\u{e9}\"");
    let line = "a SELECT \"caf\u{e9}\"\r\n".as_bytes();
    assert_eq!(requests(line, Encoding::Utf8).len(), 1);
    error("a SELECT \"caf\u{e9}\"");
    // It is checked, in a literal too.
    command("a SEARCH SUBJECT {5+}\r\ncaf\u{e9}");
    let bad = b"a SEARCH SUBJECT {2+}\r\n\xff\xfe\r\n";
    let found = super::read(&[bad], &super::Limits::default(), Encoding::Utf8, |_| true);
    assert!(matches!(&found[1], super::Event::Rejected(r) if r.error.to_string().contains("valid UTF-8")));
    error("a SELECT caf\u{e9}");
}

#[test]
fn store_forms() {
    let store = |line: &str| match command(line) {
        Command::Store(store) => store,
        other => panic!("{other:?}"),
    };
    let found =
        store("d105 UID STORE 7,5:* (UNCHANGEDSINCE 320162338) -FLAGS.SILENT \\Deleted $MDNSent \\deleted");
    assert_eq!((found.uid, found.silent, found.action), (true, true, StoreAction::Remove));
    assert_eq!(found.unchanged_since, Some(320_162_338));
    assert_eq!(found.flags, [Flag::Deleted, Flag::new("$MDNSent").unwrap()]);
    assert!(store("a STORE 1 FLAGS ()").flags.is_empty());
    for bad in [
        "a STORE 1 FLAGS (\\Recent)",
        "a STORE 1 FLAGS",
        "a STORE 0 FLAGS ()",
        "a STORE 1 FLAGS (\\Foo)",
        "a STORE 1 *FLAGS ()",
        "a STORE 1, FLAGS ()",
    ] {
        error(bad);
    }
    assert_eq!(
        error("a STORE 1 FLAGS (\\Recent)"),
        "a flag that can be set expected at octet 17 of the command"
    );
}

#[test]
fn requests_keep_their_tags() {
    let found: Vec<Request> = requests(b"A.1 NOOP\r\nx]y NOOP\r\n", Encoding::Utf8);
    assert_eq!(found.iter().map(|r| r.tag.to_string()).collect::<Vec<_>>(), ["A.1", "x]y"]);
}
