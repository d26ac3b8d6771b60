//! Reports to and from other domains.

use super::section;
use crate::{ByteSize, Cidr, Duration};

section! {
    /// DMARC aggregate reports (RFC 9990) and TLS reports (RFC 8460).
    pub struct Reports {
        /// Whether reports are sent to domains that ask for them.
        send: bool = true,
        /// The name of the organisation in reports; empty for `hostname`.
        organization: String = String::new(),
        /// The address that reports come from, of a domain with DKIM keys; empty for `postmaster` at `directory.defaultDomain`, or else at the first domain.
        from: String = String::new(),
        /// How long what is collected may be in memory only, where the end of a process loses it.
        flush_interval: Duration = Duration::minutes(5),
        /// Different records that one process collects between two flushes; the mail of others is not reported.
        max_collected: u32 = 50_000,
        /// Records of one report; what does not fit is left out, and the report says so.
        max_records: u32 = 20_000,
        /// Reports larger than this, compressed, are not sent.
        max_report_size: ByteSize = ByteSize::mib(10),
        /// Over how much time after midnight (UTC) the reports of a day are spread.
        spread: Duration = Duration::hours(4),
        /// Networks that are not of the public Internet, and in which TLS reports are posted by HTTPS all the same. Whoever has mail sent to them can have
        /// requests made there.
        private_networks: Vec<Cidr> = Vec::new(),
        /// How long a report is tried to be made and handed over, while its destination cannot be looked up or reached.
        give_up_after: Duration = Duration::days(2),
        /// Messages to `dmarc-reports` and `tls-reports` that are larger are not read as reports.
        max_received_size: ByteSize = ByteSize::mib(10),
        /// Received reports that are larger, unpacked, are not read.
        max_unpacked_size: ByteSize = ByteSize::mib(50),
        /// Records of a received report that are kept for `ekitei report show`.
        max_received_records: u32 = 5_000,
        /// How long received reports are kept.
        keep_received: Duration = Duration::days(90),
    }
}
