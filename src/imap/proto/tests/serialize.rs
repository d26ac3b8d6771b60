//! A client's side of the grammar: writes commands, in one of the ways that each string can be written.

use bytes::Bytes;

use crate::proto::command::{
    Command, List, Parameter, ParameterValue, Request, Secret, Select, StatusItem, Store, StoreAction,
    Transfer,
};
use crate::proto::fetch::{Fetch, FetchItem};
use crate::proto::flag::Flag;
use crate::proto::lexer::{is_astring_char, is_list_char};
use crate::proto::mailbox_name::Encoding;
use crate::proto::mutf7;
use crate::proto::search::{Search, SearchCharset, SearchKey};
use crate::proto::section::{HeaderName, PartPath, Partial, Section, SectionText};

/// Writes commands; `style` supplies the free choices, over and over.
pub(super) struct Serializer<'s> {
    pub(super) out: Vec<u8>,
    pub(super) encoding: Encoding,
    style: std::iter::Cycle<std::slice::Iter<'s, u8>>,
}

/// The text of a request, with its CRLF.
pub(super) fn serialize(request: &Request, encoding: Encoding, style: &[u8]) -> Vec<u8> {
    let mut serializer = Serializer::new(encoding, style);
    serializer.text(&format!("{} ", request.tag));
    serializer.command(&request.command);
    serializer.text("\r\n");
    serializer.out
}

impl<'s> Serializer<'s> {
    pub(super) fn new(encoding: Encoding, style: &'s [u8]) -> Serializer<'s> {
        Serializer { out: Vec::new(), encoding, style: style.iter().cycle() }
    }

    fn choose(&mut self, choices: u8) -> u8 {
        self.style.next().unwrap() % choices
    }

    pub(super) fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A keyword of the grammar, in any case.
    fn word(&mut self, word: &str) {
        match self.choose(2) {
            0 => self.text(word),
            _ => self.text(&word.to_ascii_lowercase()),
        }
    }

    fn string(&mut self, octets: &[u8]) {
        let ascii = octets.iter().all(|b| (1..0x80).contains(b));
        let utf8 = self.encoding == Encoding::Utf8 && std::str::from_utf8(octets).is_ok();
        let quotable = (ascii || utf8) && !octets.iter().any(|b| matches!(b, b'\r' | b'\n'));
        match self.choose(3) {
            0 => self.text(&format!("{{{}}}\r\n", octets.len())),
            1 => self.text(&format!("{{{}+}}\r\n", octets.len())),
            _ if !quotable => self.text(&format!("{{{}+}}\r\n", octets.len())),
            _ => {
                self.text("\"");
                for &b in octets {
                    if matches!(b, b'"' | b'\\') {
                        self.text("\\");
                    }
                    self.out.push(b);
                }
                return self.text("\"");
            }
        }
        self.out.extend_from_slice(octets);
    }

    fn string_or(&mut self, octets: &[u8], atom: fn(u8) -> bool) {
        let atom = !octets.is_empty() && octets.iter().all(|b| atom(*b));
        if atom && self.choose(2) == 0 { self.out.extend_from_slice(octets) } else { self.string(octets) }
    }

    fn astring(&mut self, octets: &[u8]) {
        self.string_or(octets, is_astring_char);
    }

    fn encoded(&self, name: &str) -> Vec<u8> {
        match self.encoding {
            Encoding::Utf8 => name.as_bytes().to_vec(),
            Encoding::ModifiedUtf7 => mutf7::encode(name).into_bytes(),
        }
    }

    pub(super) fn mailbox(&mut self, name: &str) {
        let octets = self.encoded(name);
        self.astring(&octets);
    }

    fn pattern(&mut self, pattern: &str) {
        let octets = self.encoded(pattern);
        self.string_or(&octets, is_list_char);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.text("(");
        for (i, item) in items.iter().enumerate() {
            self.text(if i > 0 { " " } else { "" });
            write(self, item);
        }
        self.text(")");
    }

    pub(super) fn flags(&mut self, flags: &[Flag]) {
        self.list(flags, |s, flag| s.word_of_flag(flag));
    }

    fn word_of_flag(&mut self, flag: &Flag) {
        self.word(flag.as_str());
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Capability => self.word("CAPABILITY"),
            Command::Noop => self.word("NOOP"),
            Command::Logout => self.word("LOGOUT"),
            Command::StartTls => self.word("STARTTLS"),
            Command::Namespace => self.word("NAMESPACE"),
            Command::Idle => self.word("IDLE"),
            Command::Check => self.word("CHECK"),
            Command::Close => self.word("CLOSE"),
            Command::Unselect => self.word("UNSELECT"),
            Command::Expunge => self.word("EXPUNGE"),
            Command::UidExpunge(set) => self.text(&format!("UID EXPUNGE {set}")),
            Command::Search(search) => self.search(search),
            Command::Fetch(fetch) => self.fetch(fetch),
            Command::Store(store) => self.store(store),
            Command::Copy(transfer) => self.transfer("COPY", transfer),
            Command::Move(transfer) => self.transfer("MOVE", transfer),
            Command::Authenticate { mechanism, initial_response } => {
                self.authenticate(mechanism, initial_response.as_ref());
            }
            Command::Login { username, password } => {
                self.word("LOGIN ");
                self.astring(username);
                self.text(" ");
                self.astring(password.expose());
            }
            Command::Id(fields) => self.id(fields),
            Command::Enable(names) => {
                self.word("ENABLE");
                names.iter().for_each(|name| self.word(&format!(" {name}")));
            }
            other => self.mailbox_command(other),
        }
    }

