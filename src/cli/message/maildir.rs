//! Maildir: a file for each message, its flags in the name.
//!
//! Keywords are lower-case letters in the name, explained in the file `dovecot-keywords`, as Dovecot does it. The date of
//! receipt is the file's time of modification.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Mail, with_lf};
use crate::cli::exit::{Context, Outcome};

/// Where the letters of keywords are explained: a line `number keyword` for each.
const KEYWORDS_FILE: &str = "dovecot-keywords";
/// System flags and their letters, in the order of the letters; `P` ("passed") is a keyword to IMAP.
const FLAGS: [(char, &str); 6] = [
    ('D', "\\Draft"),
    ('F', "\\Flagged"),
    ('P', "$Forwarded"),
    ('R', "\\Answered"),
    ('S', "\\Seen"),
    ('T', "\\Deleted"),
];
/// Letters for keywords.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// Whether a directory is a Maildir.
pub(super) fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() && path.join("new").is_dir()
}

/// The files of a Maildir in the order of receipt.
pub(super) fn files(maildir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["cur", "new"] {
        let folder = maildir.join(folder);
        for entry in fs::read_dir(&folder).context(folder.display())? {
            let path = entry.context(folder.display())?.path();
            if path.is_file() && !name_of(&path).starts_with('.') {
                files.push(path);
            }
        }
    }
    // Names begin with the time of delivery in seconds.
    let order = |path: &PathBuf| {
        let name = name_of(path);
        (name.split('.').next().and_then(|time| time.parse::<u64>().ok()), name)
    };
    files.sort_by_cached_key(order);
    Ok(files)
}

/// Reads one message.
pub(super) fn read(path: &Path, keywords: &[String]) -> Outcome<Mail> {
    let octets = fs::read(path).context(path.display())?;
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).context(path.display())?;
    let received = modified.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs());
    let name = name_of(path);
    let letters = name.rsplit_once(":2,").map_or("", |(_, letters)| letters);
    Ok(Mail { octets, flags: flags_of(letters, keywords), received })
}

/// The keywords of a Maildir, by their letters from `a`.
pub(super) fn keywords(maildir: &Path) -> Outcome<Vec<String>> {
    let path = maildir.join(KEYWORDS_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(parse_keywords(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context(path.display()),
    }
}

fn parse_keywords(text: &str) -> Vec<String> {
    let mut keywords = Vec::new();
    for (number, keyword) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Ok(number) = number.parse::<usize>()
            && number < LETTERS.len()
        {
            keywords.resize(keywords.len().max(number + 1), String::new());
            keywords[number] = keyword.to_owned();
        }
    }
    keywords
}

fn flags_of(letters: &str, keywords: &[String]) -> Vec<String> {
    let flag = |letter: char| {
        let system = FLAGS.iter().find(|(known, _)| *known == letter).map(|(_, flag)| (*flag).to_owned());
        let number = LETTERS.find(letter);
        let keyword =
            || number.and_then(|number| keywords.get(number)).filter(|keyword| !keyword.is_empty()).cloned();
        system.or_else(keyword)
    };
    letters.chars().filter_map(flag).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes into a Maildir.
pub(super) struct Writer {
    root: PathBuf,
    /// The part before the flags of every name that is there.
    present: HashSet<String>,
    keywords: Vec<String>,
}

impl Writer {
    /// Opens a Maildir, and makes it if it is not there.
    pub(super) fn open(root: &Path) -> Outcome<Self> {
        for folder in ["cur", "new", "tmp"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).context(folder.display())?;
        }
        let base = |path: &PathBuf| name_of(path).split(':').next().unwrap_or_default().to_owned();
        let present = files(root)?.iter().map(base).collect();
        Ok(Self { root: root.to_owned(), present, keywords: keywords(root)? })
    }

    /// Whether the message of this unique name is there.
    pub(super) fn has(&self, unique: &str) -> bool {
        self.present.contains(unique)
    }

    /// Writes a message in whole or not at all.
    pub(super) fn write(&mut self, unique: &str, mail: &Mail) -> Outcome {
        let name = format!("{unique}:2,{}", self.letters(&mail.flags)?);
        let temporary = self.root.join("tmp").join(unique);
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&with_lf(&mail.octets))?;
            if let Some(received) = mail.received {
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(received))?;
            }
            file.sync_all()?;
            fs::rename(&temporary, self.root.join("cur").join(&name))
        };
        write().context(temporary.display())?;
        self.present.insert(unique.to_owned());
        Ok(())
    }

    /// The letters of flags, sorted; a keyword that is new gets the next letter, as long as there are some.
    fn letters(&mut self, flags: &[String]) -> Outcome<String> {
        let mut letters = Vec::new();
        for flag in flags {
            match FLAGS.iter().find(|(_, known)| known.eq_ignore_ascii_case(flag)) {
                Some((letter, _)) => letters.push(*letter),
                None => letters.extend(self.keyword_letter(flag)?),
            }
        }
        letters.sort_unstable();
        Ok(letters.into_iter().collect())
    }

    fn keyword_letter(&mut self, keyword: &str) -> Outcome<Option<char>> {
        if let Some(number) = self.keywords.iter().position(|known| known.eq_ignore_ascii_case(keyword)) {
            return Ok(LETTERS.chars().nth(number));
        }
        let Some(letter) = LETTERS.chars().nth(self.keywords.len()) else {
            eprintln!("ekitei: {keyword} is left out: a Maildir has room for {} keywords", LETTERS.len());
            return Ok(None);
        };
        self.keywords.push(keyword.to_owned());
        let lines: String =
            self.keywords.iter().enumerate().map(|(n, keyword)| format!("{n} {keyword}\n")).collect();
        let path = self.root.join(KEYWORDS_FILE);
        fs::write(&path, lines).context(path.display())?;
        Ok(Some(letter))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_flags_keywords_and_date() {
        let folder = tempfile::tempdir().unwrap();
        let mails = [
            Mail {
                octets: b"Subject: 1\r\n\r\nOne\r\n".to_vec(),
                flags: vec![],
                received: Some(1_000_000_000),
            },
            Mail {
                octets: b"Subject: 2\n\nbare\r\n".to_vec(),
                flags: ["$Forwarded", "\\Seen", "Later", "Work"].map(str::to_owned).to_vec(),
                received: Some(1_000_000_001),
            },
        ];
        let mut writer = Writer::open(folder.path()).unwrap();
        writer.write("1000000000.1", &mails[0]).unwrap();
        writer.write("1000000001.2", &mails[1]).unwrap();
        assert!(Writer::open(folder.path()).unwrap().has("1000000001.2"), "so that it is not written twice");

        let keywords = keywords(folder.path()).unwrap();
        let files = files(folder.path()).unwrap();
        let read: Vec<Mail> = files.iter().map(|file| read(file, &keywords).unwrap()).collect();
        assert_eq!(read[0].octets, b"Subject: 1\n\nOne\n", "CRLF throughout becomes LF");
        assert_eq!(read[1], mails[1], "mixed line ends are kept");
        assert_eq!(read[0].received, mails[0].received);
    }

    #[test]
    fn letters_without_a_meaning_are_not_flags() {
        assert_eq!(flags_of("FSaXz", &["Work".to_owned()]), ["\\Flagged", "\\Seen", "Work"]);
    }
}
