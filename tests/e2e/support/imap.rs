//! A small IMAP client: enough to see what is in a mailbox, byte for byte.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One untagged response: its text with every literal left as `{n}`, and the literals in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untagged {
    /// Without the leading `* ` and without literals.
    pub text: String,
    /// The literals.
    pub literals: Vec<Vec<u8>>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Completion {
    /// `OK`, `NO` or `BAD` and the text.
    pub status: String,
    /// What came before it.
    pub untagged: Vec<Untagged>,
}

impl Completion {
    /// The same, after making sure that it was OK.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.starts_with("OK"), "{}", self.status);
        self
    }
}

/// The counters that STATUS reports (RFC 9051 §6.3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    pub messages: u64,
    pub unseen: u64,
    pub deleted: u64,
    pub size: u64,
    pub uid_next: u64,
}

/// One message as FETCH shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub uid: u64,
    pub flags: BTreeSet<String>,
    pub size: u64,
}

impl Fetched {
    /// Reads the items of a FETCH response; `None` if they do not tell the UID. Without a size it is 0.
    pub fn parse(items: &str) -> Option<Self> {
        let uid = number_after(items, "UID ")?;
        Some(Self { uid, flags: flags(items), size: number_after(items, "RFC822.SIZE ").unwrap_or(0) })
    }
}

/// One connection, without TLS (the services of the tests allow that).
pub struct Imap {
    reader: BufReader<TcpStream>,
    tag: u32,
}

impl Imap {
    /// Connects and logs in.
    pub fn login(address: SocketAddr, user: &str, password: &str) -> Self {
        Self::try_login(address, user, password).unwrap()
    }

    /// Connects and logs in, unless the connection breaks or the server refuses.
    pub fn try_login(address: SocketAddr, user: &str, password: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut imap = Self { reader: BufReader::new(stream), tag: 0 };
        let greeting = imap.read_response()?.text;
        assert!(greeting.starts_with("* OK"), "{greeting}");
        let login = imap.try_command(&format!("LOGIN \"{user}\" \"{password}\""))?;
        if login.status.starts_with("OK") { Ok(imap) } else { Err(std::io::Error::other(login.status)) }
    }

    /// Runs a command to its completion.
    pub fn command(&mut self, command: &str) -> Completion {
        self.try_command(command).unwrap()
    }

    /// Runs a command to its completion, unless the connection breaks.
    pub fn try_command(&mut self, command: &str) -> std::io::Result<Completion> {
        self.run(command.as_bytes())
    }

    fn run(&mut self, command: &[u8]) -> std::io::Result<Completion> {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        self.reader.get_mut().write_all(&[tag.as_bytes(), command, b"\r\n"].concat())?;
        let mut untagged = Vec::new();
        loop {
            let response = self.read_response()?;
            if let Some(text) = response.text.strip_prefix("* ") {
                untagged.push(Untagged { text: text.to_owned(), literals: response.literals });
            } else if let Some(status) = response.text.strip_prefix(&tag) {
                return Ok(Completion { status: status.to_owned(), untagged });
            } else {
                panic!("neither untagged nor the answer to {tag}: {}", response.text);
            }
        }
    }

    /// Selects a mailbox.
    pub fn select(&mut self, mailbox: &str) {
        self.command(&format!("SELECT \"{mailbox}\"")).ok();
    }

    /// Idles until the server has said this (RFC 9051 §6.3.13).
    pub fn idle_until(&mut self, wanted: &str) {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        self.reader.get_mut().write_all(format!("{tag}IDLE\r\n").as_bytes()).unwrap();
        assert!(self.read_response().unwrap().text.starts_with("+ "));
        while self.read_response().unwrap().text != wanted {}
        self.reader.get_mut().write_all(b"DONE\r\n").unwrap();
        while !self.read_response().unwrap().text.starts_with(&format!("{tag}OK")) {}
    }

    /// Appends a message with a non-synchronising literal.
    pub fn append(&mut self, mailbox: &str, flags: &str, message: &[u8]) -> Completion {
        let head = format!("APPEND \"{mailbox}\" ({flags}) {{{}+}}\r\n", message.len());
        self.run(&[head.as_bytes(), message].concat()).unwrap()
    }

    /// Everything the server still sends until it closes the connection.
    pub fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is one way of closing.
        let _ = self.reader.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The messages of the selected mailbox in the order of their numbers.
    pub fn list(&mut self) -> Vec<Fetched> {
        let fetched = self.command("UID FETCH 1:* (UID FLAGS RFC822.SIZE)").ok();
        let items = fetched.untagged.iter().filter_map(|response| response.text.split_once(" FETCH "));
        // An update without a size is another client's flag change, not an answer to this command.
        items
            .filter(|(_, items)| items.contains("RFC822.SIZE "))
            .filter_map(|(_, items)| Fetched::parse(items))
            .collect()
    }

    /// The bodies of the selected mailbox by UID, without setting `\Seen`.
    pub fn bodies(&mut self) -> Vec<(u64, Vec<u8>)> {
        let fetched = self.command("UID FETCH 1:* (UID BODY.PEEK[])").ok();
        let with_body = fetched.untagged.into_iter().filter(|response| response.text.contains(" FETCH "));
        with_body
            .map(|response| {
                let uid = number_after(&response.text, "UID ").unwrap();
                (uid, response.literals.into_iter().next().unwrap_or_default())
            })
            .collect()
    }

    /// What STATUS counts.
    pub fn status(&mut self, mailbox: &str) -> Counters {
        let command = format!("STATUS \"{mailbox}\" (MESSAGES UNSEEN DELETED SIZE UIDNEXT)");
        let done = self.command(&command).ok();
        let status = done.untagged.iter().find(|response| response.text.starts_with("STATUS ")).unwrap();
        let number = |name: &str| number_after(&status.text, name).unwrap();
        Counters {
            messages: number("MESSAGES "),
            unseen: number("UNSEEN "),
            deleted: number("DELETED "),
            size: number(" SIZE "),
            uid_next: number("UIDNEXT "),
        }
    }

    /// What SEARCH finds, as UIDs.
    pub fn search(&mut self, criteria: &str) -> Vec<u64> {
        let done = self.command(&format!("UID SEARCH {criteria}")).ok();
        let mut found = Vec::new();
        for response in &done.untagged {
            if let Some(uids) = response.text.strip_prefix("SEARCH") {
                found.extend(uids.split_whitespace().map(|uid| uid.parse::<u64>().unwrap()));
            }
        }
        found
    }

    fn read_response(&mut self) -> std::io::Result<Untagged> {
        let mut text = String::new();
        let mut literals = Vec::new();
        loop {
            let mut line = Vec::new();
            self.reader.read_until(b'\n', &mut line)?;
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            };
            let line = String::from_utf8_lossy(line);
            let literal =
                line.strip_suffix('}').and_then(|head| head.rsplit_once('{')).map(|(_, length)| length);
            text.push_str(&line);
            let Some(length) = literal.and_then(|length| length.parse::<usize>().ok()) else {
                return Ok(Untagged { text, literals });
            };
            let mut bytes = vec![0; length];
            self.reader.read_exact(&mut bytes)?;
            literals.push(bytes);
        }
    }
}

/// The number that follows `name` in `text`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = &text[text.find(name)? + name.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// The flags in a FETCH response, without `\Recent`, which belongs to one session.
pub fn flags(items: &str) -> BTreeSet<String> {
    let list =
        items.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(list, _)| list);
    list.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect()
}
