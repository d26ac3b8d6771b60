//! The client's side of SMTP as octets: replies and what they announce, commands, message data, authentication. Knows nothing of routes, storage
//! or sockets.

pub mod capabilities;
pub mod command;
pub mod data;
pub mod reply;
pub mod sasl;
pub mod status;
