//! Frames of the milter protocol: commands to octets, octets to answers.
//!
//! A frame is a length of four octets, a letter, and the letter's data; the length counts the letter. Numbers are big-endian, texts end in NUL.

use std::net::IpAddr;

use bytes::{Buf, Bytes, BytesMut};

/// The version of the protocol that is offered.
pub const VERSION: u32 = 6;
/// The earliest version that is spoken.
pub const OLDEST_VERSION: u32 = 2;
/// The most data of a frame that all milters take.
pub const MAX_DATA: usize = 65_535;
/// The largest frame that a milter may send, without the length: a piece of a new body, and room for negotiation.
pub const MAX_ANSWER: usize = MAX_DATA + 1;
/// The most stages whose macros a milter may choose.
const MAX_STAGES: usize = 16;

/// What a milter may do to a message (`SMFIF_*`).
pub mod actions {
    /// Add fields.
    pub const ADD_HEADERS: u32 = 0x01;
    /// Replace the body.
    pub const CHANGE_BODY: u32 = 0x02;
    /// Add recipients.
    pub const ADD_RECIPIENTS: u32 = 0x04;
    /// Remove recipients.
    pub const DELETE_RECIPIENTS: u32 = 0x08;
    /// Change and remove fields.
    pub const CHANGE_HEADERS: u32 = 0x10;
    /// Quarantine.
    pub const QUARANTINE: u32 = 0x20;
    /// Change the reverse-path.
    pub const CHANGE_SENDER: u32 = 0x40;
    /// Add recipients with parameters.
    pub const ADD_RECIPIENTS_WITH_PARAMETERS: u32 = 0x80;
    /// Choose macros.
    pub const CHOOSE_MACROS: u32 = 0x100;
    /// All of version 2.
    pub const VERSION_2: u32 = 0x3f;
    /// All of version 6.
    pub const ALL: u32 = 0x1ff;
}

/// What is left out of the dialogue (`SMFIP_*`).
pub mod steps {
    /// No connection.
    pub const NO_CONNECT: u32 = 0x1;
    /// No EHLO.
    pub const NO_HELLO: u32 = 0x2;
    /// No MAIL.
    pub const NO_MAIL: u32 = 0x4;
    /// No RCPT.
    pub const NO_RCPT: u32 = 0x8;
    /// No body.
    pub const NO_BODY: u32 = 0x10;
    /// No fields.
    pub const NO_HEADERS: u32 = 0x20;
    /// No end of the header.
    pub const NO_END_OF_HEADER: u32 = 0x40;
    /// No answer to a field.
    pub const NO_REPLY_HEADER: u32 = 0x80;
    /// No unknown commands.
    pub const NO_UNKNOWN: u32 = 0x100;
    /// No DATA.
    pub const NO_DATA: u32 = 0x200;
    /// The rest of the body may be skipped.
    pub const SKIP: u32 = 0x400;
    /// Refused recipients are told too.
    pub const REFUSED_RECIPIENTS: u32 = 0x800;
    /// No answer to the connection.
    pub const NO_REPLY_CONNECT: u32 = 0x1000;
    /// No answer to EHLO.
    pub const NO_REPLY_HELLO: u32 = 0x2000;
    /// No answer to MAIL.
    pub const NO_REPLY_MAIL: u32 = 0x4000;
    /// No answer to RCPT.
    pub const NO_REPLY_RCPT: u32 = 0x8000;
    /// No answer to DATA.
    pub const NO_REPLY_DATA: u32 = 0x1_0000;
    /// No answer to an unknown command.
    pub const NO_REPLY_UNKNOWN: u32 = 0x2_0000;
    /// No answer to the end of the header.
    pub const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
    /// No answer to a piece of the body.
    pub const NO_REPLY_BODY: u32 = 0x8_0000;
    /// Values of fields begin with the space behind the colon.
    pub const LEADING_SPACE: u32 = 0x10_0000;
    /// All of version 2.
    pub const VERSION_2: u32 = 0x7f;
    /// All of version 6 that is offered: refused recipients are not told.
    pub const OFFERED: u32 = 0x1f_ffff & !REFUSED_RECIPIENTS;
}

