//! mbox in its mboxrd variant: a `From ` line before each message, and `>` before every line of a message that looks like one.
//!
//! Flags are in the fields Status, X-Status and X-Keywords in front of the header, as mail readers write them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::{Mail, with_lf};
use crate::cli::dates;
use crate::cli::exit::{Context, Outcome};

/// What begins a message.
const SEPARATOR: &[u8] = b"From ";
/// Flags, the field they are in, and their letters.
const FLAGS: [(&str, &str, char); 5] = [
    ("\\Seen", "Status", 'R'),
    ("\\Answered", "X-Status", 'A'),
    ("\\Flagged", "X-Status", 'F'),
    ("\\Deleted", "X-Status", 'D'),
    ("\\Draft", "X-Status", 'T'),
];
/// The field of keywords, separated by spaces.
const KEYWORDS: &str = "X-Keywords";

/// Whether a file begins like an mbox.
pub(super) fn is_mbox(path: &Path) -> bool {
    let mut start = [0; SEPARATOR.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == SEPARATOR
}

/// The messages of an mbox, one at a time in memory.
pub(super) struct Reader<R> {
    lines: R,
    /// The `From ` line of the next message.
    next: Option<Vec<u8>>,
    name: String,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Outcome<Self> {
        let file = File::open(path).context(path.display())?;
        Self::new(BufReader::new(file), path.display().to_string())
    }
}

impl<R: BufRead> Reader<R> {
    fn new(mut lines: R, name: String) -> Outcome<Self> {
        let mut first = Vec::new();
        lines.read_until(b'\n', &mut first).context(&name)?;
        Ok(Self { lines, next: first.starts_with(SEPARATOR).then_some(first), name })
    }

    /// Reads up to the next `From ` line after an empty one, or to the end.
    fn message(&mut self, separator: &[u8]) -> Outcome<Mail> {
        let mut octets = Vec::new();
        let mut after_empty = false;
        loop {
            let mut line = Vec::new();
            if self.lines.read_until(b'\n', &mut line).context(&self.name)? == 0 {
                break;
            }
            if after_empty && line.starts_with(SEPARATOR) {
                self.next = Some(line);
                break;
            }
            after_empty = matches!(line.as_slice(), b"\n" | b"\r\n");
            octets.extend_from_slice(unquoted(&line));
        }
        // The empty line before the next separator is not the message's.
        if after_empty {
            octets.truncate(octets.len() - if octets.ends_with(b"\r\n") { 2 } else { 1 });
        }
        let received = dates::parse_asctime(&String::from_utf8_lossy(separator));
        let (octets, flags) = without_status(&octets);
        Ok(Mail { octets, flags, received })
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Outcome<Mail>;

    fn next(&mut self) -> Option<Outcome<Mail>> {
        let separator = self.next.take()?;
        Some(self.message(&separator))
    }
}

/// A line without one `>`, if it is a quoted separator.
fn unquoted(line: &[u8]) -> &[u8] {
    if line.starts_with(b">") && is_separator_or_quoted(line) { &line[1..] } else { line }
}

fn is_separator_or_quoted(line: &[u8]) -> bool {
    let marks = line.iter().take_while(|&&octet| octet == b'>').count();
    line[marks..].starts_with(SEPARATOR)
}

/// Takes the fields that mail readers keep flags in out of the header. Where they stand in front, as [`Writer`] puts them, any
/// further ones came with the message: they stay, and whoever sent it sets no flags.
fn without_status(message: &[u8]) -> (Vec<u8>, Vec<String>) {
    let mut kept = Vec::with_capacity(message.len());
    let mut flags = Vec::new();
    let mut rest = message;
    let in_front = status_flags(&message[..field_end(message)]).is_some();
    while !rest.is_empty() {
        if rest[..line_end(rest)].trim_ascii().is_empty() {
            break;
        }
        let (field, after) = rest.split_at(field_end(rest));
        match status_flags(field) {
            Some(found) => flags.extend(found),
            None if in_front => break,
            None => kept.extend_from_slice(field),
        }
        rest = after;
    }
    kept.extend_from_slice(rest);
    (kept, flags)
}

/// Where the first line ends.
fn line_end(text: &[u8]) -> usize {
    text.iter().position(|&octet| octet == b'\n').map_or(text.len(), |at| at + 1)
}

/// Where the first field ends, with the lines that continue it.
fn field_end(text: &[u8]) -> usize {
    let mut end = line_end(text);
    while matches!(text.get(end), Some(b' ' | b'\t')) {
        let next = end + line_end(&text[end..]);
        if text[end..next].trim_ascii().is_empty() {
            break;
        }
        end = next;
    }
    end
}

/// The flags in a header field, if it is one of those.
fn status_flags(field: &[u8]) -> Option<Vec<String>> {
    let field = std::str::from_utf8(field).ok()?;
    let (name, value) = field.split_once(':')?;
    if name.eq_ignore_ascii_case(KEYWORDS) {
        return Some(value.split_ascii_whitespace().map(str::to_owned).collect());
    }
    if !FLAGS.iter().any(|(_, field, _)| name.eq_ignore_ascii_case(field)) {
        return None;
    }
    let is_here = |(_, field, letter): &&(&str, &str, char)| {
        name.eq_ignore_ascii_case(field) && value.contains(*letter)
    };
    Some(FLAGS.iter().filter(is_here).map(|(flag, ..)| (*flag).to_owned()).collect())
}

/// Writes an mbox.
pub(super) struct Writer<W: Write> {
    file: W,
    name: String,
}

impl Writer<BufWriter<File>> {
    /// Makes a file; one that is there is not touched, because it may be someone's mail.
    pub(super) fn create(path: &Path) -> Outcome<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context(folder.display())?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path).context(path.display())?;
        Ok(Self { file: BufWriter::new(file), name: path.display().to_string() })
    }

    /// Makes sure that everything is on disk.
    pub(super) fn finish(mut self) -> Outcome {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).context(&self.name)
    }
}

