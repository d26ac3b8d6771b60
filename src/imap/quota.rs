//! GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208). Every account is one quota root with the empty name.

use crate::mailboxes::wire_name;
use crate::proto::MailboxName;
use crate::proto::response::Code;
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;

/// The name of the quota root.
const ROOT: &str = "";
/// RFC 9208 §5.1 counts STORAGE in units of 1024 octets.
const STORAGE_UNIT: u64 = 1024;

impl Session {
    pub(crate) async fn get_quota(&mut self, root: &[u8]) -> Outcome {
        if root != ROOT.as_bytes() {
            return Err(Reply::no(Code::NonExistent, "There is no such quota root").into());
        }
        self.tell_quota().await?;
        Ok(Reply::ok("That is the quota"))
    }

    pub(crate) async fn get_quota_root(&mut self, name: &MailboxName) -> Outcome {
        let mailbox = self.mailbox(name).await?;
        self.wire.responses(self.encoding).quota_root(&wire_name(&mailbox.name), &[ROOT]);
        self.tell_quota().await?;
        Ok(Reply::ok("That is the quota"))
    }

    /// SETQUOTA: quotas are the administrator's.
    pub(crate) fn set_quota(&self) -> Outcome {
        Err(Reply::no(Code::NoPerm, "Only the administrator changes quotas").into())
    }

    /// A quota root tells of the resources that are limited (RFC 9208 §3.1): octets, or none.
    async fn tell_quota(&mut self) -> Result<(), Stop> {
        let account = self.account()?;
        let limit = self.shared.directory.quota(account).await?.account;
        let usage = self.shared.mailstore.usage(account).await?;
        let storage =
            limit.map(|limit| ("STORAGE", usage.bytes.div_ceil(STORAGE_UNIT), limit / STORAGE_UNIT));
        self.wire.responses(self.encoding).quota(ROOT, storage.as_slice());
        Ok(())
    }
}
