//! Greylisting.

use super::section;
use crate::{Cidr, Duration};

section! {
    /// Greylisting (RFC 6647): the first attempt of an unknown sender is put off with `451 4.7.1`; servers try again, much of what sends
    /// spam does not. Known are networks (IPv4: /24, IPv6: /64), senders and recipients that were seen together; all processes share them.
    pub struct Greylist {
        /// Whether it is done.
        enabled: bool = false,
        /// How long after the first attempt another one is put off too.
        delay: Duration = Duration::minutes(5),
        /// Until when after the first attempt another one must come, or count as the first again.
        retry_window: Duration = Duration::days(2),
        /// How long network, sender and recipient stay known after their last message.
        lifetime: Duration = Duration::days(36),
        /// Combinations that must have passed from a network before everything from it passes at once. `0` is never.
        network_after: u32 = 5,
        /// Networks that are not greylisted.
        networks: Vec<Cidr> = Vec::new(),
        /// Senders that are not greylisted: addresses, or domains as `example.com`, which stand for those below them too.
        senders: Vec<String> = Vec::new(),
        /// Recipients whose mail is not greylisted: addresses or domains.
        recipients: Vec<String> = Vec::new(),
        /// Let pass at once what SPF or an aligned DKIM signature shows to be of a domain whose mail was accepted before.
        known_senders_pass: bool = true,
        /// How long a domain stays known after its last accepted mail.
        known_sender_lifetime: Duration = Duration::days(60),
        /// Senders, networks and domains that a process remembers as known, so that their mail costs no question to the store.
        #[schemars(range(min = 100))]
        cache_entries: u32 = 50_000,
    }
}
