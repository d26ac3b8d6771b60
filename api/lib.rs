//! Types and client of the admin API: what the service, the command line and the operator say to one another.
//!
//! Objects are JSON. Changes are JSON Merge Patch (RFC 7396): a member that is left out stays, `null` removes. Every
//! object has a `revision`, which is also its entity tag: send it as `If-Match` to change only what was seen.
//! Errors are problem details (RFC 9457, [`Problem`]). Listings come in pages: pass the `next` of one as `after`.

mod backup;
mod bans;
mod bodies;
mod certificates;
mod client;
mod deliverability;
mod dkim;
mod keys;
mod locks;
mod nodes;
mod patch;
mod problem;
mod queue;
mod reports;
mod types;
mod usage;

pub use backup::{
    BackupAction, BackupJob, BackupJobState, BackupProgress, BackupPrune, BackupPruned, BackupQueue,
    BackupReport, BackupRestore, BackupRestored, BackupSnapshot,
};
pub use bans::{Ban, GreylistEntry, GreylistRemoved, NewBan};
pub use bodies::{BlobBacklog, BlobFinding, BlobGroup, BlobScrub, BlobStatus};
pub use certificates::{Certificate, NewCertificate};
pub use client::{Client, ClientError, PageQuery};
pub use deliverability::{DeliverabilityFinding, DeliverabilityReport, DeliverabilityVerdict, MtaStsPolicy};
pub use dkim::{DkimActivation, DkimAlgorithm, DkimKey, DkimKeyPatch, DkimStage, NewDkimKeys};
pub use keys::{DataKey, DataKeyRotation, DataKeyState, DataKeysRewrapped, DataKeysRotated};
pub use locks::{Lock, NewLock};
pub use nodes::{ClusterFeature, Node, NodeState, NodeWork};
pub use problem::{PROBLEM_JSON, Problem, ProblemCode};
pub use queue::{
    QueueAction, QueueDestination, QueueDone, QueueEntry, QueueFailure, QueueFigures, QueueFilter,
    QueueOrder, QueueRecipient, QueueState, QueueStatistics, QueuedMessage, RecipientState,
    SuppressedAddress,
};
pub use reports::{
    Report, ReportDetail, ReportKind, ReportQuery, ReportRecord, ReportSummary, SendReports, SentReports,
    SummaryQuery,
};
pub use types::*;
pub use usage::{AccountUsage, CountDifference, CountedIn, DomainUsage};
