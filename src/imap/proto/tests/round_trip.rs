//! What a client writes is what is read, however it is written and however it is cut.

use std::num::NonZeroU32;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::serialize::{Serializer, serialize};
use super::{read, requests};
use crate::proto::command::{
    AppendForm, Command, List, ListReturn, ListSelection, Parameter, ParameterValue, Request, Secret, Select,
    StatusItem, Store, StoreAction, Transfer,
};
use crate::proto::date::{Date, DateTime};
use crate::proto::event::{Event, LiteralPurpose};
use crate::proto::fetch::{Fetch, FetchItem};
use crate::proto::flag::{Flag, Keyword};
use crate::proto::limits::Limits;
use crate::proto::mailbox_name::{Encoding, ListPattern, MailboxName};
use crate::proto::search::{Search, SearchCharset, SearchKey, SearchReturn};
use crate::proto::section::{HeaderName, PartPath, Partial, Section, SectionText};
use crate::proto::sequence::{SequenceBound, SequenceRange, SequenceSet};
use crate::proto::special_use::SpecialUse;
use crate::proto::tag::Tag;

fn tag() -> impl Strategy<Value = Tag> {
    "[A-Za-z0-9.\\]-]{1,6}".prop_map(|text| Tag::new(text.into()).unwrap())
}

fn octets() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        "[a-z]{1,8}".prop_map(Bytes::from),
        "[ -~]{0,10}".prop_map(Bytes::from),
        vec(1u8..=255, 0..12).prop_map(Bytes::from),
    ]
}

/// Text as a search or an encoding allows it.
fn text() -> impl Strategy<Value = Bytes> {
    any::<String>().prop_map(|text| Bytes::from(text.replace('\0', "")))
}

fn mailbox() -> impl Strategy<Value = MailboxName> {
    prop_oneof!["[a-zA-Z/]{1,10}", "\\PC{1,8}", "(?i)inbox(/[a-z&]{1,4})?"]
        .prop_filter_map("a name", |name| MailboxName::new(&name))
}

fn pattern() -> impl Strategy<Value = ListPattern> {
    prop_oneof!["[a-z/%*]{0,8}", "\\PC{0,8}"].prop_filter_map("a pattern", |text| ListPattern::new(&text))
}

fn sequence_set() -> impl Strategy<Value = SequenceSet> {
    let bound = prop_oneof![
        3 => (1u32..).prop_map(|n| SequenceBound::Number(NonZeroU32::new(n).unwrap())),
        1 => Just(SequenceBound::Largest),
    ];
    let range = (bound.clone(), option::of(bound))
        .prop_map(|(start, end)| SequenceRange { start, end: end.unwrap_or(start) });
    prop_oneof![1 => Just(SequenceSet::Saved), 8 => vec(range, 1..5).prop_map(SequenceSet::Ranges)]
}

fn keyword() -> impl Strategy<Value = Keyword> {
    "[$A-Za-z0-9_.-]{1,8}".prop_map(|name| Keyword::new(&name).unwrap())
}

fn flags() -> impl Strategy<Value = Vec<Flag>> {
    let system = vec![Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft];
    (subsequence(system, 0..=5), option::of(keyword())).prop_map(|(mut flags, keyword)| {
        flags.extend(keyword.map(Flag::Keyword));
        flags
    })
}

fn date() -> impl Strategy<Value = Date> {
    (-30_000i64..60_000).prop_map(|days| Date::from_unix(days * 86_400, 0))
}

fn header_name() -> impl Strategy<Value = HeaderName> {
    "[!-9;-~]{1,10}".prop_map(|name| HeaderName::new(name.into()).unwrap())
}

fn part() -> impl Strategy<Value = PartPath> {
    vec(1u32.., 0..4).prop_map(PartPath)
}

fn partial() -> impl Strategy<Value = Option<Partial>> {
    option::of((0u64..1 << 40, 1u64..1 << 40).prop_map(|(offset, length)| Partial { offset, length }))
}

fn section() -> impl Strategy<Value = Section> {
    let text = option::of(prop_oneof![
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        vec(header_name(), 1..4).prop_map(SectionText::HeaderFields),
        vec(header_name(), 1..4).prop_map(SectionText::HeaderFieldsNot),
    ]);
    (part(), text).prop_map(|(part, text)| {
        let no_mime = part.0.is_empty() && text == Some(SectionText::Mime);
        Section { part, text: if no_mime { None } else { text } }
    })
}