    fn mailbox_command(&mut self, command: &Command) {
        match command {
            Command::Select(select) => self.select("SELECT ", select),
            Command::Examine(select) => self.select("EXAMINE ", select),
            Command::Create { mailbox, special_use } => {
                self.word("CREATE ");
                self.mailbox(&format!("{mailbox}/"));
                if !special_use.is_empty() {
                    self.word(" (USE ");
                    self.list(special_use, |s, special| s.word(special.as_str()));
                    self.text(")");
                }
            }
            Command::Rename { from, to } => {
                self.word("RENAME ");
                self.mailbox(from.as_str());
                self.text(" ");
                self.mailbox(to.as_str());
            }
            Command::List(list) => self.list_command(list),
            Command::Lsub { reference, pattern } => {
                self.word("LSUB ");
                self.mailbox(reference);
                self.text(" ");
                self.pattern(pattern.as_str());
            }
            Command::Status { mailbox, items } => {
                self.word("STATUS ");
                self.mailbox(mailbox.as_str());
                self.text(" ");
                self.status_items(items);
            }
            Command::GetQuota(root) => {
                self.word("GETQUOTA ");
                self.astring(root);
            }
            Command::SetQuota { root, limits } => {
                self.word("SETQUOTA ");
                self.astring(root);
                self.text(" ");
                self.list(limits, |s, (resource, limit)| s.word(&format!("{resource} {limit}")));
            }
            Command::Delete(mailbox) => self.one_mailbox("DELETE ", mailbox.as_str()),
            Command::Subscribe(mailbox) => self.one_mailbox("SUBSCRIBE ", mailbox.as_str()),
            Command::Unsubscribe(mailbox) => self.one_mailbox("UNSUBSCRIBE ", mailbox.as_str()),
            Command::GetQuotaRoot(mailbox) => self.one_mailbox("GETQUOTAROOT ", mailbox.as_str()),
            other => panic!("{other:?} is no command on mailboxes"),
        }
    }

    fn one_mailbox(&mut self, name: &str, mailbox: &str) {
        self.word(name);
        self.mailbox(mailbox);
    }

    fn authenticate(&mut self, mechanism: &str, initial_response: Option<&Secret>) {
        use base64::Engine;
        self.word("AUTHENTICATE ");
        self.word(mechanism);
        match initial_response.map(Secret::expose) {
            None => {}
            Some(b"") => self.text(" ="),
            Some(octets) => {
                self.text(" ");
                self.text(&base64::engine::general_purpose::STANDARD.encode(octets));
            }
        }
    }

