//! Sending one message over SMTP (RFC 5321) or submission (RFC 6409).

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::User;
use super::line::{Lines, Security, invalid};

/// The name that it says in EHLO.
const NAME: &str = "selftest.invalid";

/// How mail is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As another server does: TLS if it is offered, no login, no sender.
    Exchange,
    /// As a user does, with STARTTLS.
    StartTls,
    /// As a user does, over TLS.
    ImplicitTls,
}

/// Sends a message with this subject to the user; what the server said to it.
pub(super) async fn send(
    address: &str,
    way: Way,
    security: Security,
    user: &User,
    marker: &str,
) -> io::Result<String> {
    let mut lines = Lines::connect(address, security).await?;
    if way == Way::ImplicitTls {
        lines = lines.secure().await?;
    }
    expect(&mut lines, 220).await?;
    let mut extensions = command(&mut lines, &format!("EHLO {NAME}"), 250).await?;
    let mut secured = way == Way::ImplicitTls;
    let offered = extensions.lines().any(|line| line.eq_ignore_ascii_case("STARTTLS"));
    if !secured && offered {
        command(&mut lines, "STARTTLS", 220).await?;
        lines = lines.secure().await?;
        extensions = command(&mut lines, &format!("EHLO {NAME}"), 250).await?;
        secured = true;
    }
    let sender = if way == Way::Exchange { "" } else { user.address.as_str() };
    if way != Way::Exchange {
        if !secured {
            return Err(invalid("STARTTLS is not offered, and the password is not sent without"));
        }
        if !extensions.lines().any(|line| line.to_ascii_uppercase().starts_with("AUTH ")) {
            return Err(invalid("AUTH is not offered"));
        }
        let secret = STANDARD.encode(format!("\0{}\0{}", user.address, user.password));
        command(&mut lines, &format!("AUTH PLAIN {secret}"), 235).await?;
    }
    command(&mut lines, &format!("MAIL FROM:<{sender}>"), 250).await?;
    command(&mut lines, &format!("RCPT TO:<{}>", user.address), 250).await?;
    command(&mut lines, "DATA", 354).await?;
    let reply = command(&mut lines, &message(user, marker), 250).await?;
    // Its reply does not matter any more.
    lines.say("QUIT").await?;
    Ok(format!("{reply} ({})", if secured { "over TLS" } else { "without TLS" }))
}

/// A message and the end of DATA.
fn message(user: &User, marker: &str) -> String {
    [
        &format!("From: Self-test <{}>", user.address),
        &format!("To: <{}>", user.address),
        &format!("Subject: {marker}"),
        &format!("Message-ID: <{marker}@{NAME}>"),
        "",
        "This message was sent by ekitei selftest.",
        ".",
    ]
    .join("\r\n")
}

async fn command(lines: &mut Lines, text: &str, code: u16) -> io::Result<String> {
    lines.say(text).await?;
    expect(lines, code).await
}

/// Reads a reply (RFC 5321 §4.2); its lines without their codes.
async fn expect(lines: &mut Lines, code: u16) -> io::Result<String> {
    let mut texts = Vec::new();
    loop {
        let line = lines.line().await?;
        if line.get(..3).and_then(|digits| digits.parse().ok()) != Some(code) {
            return Err(invalid(format!("{code} was expected, but the server said: {line}")));
        }
        texts.push(line.get(4..).unwrap_or_default().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(texts.join("\n"));
        }
    }
}