fn fetch_item() -> impl Strategy<Value = FetchItem> {
    prop_oneof![
        3 => select(vec![
            FetchItem::Envelope, FetchItem::Flags, FetchItem::InternalDate, FetchItem::Uid, FetchItem::Rfc822Size,
            FetchItem::ModSeq, FetchItem::EmailId, FetchItem::ThreadId, FetchItem::SaveDate, FetchItem::Body,
            FetchItem::BodyStructure, FetchItem::Rfc822, FetchItem::Rfc822Header, FetchItem::Rfc822Text,
        ]),
        2 => (any::<bool>(), section(), partial())
            .prop_map(|(peek, section, partial)| FetchItem::BodySection { peek, section, partial }),
        1 => (any::<bool>(), part(), partial())
            .prop_map(|(peek, part, partial)| FetchItem::Binary { peek, part, partial }),
        1 => part().prop_map(|part| FetchItem::BinarySize { part }),
    ]
}

fn fetch() -> impl Strategy<Value = Fetch> {
    (any::<bool>(), sequence_set(), vec(fetch_item(), 1..6), option::of(0u64..1 << 62), any::<bool>())
        .prop_map(|(uid, set, items, changed_since, vanished)| Fetch {
            uid,
            set,
            items: crate::proto::command::arguments::without_repetition(items),
            changed_since,
            vanished: vanished && uid && changed_since.is_some(),
        })
}

fn leaf_key() -> impl Strategy<Value = SearchKey> {
    let system = vec![Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft, Flag::Recent];
    let id = || "[A-Za-z0-9_-]{1,10}".prop_map(Bytes::from);
    let text_keys: Vec<fn(Bytes) -> SearchKey> = vec![
        SearchKey::Bcc,
        SearchKey::Cc,
        SearchKey::From,
        SearchKey::To,
        SearchKey::Subject,
        SearchKey::Body,
        SearchKey::Text,
    ];
    let date_keys: Vec<fn(Date) -> SearchKey> = vec![
        SearchKey::Before,
        SearchKey::On,
        SearchKey::Since,
        SearchKey::SentBefore,
        SearchKey::SentOn,
        SearchKey::SentSince,
        SearchKey::SavedBefore,
        SearchKey::SavedOn,
        SearchKey::SavedSince,
    ];
    let number_keys: Vec<fn(u32) -> SearchKey> = vec![
        SearchKey::Older,
        SearchKey::Younger,
        |n| SearchKey::Larger(n.into()),
        |n| SearchKey::Smaller(n.into()),
        |n| SearchKey::ModSeq(n.into()),
    ];
    prop_oneof![
        select(vec![SearchKey::All, SearchKey::New, SearchKey::SaveDateSupported]),
        (select(system), any::<bool>()).prop_map(|(flag, has)| if has {
            SearchKey::HasFlag(flag)
        } else {
            SearchKey::LacksFlag(flag)
        }),
        (keyword(), any::<bool>()).prop_map(|(k, has)| if has {
            SearchKey::Keyword(k)
        } else {
            SearchKey::Unkeyword(k)
        }),
        (select(text_keys), text()).prop_map(|(make, text)| make(text)),
        (header_name(), text()).prop_map(|(name, value)| SearchKey::Header { name, value }),
        (select(date_keys), date()).prop_map(|(make, date)| make(date)),
        (select(number_keys), 1u32..).prop_map(|(make, n)| make(n)),
        (sequence_set(), any::<bool>()).prop_map(|(set, uid)| if uid {
            SearchKey::Uid(set)
        } else {
            SearchKey::Sequence(set)
        }),
        (id(), any::<bool>()).prop_map(|(id, email)| if email {
            SearchKey::EmailId(id)
        } else {
            SearchKey::ThreadId(id)
        }),
    ]
}