    fn id(&mut self, fields: &[(Bytes, Option<Bytes>)]) {
        self.word("ID ");
        if fields.is_empty() && self.choose(2) == 0 {
            return self.word("NIL");
        }
        self.list(fields, |s, (name, value)| {
            s.string(name);
            s.text(" ");
            match value {
                Some(value) => s.string(value),
                None => s.word("NIL"),
            }
        });
    }

    fn select(&mut self, name: &str, select: &Select) {
        self.word(name);
        self.mailbox(select.mailbox.as_str());
        if !select.parameters.is_empty() {
            self.text(" ");
            self.list(&select.parameters, Self::parameter);
        }
    }

    fn parameter(&mut self, parameter: &Parameter) {
        self.word(&parameter.name);
        match &parameter.value {
            None => {}
            Some(ParameterValue::Text(number)) => {
                self.text(" ");
                self.out.extend_from_slice(number);
            }
            Some(list) => {
                self.text(" ");
                self.parameter_value(list);
            }
        }
    }

    fn parameter_value(&mut self, value: &ParameterValue) {
        match value {
            ParameterValue::Text(text) => self.string_or(text, is_list_char),
            ParameterValue::List(values) => self.list(values, Self::parameter_value),
        }
    }

    fn list_command(&mut self, list: &List) {
        self.word("LIST ");
        let selection = [
            (list.selection.subscribed, "SUBSCRIBED"),
            (list.selection.remote, "REMOTE"),
            (list.selection.recursive_match, "RECURSIVEMATCH"),
            (list.selection.special_use, "SPECIAL-USE"),
        ];
        let selection: Vec<&str> = selection.iter().filter(|s| s.0).map(|s| s.1).collect();
        if !selection.is_empty() {
            self.list(&selection, |s, option| s.word(option));
            self.text(" ");
        }
        self.mailbox(&list.reference);
        self.text(" ");
        match list.patterns.as_slice() {
            [one] => self.pattern(one.as_str()),
            many => self.list(many, |s, pattern| s.pattern(pattern.as_str())),
        }
        let returns = [
            (list.returns.subscribed, "SUBSCRIBED"),
            (list.returns.children, "CHILDREN"),
            (list.returns.special_use, "SPECIAL-USE"),
            (!list.returns.status.is_empty(), "STATUS"),
        ];
        let returns: Vec<&str> = returns.iter().filter(|s| s.0).map(|s| s.1).collect();
        if list.extended {
            self.word(" RETURN ");
            self.list(&returns, |s, option| {
                s.word(option);
                if *option == "STATUS" {
                    s.text(" ");
                    s.status_items(&list.returns.status);
                }
            });
        }
    }

    fn status_items(&mut self, items: &[StatusItem]) {
        self.list(items, |s, item| s.word(item.as_str()));
    }

    fn uid(&mut self, uid: bool) {
        self.word(if uid { "UID " } else { "" });
    }

    fn transfer(&mut self, name: &str, transfer: &Transfer) {
        self.uid(transfer.uid);
        self.word(&format!("{name} {} ", transfer.set));
        self.mailbox(transfer.mailbox.as_str());
    }

    fn store(&mut self, store: &Store) {
        self.uid(store.uid);
        self.word(&format!("STORE {} ", store.set));
        if let Some(since) = store.unchanged_since {
            self.word(&format!("(UNCHANGEDSINCE {since}) "));
        }
        self.text(match store.action {
            StoreAction::Replace => "",
            StoreAction::Add => "+",
            StoreAction::Remove => "-",
        });
        self.word(if store.silent { "FLAGS.SILENT " } else { "FLAGS " });
        if store.flags.is_empty() || self.choose(2) == 0 {
            return self.flags(&store.flags);
        }
        for (i, flag) in store.flags.iter().enumerate() {
            self.text(if i > 0 { " " } else { "" });
            self.word_of_flag(flag);
        }
    }

