//! Reading mail over POP3.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Reading mail over POP3 (RFC 1939).
    pub struct Pop3 {
        /// The longest command line with its CRLF; `-ERR` above it. RFC 2449 §4 asks for at least 255; AUTH
        /// needs more.
        max_line_length: ByteSize = ByteSize::bytes(8192),
        /// The most messages of a mailbox that one connection lists, oldest first; the others appear once
        /// some are deleted.
        #[schemars(range(min = 1))]
        max_messages: u32 = 200_000,
        /// How long a client that has not logged in may be silent.
        auth_timeout: Duration = Duration::minutes(1),
        /// How long a client that has logged in may be silent. RFC 1939 §3 asks for at least 10 minutes.
        idle_timeout: Duration = Duration::minutes(10),
        /// How long a client may stop reading while the server has something to send.
        write_timeout: Duration = Duration::minutes(5),
        /// How long a mailbox stays locked when its server has died; the lock is renewed three times in this time.
        lease: Duration = Duration::seconds(30),
        /// The most connections at once from one address (IPv6: one /64); `-ERR [SYS/TEMP]` above it. `0` is no
        /// limit.
        max_connections_per_address: u32 = 50,
        /// The most new connections a minute from one address (IPv6: one /64); `-ERR [SYS/TEMP]` above it. `0` is
        /// no limit.
        connections_per_address_per_minute: u32 = 300,
        /// Failed logins on one connection before it is closed.
        #[schemars(range(min = 1))]
        max_auth_failures: u32 = 3,
        /// Bad commands on one connection before it is closed.
        #[schemars(range(min = 1))]
        max_errors: u32 = 20,
        /// Whether USER, PASS and AUTH are allowed without TLS.
        allow_insecure_auth: bool = false,
        /// Whether a message with UTF-8 in its header is refused with `[UTF8]` to a client that has not said UTF8
        /// (RFC 6856 §5), instead of being sent as it is.
        refuse_utf8_without_command: bool = false,
        /// How long mail is kept on the server, announced by CAPA EXPIRE (RFC 2449 §6.7), in days; `0` announces NEVER.
        /// The service itself deletes nothing.
        announced_expire_days: u32 = 0,
    }
}
