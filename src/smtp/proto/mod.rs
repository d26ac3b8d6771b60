//! The protocol of RFC 5321 and its extensions as octets: commands, message data and replies. Knows nothing of
//! recipients, storage or sockets.

pub mod bdat;
pub mod command;
pub mod data;
pub mod line;
pub mod params;
pub mod path;
pub mod reply;
pub mod sasl;
pub mod xtext;