/// The stages of the dialogue, as a milter numbers them when it chooses macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection.
    Connect,
    /// EHLO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the message.
    EndOfMessage,
    /// The end of the header.
    EndOfHeader,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Hello,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::EndOfMessage,
        Self::EndOfHeader,
    ];

    /// The letter of the command that the macros belong to.
    fn letter(self) -> u8 {
        match self {
            Self::Connect => b'C',
            Self::Hello => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::EndOfMessage => b'E',
            Self::EndOfHeader => b'N',
        }
    }
}

/// What the two sides agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiation {
    /// The version.
    pub version: u32,
    /// Bits of [`actions`].
    pub actions: u32,
    /// Bits of [`steps`].
    pub steps: u32,
    /// The macros that the milter chose: the number of a [`Stage`], and names.
    pub macros: Vec<(u32, Vec<String>)>,
}

/// What is told to a milter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The offer.
    Negotiate(&'a Negotiation),
    /// Macros of the command that follows.
    Macros(Stage, &'a [(&'a str, String)]),
    /// The connection.
    Connect {
        /// The client's name, or its address in brackets.
        name: &'a str,
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
    /// EHLO or HELO.
    Hello(&'a str),
    /// MAIL: the address in its brackets, and the parameters.
    Mail(&'a str, &'a [String]),
    /// RCPT: the address in its brackets, and the parameters.
    Rcpt(&'a str, &'a [String]),
    /// DATA.
    Data,
    /// A field of the header: name and value.
    Header(&'a [u8], &'a [u8]),
    /// The end of the header.
    EndOfHeader,
    /// A piece of the body.
    Body(&'a [u8]),
    /// The end of the message.
    EndOfMessage,
    /// The message is not to be.
    Abort,
    /// The connection ends.
    Quit,
}

impl Command<'_> {
    /// Appends the frame. Texts end at their first NUL, and what is longer than a frame is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(self.letter());
        self.encode_data(out);
        out.truncate(start + 5 + MAX_DATA);
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn letter(&self) -> u8 {
        match self {
            Self::Negotiate(_) => b'O',
            Self::Macros(..) => b'D',
            Self::Connect { .. } => b'C',
            Self::Hello(_) => b'H',
            Self::Mail(..) => b'M',
            Self::Rcpt(..) => b'R',
            Self::Data => b'T',
            Self::Header(..) => b'L',
            Self::EndOfHeader => b'N',
            Self::Body(_) => b'B',
            Self::EndOfMessage => b'E',
            Self::Abort => b'A',
            Self::Quit => b'Q',
        }
    }

    fn encode_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::Negotiate(offer) => {
                for number in [offer.version, offer.actions, offer.steps] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
            Self::Macros(stage, values) => {
                out.push(stage.letter());
                for (name, value) in *values {
                    text(out, name.as_bytes());
                    text(out, value.as_bytes());
                }
            }
            Self::Connect { name, address, port } => {
                text(out, name.as_bytes());
                let address = address.to_canonical();
                out.push(if address.is_ipv4() { b'4' } else { b'6' });
                out.extend_from_slice(&port.to_be_bytes());
                text(out, address.to_string().as_bytes());
            }
            Self::Hello(name) => text(out, name.as_bytes()),
            Self::Mail(address, parameters) | Self::Rcpt(address, parameters) => {
                text(out, address.as_bytes());
                for parameter in *parameters {
                    text(out, parameter.as_bytes());
                }
            }
            Self::Header(name, value) => {
                text(out, name);
                // The value is cut rather than its end lost, which a milter would wait for.
                text(out, &value[..value.len().min(MAX_DATA.saturating_sub(name.len() + 2))]);
            }
            Self::Body(octets) => out.extend_from_slice(octets),
            Self::Data | Self::EndOfHeader | Self::EndOfMessage | Self::Abort | Self::Quit => {}
        }
    }
}

/// Appends a text and its NUL.
fn text(out: &mut Vec<u8>, octets: &[u8]) {
    let end = memchr::memchr(0, octets).unwrap_or(octets.len());
    out.extend_from_slice(&octets[..end]);
    out.push(0);
}

/// A reply that a milter gives in the words of SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 4xx or 5xx.
    pub code: u16,
    /// The enhanced status code, if there is one, of the class of the code.
    pub enhanced: Option<String>,
    /// The lines of the text, joined by spaces.
    pub text: String,
}

