//! Rates of clients and users over all processes, and bans.

use super::section;
use crate::{Cidr, Duration};

section! {
    /// Rates of clients and users, and bans, counted over all processes. The rates per address and per account themselves are
    /// where their protocols are: `smtp.messagesPerAddressPerMinute`, `imap.connectionsPerAddressPerMinute` and so on. Networks in
    /// `smtp.trustedNetworks` are free of all of it.
    pub struct ClientLimits {
        /// The most new connections a minute from one network (IPv4: /24, IPv6: /48) to each of SMTP, IMAP and POP3; refused as those over
        /// the rate of one address are. `0` is no limit: large senders have whole networks full of hosts.
        connections_per_network_per_minute: u32 = 0,
        /// The most messages a minute from one network (IPv4: /24, IPv6: /48); `450 4.7.1` above it. `0` is no limit.
        messages_per_network_per_minute: u32 = 0,
        /// The most failed logins an hour to one account, from anywhere. Above it, only addresses from which the account's user logged in
        /// during the last 30 days may try; others are told to try again later. `0` is no limit.
        login_failures_per_account_per_hour: u32 = 100,
        /// How often a process shares what it counted with the others. Between two of these, processes may let through more than a limit: what
        /// the others let through meanwhile.
        sync_interval: Duration = Duration::seconds(1),
        /// The most addresses, networks and accounts that one process counts at a time; those that did least are forgotten first.
        #[schemars(range(min = 1000))]
        max_keys: u32 = 200_000,
        /// Who is not let in for a while.
        bans: Bans = Bans::default(),
    }
}

section! {
    /// Bans of clients (IPv4: one address, IPv6: one /64) for what they do. What an address does wrong is counted in points; one with too many
    /// is refused at connecting, `421 4.7.0` or its like, for a time that doubles with every ban.
    pub struct Bans {
        /// Whether clients are banned for what they do. Bans by hand count in any case.
        enabled: bool = true,
        /// Networks that are never banned for what they do: those of users, monitoring, and of load balancers that do not send the PROXY
        /// protocol, behind which all clients look alike.
        exempt: Vec<Cidr> = loopback(),
        /// The points within `window` that lead to a ban.
        #[schemars(range(min = 1))]
        threshold: u32 = 100,
        /// The points within `window` that lead to a ban of a whole network (IPv4: /24, IPv6: /48). `0` is never.
        network_threshold: u32 = 0,
        /// How long points count.
        window: Duration = Duration::hours(1),
        /// How long the first ban lasts; each further one is twice as long.
        first: Duration = Duration::minutes(10),
        /// The longest ban.
        longest: Duration = Duration::days(7),
        /// How long after its end a ban makes the next one longer.
        memory: Duration = Duration::days(30),
        /// The most bans at a time; above it no more are made, until some end.
        #[schemars(range(min = 1))]
        max_bans: u32 = 100_000,
        /// Points of what a client does wrong.
        points: BanPoints = BanPoints::default(),
    }
}

section! {
    /// Points of what a client does wrong; `0` does not count.
    pub struct BanPoints {
        /// A login with a wrong name or password.
        login_failed: u32 = 10,
        /// A recipient that nobody has: somebody is trying names.
        unknown_recipient: u32 = 4,
        /// A recipient elsewhere, without a login: somebody is looking for an open relay.
        relay_attempt: u32 = 20,
        /// A command that is none, or at the wrong time.
        bad_command: u32 = 2,
    }
}

fn loopback() -> Vec<Cidr> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}
