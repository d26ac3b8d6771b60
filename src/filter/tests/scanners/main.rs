//! clamd, rspamd and milters against servers that say what the tests tell them to, the truth or not.
#![allow(clippy::unwrap_used)]

mod clamd;
mod learning;
mod milter;
mod rspamd;
mod support;
