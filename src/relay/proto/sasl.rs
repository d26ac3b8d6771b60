//! The client's side of AUTH (RFC 4954): SCRAM-SHA-256 (RFC 5802, RFC 7677), PLAIN (RFC 4616) and LOGIN, in this order of preference.
//!
//! User names and passwords are taken as they are configured: they are not normalised (RFC 4013), which changes nothing for ASCII.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::capabilities::Mechanisms;

/// The most rounds of PBKDF2 that a server may ask for: some tens of milliseconds.
const MAX_ROUNDS: u32 = 200_000;
/// `n,,`: no channel binding, no other identity (RFC 5802 §7).
const GS2_HEADER: &str = "n,,";

/// Why the exchange cannot go on. It is to be cancelled with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The server sent what the mechanism does not have here.
    #[error("the server's challenge is malformed")]
    Malformed,
    /// The server asks for too many rounds.
    #[error("the server asks for too many rounds of PBKDF2")]
    TooManyRounds,
    /// The server could not show that it knows the password.
    #[error("the server does not know the password itself")]
    ServerNotVerified,
}

/// One exchange.
pub struct Exchange {
    state: State,
}

enum State {
    Plain { username: String, password: String },
    LoginUser { username: String, password: String },
    LoginPassword { password: String },
    ScramFirst { first_bare: String, nonce: String, password: String },
    ScramFinal { server_signature: hmac::Tag },
    Done,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange")
    }
}

impl Exchange {
    /// The best mechanism that both sides know; `None` if there is none. `nonce` is random, printable, without commas, and used once.
    pub fn new(offered: Mechanisms, username: &str, password: &str, nonce: &str) -> Option<Self> {
        let (username, password) = (username.to_owned(), password.to_owned());
        let state = if offered.scram_sha_256 {
            let name = username.replace('=', "=3D").replace(',', "=2C");
            State::ScramFirst { first_bare: format!("n={name},r={nonce}"), nonce: nonce.to_owned(), password }
        } else if offered.plain {
            State::Plain { username, password }
        } else if offered.login {
            State::LoginUser { username, password }
        } else {
            return None;
        };
        Some(Self { state })
    }

    /// The command that begins it, with its CRLF.
    pub fn command(&mut self) -> String {
        match &self.state {
            State::Plain { username, password } => {
                let response = STANDARD.encode(format!("\0{username}\0{password}"));
                self.state = State::Done;
                format!("AUTH PLAIN {response}\r\n")
            }
            State::ScramFirst { first_bare, .. } => {
                format!("AUTH SCRAM-SHA-256 {}\r\n", STANDARD.encode(format!("{GS2_HEADER}{first_bare}")))
            }
            _ => "AUTH LOGIN\r\n".to_owned(),
        }
    }

    /// The response to the text of a `334`, with its CRLF.
    ///
    /// # Errors
    /// [`SaslError`].
    pub fn respond(&mut self, challenge: &str) -> Result<String, SaslError> {
        let challenge = STANDARD.decode(challenge.trim()).map_err(|_| SaslError::Malformed);
        let (response, next) = match std::mem::replace(&mut self.state, State::Done) {
            // Challenges of LOGIN are prompts; what they say differs between servers.
            State::LoginUser { username, password } => {
                (username.into_bytes(), State::LoginPassword { password })
            }
            State::LoginPassword { password } => (password.into_bytes(), State::Done),
            State::ScramFirst { first_bare, nonce, password } => {
                scram_final(&first_bare, &nonce, &password, &text(challenge?)?)?
            }
            State::ScramFinal { server_signature } => {
                verify_server(&server_signature, &text(challenge?)?)?;
                (Vec::new(), State::Done)
            }
            State::Plain { .. } | State::Done => return Err(SaslError::Malformed),
        };
        self.state = next;
        Ok(STANDARD.encode(response) + "\r\n")
    }

    /// Asked when the server says `235`: whether it may be believed.
    ///
    /// # Errors
    /// [`SaslError::ServerNotVerified`] if the exchange is not at its end: with SCRAM the server has to show that it knows the password.
    pub fn finish(self) -> Result<(), SaslError> {
        match self.state {
            State::ScramFirst { .. } | State::ScramFinal { .. } => Err(SaslError::ServerNotVerified),
            _ => Ok(()),
        }
    }
}

fn text(octets: Vec<u8>) -> Result<String, SaslError> {
    String::from_utf8(octets).map_err(|_| SaslError::Malformed)
}

