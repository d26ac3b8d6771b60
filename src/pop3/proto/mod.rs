//! The POP3 protocol itself (RFC 1939 and its extensions), without storage or sockets.

mod command;
mod message;
mod sasl;

pub use command::{Command, Mechanism, Number, SyntaxError};
pub use message::Encoder;
pub use sasl::{Credentials, SaslError, decode, plain};
