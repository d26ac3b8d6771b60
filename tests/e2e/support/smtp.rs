//! A small SMTP client that says exactly what it is told, right or wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `250` and the like.
    pub code: u16,
    /// The lines after the code, joined by `\n`.
    pub text: String,
}

impl Reply {
    /// Whether this is a promise: the server took what it was given.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// One connection.
pub struct Smtp {
    reader: BufReader<TcpStream>,
}

impl Smtp {
    /// Connects and reads the greeting; an error if it is a refusal.
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let greeting = read_reply(&mut reader)?;
        if !greeting.ok() {
            return Err(std::io::Error::other(format!("refused: {greeting:?}")));
        }
        Ok(Self { reader })
    }

    /// Connects and says EHLO.
    pub fn hello(address: SocketAddr) -> std::io::Result<Self> {
        let mut smtp = Self::connect(address)?;
        smtp.command("EHLO client.elsewhere.test")?;
        Ok(smtp)
    }

    /// Logs in, without TLS.
    #[track_caller]
    pub fn authenticate(&mut self, user: &str) {
        let plain = format!("\0{user}\0{}", super::password(user));
        let response = base64::engine::general_purpose::STANDARD.encode(plain);
        let reply = self.command(&format!("AUTH PLAIN {response}")).unwrap();
        assert_eq!(reply.code, 235, "{reply:?}");
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> std::io::Result<Reply> {
        read_reply(&mut self.reader)
    }

    /// Sends one command line and reads its reply.
    pub fn command(&mut self, line: &str) -> std::io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends one message of any octets, dot-stuffed, and reads the reply to its end. Refusals on the way there are the answer.
    pub fn deliver(&mut self, from: &str, to: &[&str], message: &[u8]) -> std::io::Result<Reply> {
        let mut commands = vec![format!("MAIL FROM:<{from}> BODY=8BITMIME SMTPUTF8")];
        commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        commands.push("DATA".to_owned());
        for command in &commands {
            let reply = self.command(command)?;
            if reply.code >= 400 {
                self.command("RSET")?;
                return Ok(reply);
            }
        }
        self.send(&stuffed(message))?;
        self.reply()
    }

    /// Everything the server still sends until it closes the connection.
    pub fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is one way of closing.
        let _ = self.reader.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// `message`, whose lines end in CRLF, with dots doubled and the final dot (RFC 5321 §4.5.2).
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn read_reply(reader: &mut impl BufRead) -> std::io::Result<Reply> {
    let mut text: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']);
        let code = line.get(..3).and_then(|code| code.parse().ok());
        let Some(code) = code else {
            return Err(std::io::Error::other(format!("no reply: {line:?}")));
        };
        text.push(line.get(4..).unwrap_or_default().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, text: text.join("\n") });
        }
    }
}
