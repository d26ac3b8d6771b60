//! What the scenarios are written with: a running service, small protocol clients, other people's programs.

pub mod authority;
pub mod imap;
pub mod knot;
pub mod mail;
pub mod opendkim;
pub mod pods;
pub mod policy_server;
pub mod postfix;
pub mod program;
pub mod scanners;
#[path = "../../../src/blob/s3/tests/s3/support/seaweed.rs"]
pub mod seaweed;
pub mod server;
pub mod sink;
pub mod smtp;

pub use imap::Imap;
pub use program::{Finished, Program};
pub use server::Server;
pub use smtp::Smtp;

use std::time::{Duration, Instant};

/// The domain of every test.
pub const DOMAIN: &str = "example.test";
/// The first account: the one mail is sent to.
pub const ALICE: &str = "alice@example.test";
/// The second account.
pub const BOB: &str = "bob@example.test";
/// Somebody on another host.
pub const STRANGER: &str = "carol@elsewhere.test";

/// The password of the account with this address.
pub fn password(address: &str) -> String {
    format!("Secret of {address}")
}

/// Whether the long forms of the tests were asked for.
pub fn long() -> bool {
    std::env::var("EKITEI_LONG").is_ok_and(|value| value == "1")
}

/// Asks until the answer is yes; after `limit` the test fails with `what` was awaited.
pub fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !ready() {
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns from the calling test, with the reason in the skip report, unless every program named is installed.
macro_rules! require {
    ($($program:literal),+) => {
        if !$crate::support::program::installed(&[$($program),+]) {
            return;
        }
    };
}
pub(crate) use require;
