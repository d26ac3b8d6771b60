//! What the demo tells its user: who may log in, and commands that send and read a mail.

use std::fmt::Write;
use std::net::SocketAddr;

use ekitei_config::Protocol;

use super::DemoUser;
use super::files::Files;
use crate::cli::connect::DEMO_CONFIG;

/// The listeners of the first configuration, all on loopback and above the privileged ports.
pub(super) const PORTS: [(Protocol, u16); 9] = [
    (Protocol::Smtp, 2525),
    (Protocol::Submission, 5870),
    (Protocol::Submissions, 4650),
    (Protocol::Imap, 1430),
    (Protocol::Imaps, 9930),
    (Protocol::Pop3, 1100),
    (Protocol::Pop3s, 9950),
    (Protocol::Lmtp, 2424),
    (Protocol::Http, 8080),
];

/// An address that the demo does not serve.
const ELSEWHERE: &str = "someone@elsewhere.example";

/// The text. Only listeners that are there appear in it.
pub(super) fn text(addresses: &[(Protocol, SocketAddr)], users: &[DemoUser], files: &Files) -> String {
    let at = |wanted: Protocol| addresses.iter().find(|(protocol, _)| *protocol == wanted).map(|(_, at)| *at);
    let mut text = String::from("\nEkitei is running. Stop it with Ctrl-C; it keeps its mail.\n\n");
    for user in users {
        let _ = writeln!(text, "  {}  password: {}", user.address, user.password);
    }
    let _ = writeln!(text, "  (also in {})\n", files.passwords.display());
    for (protocol, address) in addresses {
        let _ = writeln!(text, "  {:<12} {address}", protocol.name());
    }
    let (Some(alice), Some(bob)) = (users.first(), users.last()) else { return text };
    if let Some(smtp) = at(Protocol::Smtp) {
        let command = format!(
            "swaks --server {smtp} --from carol@elsewhere.test --to {to} --header 'Subject: Hello' --body 'It works.'",
            to = alice.address
        );
        say(&mut text, "Send alice a mail from elsewhere:", &command);
    }
    if let Some(submission) = at(Protocol::Submission) {
        say(
            &mut text,
            "Send bob a mail as alice, with STARTTLS and a password:",
            &submit(submission, alice, &bob.address),
        );
        say(
            &mut text,
            "Write to somebody elsewhere; it waits in the queue, or goes where EKITEI_DEMO_SMARTHOST=host:port said at the start:",
            &submit(submission, alice, ELSEWHERE),
        );
        if let Some(http) = at(Protocol::Http) {
            let _ = writeln!(text, "  {} queue list", program(http, files));
        }
    }
    if let Some(imaps) = at(Protocol::Imaps) {
        let url = format!("curl --silent --insecure --user {} 'imaps://{imaps}/INBOX", alice.login());
        say(
            &mut text,
            "List what alice got, and read the first message:",
            &format!("{url}?ALL'\n  {url};MAILINDEX=1'"),
        );
        say(&mut text, "Speak IMAP as bob:", &speak_imap(imaps, bob));
    }
    if let Some(pop3s) = at(Protocol::Pop3s) {
        let command = format!("curl --silent --insecure --user {} 'pop3s://{pop3s}/1'", bob.login());
        say(&mut text, "Read bob's first mail over POP3:", &command);
    }
    if let Some(http) = at(Protocol::Http) {
        let command = administer(http, files);
        say(&mut text, "Administer:", &command);
    }
    text
}

impl DemoUser {
    /// What curl takes after `--user`.
    fn login(&self) -> String {
        shell(&format!("{}:{}", self.address, self.password))
    }
}

fn speak_imap(imaps: SocketAddr, user: &DemoUser) -> String {
    // A quoted string of RFC 9051 §4.3.
    let password = user.password.replace('\\', "\\\\").replace('"', "\\\"");
    let login = shell(&format!("a LOGIN {} \"{password}\"", user.address));
    format!(
        "printf '%s\\r\\n' {login} 'b STATUS INBOX (MESSAGES UNSEEN)' 'c LOGOUT' |\n    \
         openssl s_client -connect {imaps} -quiet -ign_eof 2>/dev/null"
    )
}

/// One word for the shell, quoted if it has to be.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The command line with what tells it of this demo; it finds the one in ./data by itself.
fn program(http: SocketAddr, files: &Files) -> String {
    let program = shell(&std::env::args().next().unwrap_or_else(|| "ekitei".to_owned()));
    let found = std::path::Path::new(DEMO_CONFIG).canonicalize().is_ok_and(|path| path == files.config);
    if found {
        return program;
    }
    format!("{program} --server http://{http} --token-file {}", shell(&files.token.to_string_lossy()))
}

fn administer(http: SocketAddr, files: &Files) -> String {
    let (program, token) = (program(http, files), shell(&files.token.to_string_lossy()));
    format!(
        "{program} account list\n  {program} doctor\n  \
         curl --silent --header \"Authorization: Bearer $(cat {token})\" http://{http}/api/v1/accounts"
    )
}

fn submit(submission: SocketAddr, from: &DemoUser, to: &str) -> String {
    format!(
        "swaks --server {submission} --tls --auth PLAIN --auth-user {from} --auth-password {password} \\\n    \
         --from {from} --to {to} --header 'Subject: Lunch?' --body 'At noon?'",
        from = from.address,
        password = shell(&from.password),
    )
}

fn say(text: &mut String, what: &str, command: &str) {
    let _ = writeln!(text, "\n{what}\n  {command}");
}
