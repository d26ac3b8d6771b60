//! The sections of the configuration: one file each, every key with its meaning and its default side by side.

mod authentication;
mod backup;
mod client_limits;
mod cluster;
mod directory;
mod dns;
mod dns_lists;
mod encryption;
mod filter;
mod greylist;
mod imap;
mod listeners;
mod mailstore;
mod objects;
mod packing;
mod pop3;
mod process;
mod queue;
mod queue_delivery;
mod relay;
mod reports;
mod scanners;
mod signing;
mod smtp;
mod storage;
mod traces;
mod web;

pub use authentication::{
    Authentication, DomainPolicy, FilterAction, FilterFailure, FilterPolicy, FilterScores, HelloAction,
    HelloChecks, TemporaryError,
};
pub use backup::{Backup, BackupRetention};
pub use client_limits::{BanPoints, Bans, ClientLimits};
pub use cluster::Cluster;
pub use directory::{Directory, PasswordHashing};
pub use dns::Dns;
pub use dns_lists::{DnsList, DnsListAnswer, DnsListKind, DnsLists};
pub use encryption::{Encryption, Kms};
pub use filter::Filter;
pub use greylist::Greylist;
pub use imap::{Imap, ImapSearch};
pub use listeners::{
    CertificateConfig, Limits, ListenerConfig, Protocol, ProxyProtocol, TlsConfig, TlsVersion,
};
pub use mailstore::{DeliveryBatch, Mailstore};
pub use objects::{BlobCredentials, BlobObjectCache, BlobRetries, BlobSse, BlobStore, BlobTimeouts};
pub use packing::{BlobPacking, BlobScrub};
pub use pop3::Pop3;
pub use process::{Admin, Log, LogFormat, LogLevel, Shutdown};
pub use queue::{Queue, Suppression};
pub use queue_delivery::{QueueDestination, QueueNotifications, QueueQuotas, QueueWarmUp};
pub use relay::{Relay, RelayRoute, RelayTimeouts, SmartHost, TlsRule};
pub use reports::Reports;
pub use scanners::{
    Clamd, GreylistAction, Milter, Objection, Rspamd, RspamdLearning, ScannerFailure, Scanners,
};
pub use signing::{DkimAlgorithm, Signing};
pub use smtp::{Smtp, SmtpTimeouts, Submission};
pub use storage::{Blobs, Store, Verify};
pub use traces::{TraceHeader, Traces};
pub use web::{ClientService, MtaSts, MtaStsMode, Web};

/// Declares a section: a struct whose keys each carry a doc comment, a type and a default. The defaults
/// become its `Default`, so a section or key that is left out has exactly the value that is documented.
macro_rules! section {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $( $(#[$field_doc:meta])* $field:ident : $type:ty = $default:expr, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }
    };
}
pub(crate) use section;