    fn fetch(&mut self, fetch: &Fetch) {
        self.uid(fetch.uid);
        self.word(&format!("FETCH {} ", fetch.set));
        match fetch.items.as_slice() {
            [one] if self.choose(2) == 0 => self.fetch_item(one),
            many => self.list(many, Self::fetch_item),
        }
        if let Some(since) = fetch.changed_since {
            self.word(&format!(" (CHANGEDSINCE {since}{})", if fetch.vanished { " VANISHED" } else { "" }));
        }
    }

    fn fetch_item(&mut self, item: &FetchItem) {
        match item {
            FetchItem::Envelope => self.word("ENVELOPE"),
            FetchItem::Flags => self.word("FLAGS"),
            FetchItem::InternalDate => self.word("INTERNALDATE"),
            FetchItem::Uid => self.word("UID"),
            FetchItem::Rfc822Size => self.word("RFC822.SIZE"),
            FetchItem::ModSeq => self.word("MODSEQ"),
            FetchItem::EmailId => self.word("EMAILID"),
            FetchItem::ThreadId => self.word("THREADID"),
            FetchItem::SaveDate => self.word("SAVEDATE"),
            FetchItem::Body => self.word("BODY"),
            FetchItem::BodyStructure => self.word("BODYSTRUCTURE"),
            FetchItem::Rfc822 => self.word("RFC822"),
            FetchItem::Rfc822Header => self.word("RFC822.HEADER"),
            FetchItem::Rfc822Text => self.word("RFC822.TEXT"),
            FetchItem::BodySection { peek, section, partial } => {
                self.word(if *peek { "BODY.PEEK" } else { "BODY" });
                self.section(section);
                self.partial(*partial);
            }
            FetchItem::Binary { peek, part, partial } => {
                self.word(if *peek { "BINARY.PEEK" } else { "BINARY" });
                self.text(&format!("[{}]", path(part)));
                self.partial(*partial);
            }
            FetchItem::BinarySize { part } => self.word(&format!("BINARY.SIZE[{}]", path(part))),
        }
    }

    fn section(&mut self, section: &Section) {
        self.text(&format!("[{}", path(&section.part)));
        self.text(if section.part.0.is_empty() || section.text.is_none() { "" } else { "." });
        match &section.text {
            None => {}
            Some(SectionText::Header) => self.word("HEADER"),
            Some(SectionText::Text) => self.word("TEXT"),
            Some(SectionText::Mime) => self.word("MIME"),
            Some(SectionText::HeaderFields(names)) => self.header_fields("HEADER.FIELDS ", names),
            Some(SectionText::HeaderFieldsNot(names)) => self.header_fields("HEADER.FIELDS.NOT ", names),
        }
        self.text("]");
    }

    fn header_fields(&mut self, word: &str, names: &[HeaderName]) {
        self.word(word);
        self.list(names, |s, name| s.astring(name.as_bytes()));
    }

    fn partial(&mut self, partial: Option<Partial>) {
        if let Some(Partial { offset, length }) = partial {
            self.text(&format!("<{offset}.{length}>"));
        }
    }

    fn search(&mut self, search: &Search) {
        self.uid(search.uid);
        self.word("SEARCH ");
        if let Some(returns) = search.returns {
            let options = [
                (returns.min, "MIN"),
                (returns.max, "MAX"),
                (returns.all, "ALL"),
                (returns.count, "COUNT"),
                (returns.save, "SAVE"),
            ];
            let options: Vec<&str> = options.iter().filter(|o| o.0).map(|o| o.1).collect();
            self.word("RETURN ");
            // ALL alone may be left out.
            let options = if options == ["ALL"] && self.choose(2) == 0 { Vec::new() } else { options };
            self.list(&options, |s, option| s.word(option));
            self.text(" ");
        }
        match &search.charset {
            SearchCharset::Utf8 if self.choose(2) == 0 => self.word("CHARSET UTF-8 "),
            SearchCharset::Utf8 => {}
            SearchCharset::Other(name) => {
                self.word("CHARSET ");
                self.astring(name);
                self.text(" ");
            }
        }
        match &search.key {
            SearchKey::And(keys) => self.keys(keys),
            key => self.key(key),
        }
    }

