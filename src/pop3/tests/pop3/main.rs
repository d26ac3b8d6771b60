//! The POP3 server as clients see it.

mod support;

mod authorization;
mod bans;
mod capabilities;
mod ending;
mod reading;
