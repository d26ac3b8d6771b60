//! Receiving mail: SMTP, submission, LMTP.

use super::section;
use crate::{ByteSize, Cidr, Duration};

section! {
    /// Receiving mail over SMTP, submission and LMTP.
    pub struct Smtp {
        /// What follows the host name in the greeting.
        banner: String = "ESMTP Ekitei".to_owned(),
        /// The largest message, as announced by SIZE (RFC 1870); `552 5.3.4` above it.
        max_message_size: ByteSize = ByteSize::mib(50),
        /// The most recipients of one message; `452 4.5.3` above it. RFC 5321 §4.5.3.1.8 asks for at least 100.
        #[schemars(range(min = 1))]
        max_recipients: u32 = 1000,
        /// The most Received fields before a message is taken for a loop; `554 5.4.6`.
        #[schemars(range(min = 1))]
        max_hops: u32 = 50,
        /// The longest command line with its CRLF; `500 5.5.2` above it. RFC 5321 §4.5.3.1.4 asks for at least 512;
        /// AUTH needs 12288 (RFC 4954 §4).
        max_command_length: ByteSize = ByteSize::bytes(12_288),
        /// The largest header of a message; `552 5.3.4` above it.
        max_header_size: ByteSize = ByteSize::kib(256),
        /// The longest line of a message with its CRLF; `550 5.6.0` above it. RFC 5321 §4.5.3.1.6 asks for at least
        /// 1000; many programs send more.
        max_line_length: ByteSize = ByteSize::mib(1),
        /// Refuse a header in UTF-8 without SMTPUTF8 with `550 5.6.7`, as RFC 6531 has it; many programs send such headers
        /// all the same.
        strict_smtputf8: bool = false,
        /// Commands that bring no mail forward (NOOP, RSET, EHLO, VRFY, HELP) between two messages before the
        /// connection ends with `421 4.7.0`.
        max_commands_without_mail: u32 = 100,
        /// Bad commands, attempts to relay and failed logins before the connection ends with `421 4.7.0`.
        #[schemars(range(min = 1))]
        max_errors: u32 = 20,
        /// Unknown recipients before the connection ends with `421 4.7.0`.
        #[schemars(range(min = 1))]
        max_unknown_recipients: u32 = 50,
        /// How long a reply waits after a client's error; grows with each error, up to `maxTarpitDelay`.
        tarpit_delay: Duration = Duration::millis(500),
        /// The longest such wait.
        max_tarpit_delay: Duration = Duration::seconds(5),
        /// How long the server waits for the client.
        timeouts: SmtpTimeouts = SmtpTimeouts::default(),
        /// Memory for messages being received, over all connections; `452 4.3.1` when it is used up.
        max_bodies_in_flight: ByteSize = ByteSize::mib(512),
        /// The most connections at once from one address (IPv6: one /64); `421 4.7.0` above it. `0` is no limit.
        max_connections_per_address: u32 = 50,
        /// The most new connections a minute from one address (IPv6: one /64); `421 4.7.0` above it. `0` is no limit.
        connections_per_address_per_minute: u32 = 300,
        /// The most messages a minute from one address (IPv6: one /64); `450 4.7.1` above it. `0` is no limit.
        messages_per_address_per_minute: u32 = 1000,
        /// The most messages on one connection; `421 4.7.0` above it.
        #[schemars(range(min = 1))]
        max_messages_per_connection: u32 = 1000,
        /// Networks whose hosts may send to anyone without authentication, and are free of the limits per
        /// address. The address of a load balancer must not be here.
        trusted_networks: Vec<Cidr> = Vec::new(),
        /// Message submission by users.
        submission: Submission = Submission::default(),
    }
}

section! {
    /// How long the server waits for an SMTP client (RFC 5321 §4.5.3.2); `421 4.4.2` after it.
    pub struct SmtpTimeouts {
        /// For the next command (§4.5.3.2.7).
        command: Duration = Duration::minutes(5),
        /// For the first byte after `354` (§4.5.3.2.4).
        data_init: Duration = Duration::minutes(2),
        /// For the next block of a message (§4.5.3.2.5).
        data_block: Duration = Duration::minutes(3),
        /// For the end of a message, from its first byte to its last.
        data_end: Duration = Duration::minutes(30),
        /// For the server's own storing of a message. Whether it is stored is not known after that, so the connection is
        /// closed without a reply. Clients wait 10 minutes (§4.5.3.2.6), so this is less.
        store: Duration = Duration::minutes(2),
    }
}

section! {
    /// Message submission (RFC 6409).
    pub struct Submission {
        /// The most messages a minute from one account; `450 4.7.1` above it. `0` is no limit.
        messages_per_account_per_minute: u32 = 60,
        /// The most recipients a day of one account; `450 4.7.1` above it. `0` is no limit.
        recipients_per_account_per_day: u32 = 5000,
        /// Failed logins on one connection before it ends with `421 4.7.0`.
        #[schemars(range(min = 1))]
        max_auth_failures: u32 = 3,
        /// Whether AUTH is offered without TLS. Passwords then cross the network in the clear.
        allow_insecure_auth: bool = false,
    }
}
