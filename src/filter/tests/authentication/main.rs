//! Whose mail it is: the whole pipeline from EHLO to the judgement, with a DNS server of our own.

#![allow(clippy::unwrap_used)]

mod dkimpy;
mod failures;
mod hostile;
mod policies;
mod reports;
mod results;
mod sender;
mod signatures;
mod support;
mod vectors;
