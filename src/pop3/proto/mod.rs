//! The POP3 protocol itself (RFC 1939 and its extensions), without storage or sockets.

mod command;
mod message;
mod sasl;

pub(crate) use command::{Command, Mechanism};
pub(crate) use message::Encoder;
pub(crate) use sasl::{Credentials, SaslError, decode, plain};