impl<W: Write> Writer<W> {
    /// Appends a message.
    pub(super) fn write(&mut self, mail: &Mail) -> Outcome {
        let date = dates::asctime(mail.received.unwrap_or(0));
        let mut text = format!("From MAILER-DAEMON {date}\n{}", status_fields(&mail.flags)).into_bytes();
        for line in with_lf(&mail.octets).split_inclusive(|&octet| octet == b'\n') {
            if is_separator_or_quoted(line) {
                text.push(b'>');
            }
            text.extend_from_slice(line);
        }
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.push(b'\n');
        self.file.write_all(&text).context(&self.name)
    }
}

/// The fields that keep flags; `O` says that a reader has listed the message, which is so for every stored one.
fn status_fields(flags: &[String]) -> String {
    let letters = |field: &str| -> String {
        let is_set = |flag: &str| flags.iter().any(|set| set.eq_ignore_ascii_case(flag));
        FLAGS
            .iter()
            .filter(|(flag, of, _)| *of == field && is_set(flag))
            .map(|(.., letter)| *letter)
            .collect()
    };
    let keywords: Vec<&str> =
        flags.iter().filter(|flag| !flag.starts_with('\\')).map(String::as_str).collect();
    let mut fields = format!("Status: {}O\n", letters("Status"));
    let more = letters("X-Status");
    if !more.is_empty() {
        fields.push_str(&format!("X-Status: {more}\n"));
    }
    if !keywords.is_empty() {
        fields.push_str(&format!("{KEYWORDS}: {}\n", keywords.join(" ")));
    }
    fields
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Vec<Mail> {
        Reader::new(text, "test".to_owned()).unwrap().map(Result::unwrap).collect()
    }

    fn written(mails: &[Mail]) -> Vec<u8> {
        let mut writer = Writer { file: Vec::new(), name: String::new() };
        for mail in mails {
            writer.write(mail).unwrap();
        }
        writer.file
    }

    #[test]
    fn an_mbox_of_another_program_is_read() {
        let mbox = b"From alice@example.test Sun Nov 22 08:27:11 2026\nSubject: One\nStatus: RO\nX-Status: AF\n\n\
            >From here\n>>From there\nFrom me, in the middle\n\nFrom bob Sun Nov 22 08:27:12 2026\nSubject: Two\n\nEnd\n";
        let mails = read(mbox);
        assert_eq!(mails.len(), 2);
        assert_eq!(mails[0].octets, b"Subject: One\n\nFrom here\n>From there\nFrom me, in the middle\n");
        assert_eq!(mails[0].flags, ["\\Seen", "\\Answered", "\\Flagged"]);
        assert_eq!(mails[0].received, Some(1_795_336_031));
        assert_eq!(mails[1].octets, b"Subject: Two\n\nEnd\n");
        assert_eq!(mails[1].flags, Vec::<String>::new());
        assert!(read(b"no mbox at all\n").is_empty());
    }

    #[test]
    fn a_folded_field_of_keywords_leaves_nothing_behind() {
        let mails = read(b"From x\nSubject: One\nX-Keywords: Work\n Later\nTo: x\n y\n\nText\n");
        assert_eq!(mails[0].octets, b"Subject: One\nTo: x\n y\n\nText\n");
        assert_eq!(mails[0].flags, ["Work", "Later"]);
    }

    #[test]
    fn flags_that_a_message_brings_along_are_not_its_own() {
        let octets = b"Subject: x\nX-Status: D\nStatus: O\n\nText\n".to_vec();
        let mails = [Mail { octets, flags: vec!["\\Seen".to_owned()], received: Some(0) }];
        assert_eq!(read(&written(&mails)), mails);
    }

    fn mails() -> impl Strategy<Value = Vec<Mail>> {
        let line =
            prop_oneof!["[a-z ]{0,10}", Just("From x".to_owned()), ">{1,3}From y", Just(String::new())];
        let body = prop::collection::vec(line, 0..6);
        let flags = prop::sample::subsequence(
            vec!["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "Work", "$X"],
            0..7,
        );
        let mail = (body, flags, 0..4_000_000_000_u64).prop_map(|(body, flags, received)| Mail {
            octets: format!("Subject: x\n\n{}\n", body.join("\n")).into_bytes(),
            flags: flags.into_iter().map(str::to_owned).collect(),
            received: Some(received),
        });
        prop::collection::vec(mail, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(mails in mails()) {
            prop_assert_eq!(read(&written(&mails)), mails);
        }
    }
}