    fn keys(&mut self, keys: &[SearchKey]) {
        for (i, key) in keys.iter().enumerate() {
            self.text(if i > 0 { " " } else { "" });
            self.key(key);
        }
    }

    fn key(&mut self, key: &SearchKey) {
        match key {
            SearchKey::And(keys) => {
                self.text("(");
                self.keys(keys);
                self.text(")");
            }
            SearchKey::Or(a, b) => {
                self.word("OR ");
                self.key(a);
                self.text(" ");
                self.key(b);
            }
            SearchKey::Not(key) => {
                self.word("NOT ");
                self.key(key);
            }
            SearchKey::HasFlag(flag) => self.word(&flag.as_str()[1..].to_ascii_uppercase()),
            SearchKey::LacksFlag(Flag::Recent) => self.word("OLD"),
            SearchKey::LacksFlag(flag) => {
                self.word(&format!("UN{}", flag.as_str()[1..].to_ascii_uppercase()))
            }
            SearchKey::Keyword(keyword) => self.word(&format!("KEYWORD {}", keyword.as_str())),
            SearchKey::Unkeyword(keyword) => self.word(&format!("UNKEYWORD {}", keyword.as_str())),
            SearchKey::Bcc(text) => self.text_key("BCC ", text),
            SearchKey::Cc(text) => self.text_key("CC ", text),
            SearchKey::From(text) => self.text_key("FROM ", text),
            SearchKey::To(text) => self.text_key("TO ", text),
            SearchKey::Subject(text) => self.text_key("SUBJECT ", text),
            SearchKey::Body(text) => self.text_key("BODY ", text),
            SearchKey::Text(text) => self.text_key("TEXT ", text),
            SearchKey::Header { name, value } => {
                self.word("HEADER ");
                self.astring(name.as_bytes());
                self.text(" ");
                self.astring(value);
            }
            other => {
                let text = plain_key(other);
                self.text(&text);
            }
        }
    }

    fn text_key(&mut self, name: &str, text: &[u8]) {
        self.word(name);
        self.astring(text);
    }
}

fn path(part: &PartPath) -> String {
    part.0.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

fn plain_key(key: &SearchKey) -> String {
    match key {
        SearchKey::All => "ALL".to_owned(),
        SearchKey::New => "NEW".to_owned(),
        SearchKey::SaveDateSupported => "SAVEDATESUPPORTED".to_owned(),
        SearchKey::Before(date) => format!("BEFORE {date}"),
        SearchKey::On(date) => format!("ON \"{date}\""),
        SearchKey::Since(date) => format!("SINCE {date}"),
        SearchKey::SentBefore(date) => format!("SENTBEFORE {date}"),
        SearchKey::SentOn(date) => format!("SENTON {date}"),
        SearchKey::SentSince(date) => format!("SENTSINCE \"{date}\""),
        SearchKey::SavedBefore(date) => format!("SAVEDBEFORE {date}"),
        SearchKey::SavedOn(date) => format!("SAVEDON {date}"),
        SearchKey::SavedSince(date) => format!("SAVEDSINCE {date}"),
        SearchKey::Larger(n) => format!("LARGER {n}"),
        SearchKey::Smaller(n) => format!("SMALLER {n}"),
        SearchKey::Older(n) => format!("OLDER {n}"),
        SearchKey::Younger(n) => format!("YOUNGER {n}"),
        SearchKey::Uid(set) => format!("UID {set}"),
        SearchKey::Sequence(set) => set.to_string(),
        SearchKey::ModSeq(n) if n % 2 == 0 => format!("MODSEQ \"/flags/\\\\draft\" all {n}"),
        SearchKey::ModSeq(n) => format!("MODSEQ {n}"),
        SearchKey::EmailId(id) => format!("EMAILID {}", String::from_utf8_lossy(id)),
        SearchKey::ThreadId(id) => format!("THREADID {}", String::from_utf8_lossy(id)),
        other => panic!("{other:?} has its own arm"),
    }
}