/// A change to the message or its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A field at the end of the header.
    AddHeader {
        /// Its name.
        name: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// A field among the others.
    InsertHeader {
        /// Before which field, from 0.
        index: u32,
        /// Its name.
        name: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Another value for a field, or none.
    ChangeHeader {
        /// Which of the fields of this name, from 1.
        index: u32,
        /// The name.
        name: Bytes,
        /// The new value; empty removes the field.
        value: Bytes,
    },
    /// A piece of a new body.
    Body(Bytes),
    /// One more recipient, as given, with or without brackets.
    AddRecipient(String),
    /// One recipient less.
    DeleteRecipient(String),
    /// Another reverse-path.
    Sender(String),
    /// The message is to be kept from its recipients, for this reason.
    Quarantine(String),
}

impl Change {
    /// How much memory it takes, in octets.
    pub fn size(&self) -> usize {
        match self {
            Self::AddHeader { name, value }
            | Self::InsertHeader { name, value, .. }
            | Self::ChangeHeader { name, value, .. } => name.len() + value.len(),
            Self::Body(octets) => octets.len(),
            Self::AddRecipient(text)
            | Self::DeleteRecipient(text)
            | Self::Sender(text)
            | Self::Quarantine(text) => text.len(),
        }
    }

    /// The bits of [`actions`] of which the milter needs one.
    pub fn action(&self) -> u32 {
        match self {
            Self::AddHeader { .. } | Self::InsertHeader { .. } => actions::ADD_HEADERS,
            Self::ChangeHeader { .. } => actions::CHANGE_HEADERS,
            Self::Body(_) => actions::CHANGE_BODY,
            Self::AddRecipient(_) => actions::ADD_RECIPIENTS | actions::ADD_RECIPIENTS_WITH_PARAMETERS,
            Self::DeleteRecipient(_) => actions::DELETE_RECIPIENTS,
            Self::Sender(_) => actions::CHANGE_SENDER,
            Self::Quarantine(_) => actions::QUARANTINE,
        }
    }
}

/// What a milter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What it wants of the offer.
    Negotiated(Negotiation),
    /// Go on.
    Continue,
    /// It has seen enough, and has nothing against it.
    Accept,
    /// 5xx.
    Reject,
    /// 4xx.
    Tempfail,
    /// The message is accepted and dropped.
    Discard,
    /// It needs no more of the body.
    Skip,
    /// It is still working.
    Progress,
    /// The connection is to end (421).
    Shutdown,
    /// A reply of its own.
    Reply(Reply),
    /// A change.
    Change(Change),
}

/// Why octets are no answer. The milter's fault; asking again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame without even a letter.
    #[error("an empty frame")]
    Empty,
    /// A frame longer than [`MAX_ANSWER`].
    #[error("a frame of {0} octets")]
    TooLong(u32),
    /// A letter that no answer begins with.
    #[error("an answer {0:#04x}, which there is not")]
    Unknown(u8),
    /// The data is not of the form that its letter has.
    #[error("data that is not of the form of answer {0:?}")]
    Malformed(char),
}

/// Takes the next frame from the front of `input`: letter and data. `None` if it is not complete.
///
/// # Errors
/// [`FrameError::Empty`] and [`FrameError::TooLong`], as soon as the length is there.
pub fn take_frame(input: &mut BytesMut) -> Result<Option<(u8, Bytes)>, FrameError> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(None) };
    let announced = u32::from_be_bytes(*head);
    let length = usize::try_from(announced).unwrap_or(usize::MAX);
    if length == 0 {
        return Err(FrameError::Empty);
    }
    if length > MAX_ANSWER {
        return Err(FrameError::TooLong(announced));
    }
    if input.len() < 4 + length {
        return Ok(None);
    }
    let mut frame = input.split_to(4 + length).freeze();
    frame.advance(4);
    let letter = frame.get_u8();
    Ok(Some((letter, frame)))
}