fn key() -> impl Strategy<Value = SearchKey> {
    leaf_key().prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(SearchKey::And),
            inner.clone().prop_map(|key| SearchKey::Not(Box::new(key))),
            (inner.clone(), inner).prop_map(|(a, b)| SearchKey::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn search() -> impl Strategy<Value = Search> {
    let returns = any::<[bool; 5]>().prop_map(|[min, max, all, count, save]| SearchReturn {
        min,
        max,
        all: all || !(min || max || count || save),
        count,
        save,
    });
    let charset = prop_oneof![
        4 => Just(SearchCharset::Utf8),
        1 => Just(SearchCharset::Other("ISO-8859-15".into())),
    ];
    (any::<bool>(), option::of(returns), charset, key()).prop_map(|(uid, returns, charset, key)| Search {
        uid,
        returns,
        charset,
        key,
    })
}

fn store() -> impl Strategy<Value = Store> {
    let action = select(vec![StoreAction::Replace, StoreAction::Add, StoreAction::Remove]);
    (any::<bool>(), sequence_set(), option::of(0u64..1 << 62), action, any::<bool>(), flags()).prop_map(
        |(uid, set, unchanged_since, action, silent, flags)| Store {
            uid,
            set,
            unchanged_since,
            action,
            silent,
            flags,
        },
    )
}

fn list() -> impl Strategy<Value = List> {
    let status = subsequence(StatusItem::ALL.to_vec(), 0..=11);
    (any::<[bool; 4]>(), mailbox(), vec(pattern(), 1..4), any::<[bool; 3]>(), status, any::<bool>()).prop_map(
        |(s, reference, patterns, r, status, extended)| {
            let selection = ListSelection {
                subscribed: s[0],
                remote: s[1],
                recursive_match: s[2] && (s[0] || s[3]),
                special_use: s[3],
            };
            let returns = ListReturn { subscribed: r[0], children: r[1], special_use: r[2], status };
            if extended {
                return List { selection, reference: reference.to_string(), patterns, returns, extended };
            }
            List {
                selection: ListSelection::default(),
                reference: String::new(),
                patterns: patterns[..1].to_vec(),
                returns: ListReturn::default(),
                extended,
            }
        },
    )
}

fn parameters() -> impl Strategy<Value = Vec<Parameter>> {
    let value = octets().prop_map(ParameterValue::Text);
    let value = value.prop_recursive(3, 8, 3, |inner| vec(inner, 0..3).prop_map(ParameterValue::List));
    let value = prop_oneof![
        "[1-9][0-9:,]{0,5}".prop_map(|text| ParameterValue::Text(text.into())),
        vec(value, 0..3).prop_map(ParameterValue::List),
    ];
    vec(("[A-Z][A-Z0-9-]{0,8}", option::of(value)).prop_map(|(name, value)| Parameter { name, value }), 0..3)
}

fn session_command() -> impl Strategy<Value = Command> {
    let name = || "[A-Z][A-Z0-9=-]{0,9}";
    prop_oneof![
        select(vec![
            Command::Capability,
            Command::Noop,
            Command::Logout,
            Command::StartTls,
            Command::Namespace,
            Command::Idle,
            Command::Check,
            Command::Close,
            Command::Unselect,
            Command::Expunge,
        ]),
        (name(), option::of(octets())).prop_map(|(mechanism, response)| Command::Authenticate {
            mechanism,
            initial_response: response.map(Secret::new),
        }),
        (octets(), octets())
            .prop_map(|(username, password)| Command::Login { username, password: Secret::new(password) }),
        vec((octets(), option::of(octets())), 0..4).prop_map(Command::Id),
        vec(name(), 1..4).prop_map(Command::Enable),
    ]
}

fn mailbox_command() -> impl Strategy<Value = Command> {
    let one: Vec<fn(MailboxName) -> Command> =
        vec![Command::Delete, Command::Subscribe, Command::Unsubscribe, Command::GetQuotaRoot];
    let two: Vec<fn(Select) -> Command> = vec![Command::Select, Command::Examine];
    prop_oneof![
        (select(one), mailbox()).prop_map(|(make, mailbox)| make(mailbox)),
        (select(two), mailbox(), parameters())
            .prop_map(|(make, mailbox, parameters)| make(Select { mailbox, parameters })),
        (mailbox(), subsequence(SpecialUse::ALL.to_vec(), 0..=8))
            .prop_map(|(mailbox, special_use)| Command::Create { mailbox, special_use }),
        (mailbox(), mailbox()).prop_map(|(from, to)| Command::Rename { from, to }),
        list().prop_map(Command::List),
        (mailbox(), pattern())
            .prop_map(|(reference, pattern)| Command::Lsub { reference: reference.to_string(), pattern }),
        (mailbox(), subsequence(StatusItem::ALL.to_vec(), 1..=11))
            .prop_map(|(mailbox, items)| Command::Status { mailbox, items }),
        octets().prop_map(Command::GetQuota),
        (octets(), vec(("[A-Z]{1,8}", 0u64..1 << 62), 0..3))
            .prop_map(|(root, limits)| Command::SetQuota { root, limits }),
    ]
}

fn message_command() -> impl Strategy<Value = Command> {
    let transfer = || {
        (any::<bool>(), sequence_set(), mailbox()).prop_map(|(uid, set, mailbox)| Transfer {
            uid,
            set,
            mailbox,
        })
    };
    prop_oneof![
        1 => sequence_set().prop_map(Command::UidExpunge),
        4 => search().prop_map(Command::Search),
        4 => fetch().prop_map(Command::Fetch),
        2 => store().prop_map(Command::Store),
        1 => transfer().prop_map(Command::Copy),
        1 => transfer().prop_map(Command::Move),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    (tag(), prop_oneof![session_command(), mailbox_command(), message_command()])
        .prop_map(|(tag, command)| Request { tag, command })
}

fn encoding() -> impl Strategy<Value = Encoding> {
    select(vec![Encoding::ModifiedUtf7, Encoding::Utf8])
}

#[derive(Debug, Clone)]
struct Message {
    flags: Vec<Flag>,
    date: Option<DateTime>,
    form: AppendForm,
    synchronizing: bool,
    octets: Vec<u8>,
}

fn message() -> impl Strategy<Value = Message> {
    let date =
        (0i64..1 << 32, -1439i16..1440).prop_map(|(unix, offset_minutes)| DateTime { unix, offset_minutes });
    let form = select(vec![AppendForm::Literal, AppendForm::Literal8, AppendForm::Utf8]);
    (flags(), option::of(date), form, any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(
        |(flags, date, form, synchronizing, octets)| Message { flags, date, form, synchronizing, octets },
    )
}

fn append(mailbox: &MailboxName, messages: &[Message], encoding: Encoding, style: &[u8]) -> Vec<u8> {
    let mut serializer = Serializer::new(encoding, style);
    serializer.text("a APPEND ");
    serializer.mailbox(mailbox.as_str());
    for message in messages {
        serializer.text(" ");
        if !message.flags.is_empty() {
            serializer.flags(&message.flags);
            serializer.text(" ");
        }
        if let Some(date) = message.date {
            serializer.text(&format!("\"{date}\" "));
        }
        serializer.text(match message.form {
            AppendForm::Literal => "",
            AppendForm::Literal8 => "~",
            AppendForm::Utf8 => "UTF8 (~",
        });
        let plus = if message.synchronizing { "" } else { "+" };
        serializer.text(&format!("{{{}{plus}}}\r\n", message.octets.len()));
        serializer.out.extend_from_slice(&message.octets);
        serializer.text(if message.form == AppendForm::Utf8 { ")" } else { "" });
    }
    serializer.text("\r\n");
    serializer.out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_command_is_read_as_it_was_written(
        request in request(), encoding in encoding(), style in vec(any::<u8>(), 1..16),
    ) {
        let octets = serialize(&request, encoding, &style);
        prop_assert_eq!(requests(&octets, encoding), [request], "{}", octets.escape_ascii());
    }
}

proptest! {
    #[test]
    fn how_the_octets_are_cut_does_not_matter(
        request in request(), encoding in encoding(), style in vec(any::<u8>(), 1..16),
    ) {
        let octets = serialize(&request, encoding, &style);
        let limits = Limits::default();
        let whole = read(&[&octets], &limits, encoding, |_| true);
        for cut in 0..=octets.len() {
            let (a, b) = octets.split_at(cut);
            prop_assert_eq!(&read(&[a, b], &limits, encoding, |_| true), &whole, "cut at {}", cut);
        }
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        prop_assert_eq!(&read(&single, &limits, encoding, |_| true), &whole);
    }

    #[test]
    fn appended_messages_arrive_whole_and_in_order(
        mailbox in mailbox(), messages in vec(message(), 1..4), encoding in encoding(),
        style in vec(any::<u8>(), 1..16), piece in 1usize..50,
    ) {
        let octets = append(&mailbox, &messages, encoding, &style);
        let pieces: Vec<&[u8]> = octets.chunks(piece).collect();
        let events = read(&pieces, &Limits::default(), encoding, |_| true);
        let mut events = events.into_iter().filter(|event| {
            !matches!(event, Event::Literal(wanted) if wanted.purpose == LiteralPurpose::Argument)
        });
        for (index, message) in messages.iter().enumerate() {
            let Some(Event::Literal(wanted)) = events.next() else { panic!("no literal {index}") };
            prop_assert_eq!(wanted.size, message.octets.len() as u64);
            prop_assert_eq!(wanted.synchronizing, message.synchronizing);
            let LiteralPurpose::Message(announced) = wanted.purpose else { panic!("no message {index}") };
            prop_assert_eq!(&announced.mailbox, &mailbox);
            prop_assert_eq!(&announced.flags, &message.flags);
            prop_assert_eq!(announced.date, message.date);
            prop_assert_eq!((announced.form, announced.index), (message.form, index));
            let data = Bytes::from(message.octets.clone());
            prop_assert_eq!(events.next(), Some(Event::AppendData { data, last: true }));
        }
        prop_assert_eq!(events.next(), Some(Event::AppendDone { tag: Tag::new("a".into()).unwrap() }));
        prop_assert_eq!(events.next(), None);
    }
}
