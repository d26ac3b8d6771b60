//! Types and client of the admin API: what the service, the command line and the operator say to one another.
//!
//! Objects are JSON. Changes are JSON Merge Patch (RFC 7396): a member that is left out stays, `null` removes. Every
//! object has a `revision`, which is also its entity tag: send it as `If-Match` to change only what was seen.
//! Errors are problem details (RFC 9457, [`Problem`]). Listings come in pages: pass the `next` of one as `after`.

mod client;
mod patch;
mod problem;
mod types;

pub use client::{Client, ClientError, PageQuery};
pub use problem::{PROBLEM_JSON, Problem, ProblemCode};
pub use types::*;
