//! Messages to send.

use super::STRANGER;

/// A message from a stranger with this subject and body, lines ending in CRLF.
pub fn message(subject: &str, body: &str) -> Vec<u8> {
    message_from(STRANGER, subject, body)
}

/// A message with this sender, subject and body, lines ending in CRLF.
pub fn message_from(sender: &str, subject: &str, body: &str) -> Vec<u8> {
    let body = body.replace('\n', "\r\n");
    format!(
        "From: {sender}\r\nTo: Alice <alice@example.test>\r\nSubject: {subject}\r\n\
         Date: Mon, 06 Jul 2026 09:00:00 +0900\r\nMessage-ID: <{subject}@elsewhere.test>\r\n\r\n{body}\r\n"
    )
    .into_bytes()
}

/// `bytes` with every line ending in CRLF, the way mail travels: a bare CR or LF ends a line too.
pub fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\r' => {
                rest.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The message inside what the service stored: what it received, below the trace fields it put on top
/// (RFC 5321 §4.4: Return-Path, Received, and Delivered-To). A message that begins with no header field gets an empty
/// line in between, so that it stays the body.
pub fn below_trace<'a>(stored: &'a [u8], sent: &[u8]) -> Option<&'a [u8]> {
    let at = stored.len().checked_sub(sent.len())?;
    let (trace, message) = stored.split_at(at);
    let trace = std::str::from_utf8(trace).ok()?;
    let ours = ["Return-Path:", "Received:", "Delivered-To:", "Received-SPF:", "Authentication-Results:"];
    let trace = trace.strip_suffix("\r\n\r\n").unwrap_or(trace);
    let known = |line: &str| line.starts_with([' ', '\t']) || ours.iter().any(|name| line.starts_with(name));
    trace.lines().all(known).then_some(message)
}

/// The subject of a stored message.
pub fn subject(stored: &[u8]) -> String {
    let text = String::from_utf8_lossy(stored);
    let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.unwrap_or_default().to_owned()
}