/// The value of an attribute `name=value` (RFC 5802 §5.1).
fn attribute<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// The client's final message, from the server's first (RFC 5802 §3).
fn scram_final(
    first_bare: &str,
    nonce: &str,
    password: &str,
    server_first: &str,
) -> Result<(Vec<u8>, State), SaslError> {
    let combined = attribute(server_first, "r").filter(|r| r.len() > nonce.len() && r.starts_with(nonce));
    let combined = combined.ok_or(SaslError::Malformed)?;
    let salt = attribute(server_first, "s")
        .and_then(|salt| STANDARD.decode(salt).ok())
        .ok_or(SaslError::Malformed)?;
    let rounds = attribute(server_first, "i").and_then(|rounds| rounds.parse::<NonZeroU32>().ok());
    let rounds = rounds.ok_or(SaslError::Malformed)?;
    if rounds.get() > MAX_ROUNDS {
        return Err(SaslError::TooManyRounds);
    }
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let key = |octets: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, octets);
    let client_key = hmac::sign(&key(&salted), b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let without_proof = format!("c={},r={combined}", STANDARD.encode(GS2_HEADER));
    let auth_message = format!("{first_bare},{server_first},{without_proof}");
    let signature = hmac::sign(&key(stored_key.as_ref()), auth_message.as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    let server_key = hmac::sign(&key(&salted), b"Server Key");
    let server_signature = hmac::sign(&key(server_key.as_ref()), auth_message.as_bytes());
    let message = format!("{without_proof},p={}", STANDARD.encode(proof));
    Ok((message.into_bytes(), State::ScramFinal { server_signature }))
}

fn verify_server(expected: &hmac::Tag, server_final: &str) -> Result<(), SaslError> {
    let signature = attribute(server_final, "v").and_then(|value| STANDARD.decode(value).ok());
    let signature = signature.ok_or(SaslError::ServerNotVerified)?;
    constant_time::verify_slices_are_equal(expected.as_ref(), &signature)
        .map_err(|_| SaslError::ServerNotVerified)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALL: Mechanisms = Mechanisms { plain: true, login: true, scram_sha_256: true };

    /// The exchange of RFC 7677 §3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn decoded(line: &str) -> String {
        let word = line.trim_end().rsplit(' ').next().unwrap();
        String::from_utf8(STANDARD.decode(word).unwrap()).unwrap()
    }

    #[test]
    fn scram_is_that_of_the_rfc() {
        let mut exchange = Exchange::new(ALL, "user", "pencil", NONCE).unwrap();
        let first = exchange.command();
        assert!(first.starts_with("AUTH SCRAM-SHA-256 ") && first.ends_with("\r\n"));
        assert_eq!(decoded(&first), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = exchange.respond(&STANDARD.encode(SERVER_FIRST)).unwrap();
        assert_eq!(
            decoded(&last),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(exchange.respond(&STANDARD.encode(SERVER_FINAL)).unwrap(), "\r\n");
        assert_eq!(exchange.finish(), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        let begun = || {
            let mut exchange = Exchange::new(ALL, "user", "pencil", NONCE).unwrap();
            exchange.command();
            exchange
        };
        assert_eq!(begun().finish(), Err(SaslError::ServerNotVerified));
        let mut exchange = begun();
        exchange.respond(&STANDARD.encode(SERVER_FIRST)).unwrap();
        let wrong = STANDARD.encode("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(exchange.respond(&wrong), Err(SaslError::ServerNotVerified));
        let endless = SERVER_FIRST.replace("4096", "4000000000");
        assert_eq!(begun().respond(&STANDARD.encode(endless)), Err(SaslError::TooManyRounds));
        for bad in [
            "",
            "r=other,s=AAAA,i=1",
            "r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=0",
        ] {
            assert_eq!(begun().respond(&STANDARD.encode(bad)), Err(SaslError::Malformed), "{bad:?}");
        }
        assert_eq!(begun().respond("no base64"), Err(SaslError::Malformed));
    }

    #[test]
    fn the_simple_mechanisms_send_the_password_as_it_is() {
        let mut plain =
            Exchange::new(Mechanisms { plain: true, ..Mechanisms::default() }, "u", "p", "x").unwrap();
        assert_eq!(decoded(&plain.command()), "\0u\0p");
        assert!(plain.respond("").is_err(), "nothing more is to be said");
        assert_eq!(plain.finish(), Ok(()));
        let mut login =
            Exchange::new(Mechanisms { login: true, ..Mechanisms::default() }, "u", "p", "x").unwrap();
        assert_eq!(login.command(), "AUTH LOGIN\r\n");
        assert_eq!(decoded(&login.respond("VXNlcm5hbWU6").unwrap()), "u");
        assert_eq!(decoded(&login.respond("UGFzc3dvcmQ6").unwrap()), "p");
        assert!(Exchange::new(Mechanisms::default(), "u", "p", "x").is_none());
    }
}
