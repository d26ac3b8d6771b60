//! Reading mail over IMAP.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Reading mail over IMAP (RFC 9051, RFC 3501).
    pub struct Imap {
        /// The longest command line without literals; `BAD [LIMIT]` above it. RFC 7162 §4 asks for at least 8192.
        max_line_length: ByteSize = ByteSize::kib(64),
        /// The largest literal outside APPEND; `NO [TOOBIG]` above it.
        max_literal: ByteSize = ByteSize::kib(256),
        /// The largest command with its literals, outside APPEND; `NO [TOOBIG]` above it.
        max_command_size: ByteSize = ByteSize::mib(1),
        /// The largest message for APPEND, announced as APPENDLIMIT (RFC 7889); `NO [TOOBIG]` above it.
        append_limit: ByteSize = ByteSize::mib(50),
        /// The most messages in one MULTIAPPEND; `NO [LIMIT]` above it.
        #[schemars(range(min = 1))]
        max_append_messages: u32 = 100,
        /// The deepest nesting of parentheses, NOT and OR in a command; `NO [LIMIT]` above it.
        #[schemars(range(min = 1, max = 1000))]
        max_nesting: u32 = 50,
        /// The most ranges in one sequence set; `NO [LIMIT]` above it.
        #[schemars(range(min = 1))]
        max_set_ranges: u32 = 10_000,
        /// How long a client that has not logged in may be silent.
        auth_timeout: Duration = Duration::minutes(1),
        /// How long a client that has logged in may be silent. RFC 9051 §5.4 asks for at least 30 minutes.
        idle_timeout: Duration = Duration::minutes(30),
        /// How long a client may stop reading while the server has something to send.
        write_timeout: Duration = Duration::minutes(5),
        /// How often IDLE sends an untagged OK so that middleboxes keep the connection; `0` is never.
        idle_keepalive: Duration = Duration::minutes(2),
        /// The most connections at once of one account; `NO [LIMIT]` at login above it. `0` is no limit.
        max_connections_per_account: u32 = 100,
        /// The most connections at once from one address (IPv6: one /64); `BYE` above it. `0` is no limit.
        max_connections_per_address: u32 = 200,
        /// The most new connections a minute from one address (IPv6: one /64); `BYE` above it. `0` is no limit.
        connections_per_address_per_minute: u32 = 600,
        /// Failed logins on one connection before `BYE`.
        #[schemars(range(min = 1))]
        max_auth_failures: u32 = 3,
        /// Bad commands on one connection before `BYE`.
        #[schemars(range(min = 1))]
        max_errors: u32 = 50,
        /// Memory for messages being appended, over all connections; `NO [LIMIT]` when it is used up.
        max_bodies_in_flight: ByteSize = ByteSize::mib(256),
        /// Bytes of one response that may wait for a slow client before the server stops reading messages for it.
        output_buffer: ByteSize = ByteSize::kib(64),
        /// Whether LOGIN and AUTHENTICATE PLAIN are allowed without TLS.
        allow_insecure_auth: bool = false,
        /// The cost of SEARCH.
        search: ImapSearch = ImapSearch::default(),
    }
}

section! {
    /// What one SEARCH may cost; `NO [LIMIT]` above it.
    pub struct ImapSearch {
        /// The most search keys in one command.
        #[schemars(range(min = 1))]
        max_keys: u32 = 500,
        /// The most message bodies read by one command.
        #[schemars(range(min = 1))]
        max_bodies: u32 = 50_000,
        /// The longest time of one command.
        timeout: Duration = Duration::minutes(2),
    }
}
