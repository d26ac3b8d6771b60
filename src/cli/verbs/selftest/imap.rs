//! Reading what was sent, over IMAP (RFC 9051).

use std::io;
use std::time::{Duration, Instant};

use ekitei_api::Check;

use super::line::{Lines, Security, invalid};
use super::{User, failed, passed};

/// How often it is looked whether mail arrived.
const LOOK: Duration = Duration::from_millis(200);

/// Looks for each message by its subject, in INBOX and where a filter may have put it; then deletes it.
pub(super) async fn read(
    address: &str,
    security: Security,
    user: &User,
    sent: &[(&str, String)],
) -> io::Result<Vec<Check>> {
    let mut lines = Lines::connect(address, security).await?.secure().await?;
    let greeting = lines.line().await?;
    if !greeting.starts_with("* OK") {
        return Err(invalid(format!("the server greeted with: {greeting}")));
    }
    command(&mut lines, &format!("LOGIN {} {}", quoted(&user.address), quoted(&user.password))).await?;
    let deadline = Instant::now() + security.patience;
    let mut checks = Vec::new();
    for (way, marker) in sent {
        let name = format!("{way}, read");
        checks.push(loop {
            if let Some(mailbox) = find(&mut lines, marker).await? {
                break passed(&name, format!("{address}: the mail is in {mailbox}"));
            }
            if Instant::now() > deadline {
                break failed(&name, format!("{address}: the mail did not arrive"));
            }
            tokio::time::sleep(LOOK).await;
        });
    }
    command(&mut lines, "LOGOUT").await?;
    Ok(checks)
}

/// The mailbox that has a message with this subject, of which the text can be read; it is removed from it.
async fn find(lines: &mut Lines, marker: &str) -> io::Result<Option<&'static str>> {
    for mailbox in ["INBOX", "Junk"] {
        // There may be no mailbox for junk.
        if command(lines, &format!("SELECT {mailbox}")).await.is_err() {
            continue;
        }
        let found = command(lines, &format!("UID SEARCH SUBJECT {}", quoted(marker))).await?;
        let Some(uid) = found.iter().find_map(|line| first_uid(line)) else { continue };
        let text = command(lines, &format!("UID FETCH {uid} BODY.PEEK[TEXT]")).await?;
        if !text.iter().any(|line| line.contains("ekitei selftest")) {
            return Err(invalid(format!("the text of the mail in {mailbox} is not what was sent: {text:?}")));
        }
        command(lines, &format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await?;
        command(lines, &format!("UID EXPUNGE {uid}")).await?;
        return Ok(Some(mailbox));
    }
    Ok(None)
}

/// The first number of `* SEARCH 7 8` or `* ESEARCH (TAG "a") UID ALL 7:8`.
fn first_uid(line: &str) -> Option<u32> {
    let numbers = match line.strip_prefix("* SEARCH ") {
        Some(numbers) => numbers,
        None => line.strip_prefix("* ESEARCH ")?.split_once(" ALL ")?.1,
    };
    numbers.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Sends a command; the lines of its answer. Each is sent when the one before has been answered, so one tag does for all.
async fn command(lines: &mut Lines, text: &str) -> io::Result<Vec<String>> {
    lines.say(&format!("a {text}")).await?;
    let mut answer = Vec::new();
    loop {
        let line = lines.line().await?;
        match line.strip_prefix("a ") {
            Some(status) if status.starts_with("OK") => return Ok(answer),
            Some(status) => {
                let verb = text.split(' ').next().unwrap_or_default();
                return Err(invalid(format!("{verb} was answered with: {status}")));
            }
            None => answer.push(line),
        }
    }
}

/// A quoted string (RFC 9051 §4.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_found_in_both_forms_of_answers() {
        assert_eq!(first_uid("* SEARCH 7 8"), Some(7));
        assert_eq!(first_uid("* SEARCH"), None);
        assert_eq!(first_uid("* ESEARCH (TAG \"a\") UID ALL 12:13,20"), Some(12));
        assert_eq!(first_uid("* ESEARCH (TAG \"a\") UID"), None);
        assert_eq!(first_uid("* 3 EXISTS"), None);
    }

    #[test]
    fn passwords_are_quoted() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