impl Answer {
    /// Reads the data of a frame.
    ///
    /// # Errors
    /// [`FrameError::Unknown`] and [`FrameError::Malformed`].
    pub fn decode(letter: u8, mut data: Bytes) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(char::from(letter));
        let read = match letter {
            b'O' => negotiation(&mut data).map(Self::Negotiated),
            b'c' => Some(Self::Continue),
            b'a' => Some(Self::Accept),
            b'r' => Some(Self::Reject),
            b't' => Some(Self::Tempfail),
            b'd' => Some(Self::Discard),
            b's' => Some(Self::Skip),
            b'p' => Some(Self::Progress),
            // Both end the connection: "cannot make a connection", and "shut down".
            b'f' | b'4' => Some(Self::Shutdown),
            b'y' => reply(&mut data).map(Self::Reply),
            b'h' | b'i' | b'm' | b'b' | b'+' | b'2' | b'-' | b'e' | b'q' => {
                change(letter, &mut data).map(Self::Change)
            }
            _ => return Err(FrameError::Unknown(letter)),
        };
        read.ok_or(malformed)
    }
}

/// A text up to its NUL. Some milters leave the last one out.
fn take_text(data: &mut Bytes) -> Option<Bytes> {
    if data.is_empty() {
        return None;
    }
    let end = memchr::memchr(0, data).unwrap_or(data.len());
    let text = data.split_to(end);
    if !data.is_empty() {
        data.advance(1);
    }
    Some(text)
}

/// A text in UTF-8.
fn take_string(data: &mut Bytes) -> Option<String> {
    take_text(data).and_then(|text| String::from_utf8(text.into()).ok())
}

fn take_number(data: &mut Bytes) -> Option<u32> {
    data.try_get_u32().ok()
}

fn negotiation(data: &mut Bytes) -> Option<Negotiation> {
    let (version, actions, steps) = (take_number(data)?, take_number(data)?, take_number(data)?);
    let mut macros = Vec::new();
    while !data.is_empty() {
        if macros.len() == MAX_STAGES {
            return None;
        }
        let stage = take_number(data)?;
        let names = take_string(data)?;
        let separators = |c: char| c == ',' || c.is_ascii_whitespace();
        let names = names.split(separators).filter(|name| !name.is_empty());
        // `{mail_addr}`, or a single letter without braces: kept as macros are sent.
        macros.push((stage, names.map(str::to_owned).collect()));
    }
    Some(Negotiation { version, actions, steps, macros })
}

fn change(letter: u8, data: &mut Bytes) -> Option<Change> {
    Some(match letter {
        b'h' => Change::AddHeader { name: take_text(data)?, value: take_text(data).unwrap_or_default() },
        b'i' => {
            let index = take_number(data)?;
            let name = take_text(data)?;
            Change::InsertHeader { index, name, value: take_text(data).unwrap_or_default() }
        }
        b'm' => {
            let index = take_number(data)?;
            let name = take_text(data)?;
            Change::ChangeHeader { index, name, value: take_text(data).unwrap_or_default() }
        }
        b'b' => Change::Body(std::mem::take(data)),
        b'+' | b'2' => Change::AddRecipient(take_string(data)?),
        b'-' => Change::DeleteRecipient(take_string(data)?),
        b'e' => Change::Sender(take_string(data)?),
        b'q' => {
            Change::Quarantine(String::from_utf8_lossy(&take_text(data).unwrap_or_default()).into_owned())
        }
        _ => return None,
    })
}

/// `550 5.7.1 Text`, or several such lines, all but the last with a hyphen behind the code (RFC 5321 §4.2.1).
fn reply(data: &mut Bytes) -> Option<Reply> {
    let text = take_text(data)?;
    let text = String::from_utf8_lossy(&text);
    let code: u16 = text.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    if !(400..600).contains(&code) {
        return None;
    }
    let mut enhanced = None;
    let mut words = Vec::new();
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        let line = line.strip_prefix(&text[..3]).map_or(line, |rest| rest.trim_start_matches(['-', ' ']));
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if is_enhanced(first, code) {
            enhanced.get_or_insert_with(|| first.to_owned());
            words.push(rest.to_owned());
        } else {
            words.push(line.to_owned());
        }
    }
    words.retain(|line| !line.is_empty());
    Some(Reply { code, enhanced, text: words.join(" ") })
}

/// Whether a word is an enhanced status code of the class of `code` (RFC 3463 §2).
fn is_enhanced(word: &str, code: u16) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let digits = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(digits) && parts[0] == (code / 100).to_string()
}
