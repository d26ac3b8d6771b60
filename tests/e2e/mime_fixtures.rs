//! Messages from the wild survive the way through SMTP, the store and IMAP byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;

use crate::support::mail::{below_trace, message, with_crlf};
use crate::support::{ALICE, BOB, STRANGER, Server, program};

/// The fixtures that the `mail-parser` crate is published with, where Cargo has put it.
fn fixtures() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let package = metadata["packages"].as_array()?.iter().find(|package| package["name"] == "mail-parser")?;
    let resources = Path::new(package["manifest_path"].as_str()?).parent()?.join("resources");
    resources.is_dir().then_some(resources)
}

/// Every message file below `dir`: `*.eml`, and all files of Maildirs.
fn messages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let in_maildir = ["cur", "new"].iter().any(|name| dir.ends_with(name));
        if path.is_dir() {
            messages(&path, found);
        } else if in_maildir || path.extension().is_some_and(|extension| extension == "eml") {
            found.push(path);
        }
    }
}

/// The host that makes the final delivery takes away what calls itself the return path of an earlier one
/// (RFC 5321 §4.4). That is all that may change.
fn without_return_path(mail: &[u8]) -> Vec<u8> {
    let mut in_header = true;
    let mut in_field = false;
    let mut kept = Vec::with_capacity(mail.len());
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        in_header &= line != b"\r\n";
        let begins = line.get(..12).is_some_and(|name| name.eq_ignore_ascii_case(b"return-path:"));
        in_field = in_header
            && (begins || in_field && line.starts_with(b" ") || in_field && line.starts_with(b"\t"));
        if !in_field {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[test]
fn every_fixture_comes_back_byte_for_byte() {
    let Some(resources) = fixtures() else {
        program::skip("the sources of mail-parser are not in Cargo's registry");
        return;
    };
    let mut paths = Vec::new();
    messages(&resources, &mut paths);
    assert!(paths.len() >= 100, "only {} fixtures below {}", paths.len(), resources.display());
    paths.sort();
    let server = Server::start();
    let mut smtp = server.smtp();
    let mut imap = server.imap(ALICE);

    let mut sent: BTreeMap<u64, (&PathBuf, Vec<u8>)> = BTreeMap::new();
    for path in &paths {
        let mail = with_crlf(&fs::read(path).unwrap());
        let reply = smtp.deliver(STRANGER, &[ALICE], &mail).unwrap();
        if mail.contains(&0) {
            // Neither RFC 5322 nor an IMAP literal can carry it.
            assert_eq!((reply.code, &reply.text[..5]), (550, "5.6.0"), "{}", path.display());
            continue;
        }
        assert_eq!(reply.code, 250, "{}: {reply:?}", path.display());
        sent.insert(sent.len() as u64 + 1, (path, without_return_path(&mail)));
    }
    assert!(sent.len() >= 100, "only {} fixtures without NUL", sent.len());
    imap.select("INBOX");
    let stored: BTreeMap<u64, Vec<u8>> = imap.bodies().into_iter().collect();
    assert_eq!(stored.len(), sent.len());
    for (uid, (path, mail)) in &sent {
        let body = &stored[uid];
        assert_eq!(below_trace(body, mail), Some(&mail[..]), "{} has changed", path.display());
    }
    assert_parts_lie_in_their_messages(&mut imap, &stored);
}

/// What the structure says about a message agrees with its bytes: HEADER and TEXT make up the whole.
fn assert_parts_lie_in_their_messages(imap: &mut crate::support::Imap, stored: &BTreeMap<u64, Vec<u8>>) {
    for (uid, body) in stored {
        let command = format!("UID FETCH {uid} (BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODYSTRUCTURE ENVELOPE)");
        let done = imap.command(&command).ok();
        let response = done.untagged.iter().find(|response| response.text.contains("BODYSTRUCTURE ("));
        let response = response.unwrap_or_else(|| panic!("no structure for {uid}: {:?}", done.untagged));
        let header = imap.command(&format!("UID FETCH {uid} (BODY.PEEK[HEADER])")).ok();
        let text = imap.command(&format!("UID FETCH {uid} (BODY.PEEK[TEXT])")).ok();
        let literal = |done: &crate::support::imap::Completion| {
            done.untagged.iter().find_map(|response| response.literals.first().cloned()).unwrap_or_default()
        };
        let mut whole = literal(&header);
        whole.extend(literal(&text));
        assert_eq!(whole, *body, "HEADER and TEXT of {uid}: {}", response.text);
    }
}

#[test]
fn a_message_too_large_for_the_metadata_store_comes_back_byte_for_byte() {
    let server = Server::start();
    // What does not compress: an attachment of random bytes.
    let mut noise = vec![0; 6 << 20];
    rand::rng().fill_bytes(&mut noise);
    let lines: Vec<String> =
        noise.chunks(36).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    let mail = message("large", &lines.join("\n"));
    server.deliver(&[ALICE, BOB], &mail);
    for account in [ALICE, BOB] {
        let inbox = server.inbox(account);
        assert_eq!(inbox.len(), 1);
        assert!(below_trace(&inbox[0], &mail) == Some(&mail), "the copy of {account} has changed");
    }
}
