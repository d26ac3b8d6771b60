//! Who takes part in leases and who holds what, for those who look at the cluster as a whole.

use foundationdb_tuple::unpack;

use super::rows::Row;
use super::{MemberId, NOBODY};
use crate::keys::range;
use crate::keys::subspace::CLUSTER;
use crate::{Error, RangeOptions, Result, Transaction};

/// A lease as its row tells, whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The kind of work.
    pub group: String,
    /// Which part of that work.
    pub name: String,
    /// Rises whenever the work changes hands.
    pub token: u64,
    /// Who has it, alive or not; `None` when it was given back.
    pub holder: Option<MemberId>,
}

/// The processes that have a beat: those that are alive, and those that died so lately that nobody knows yet. In the order of their ids.
///
/// With `snapshot` without a read conflict; else every renewal of anyone conflicts with the transaction until it commits.
///
/// # Errors
/// Failures of the read; [`Error::Corrupt`].
pub async fn members(transaction: &Transaction, snapshot: bool) -> Result<Vec<MemberId>> {
    let options = RangeOptions { snapshot, ..RangeOptions::default() };
    let mut members = Vec::new();
    for row in transaction.get_range(range(&(CLUSTER, "member")), options).await? {
        // Longer keys are those of the groups that a process takes part in.
        let Ok((_, _, id)) = unpack::<(u32, String, Vec<u8>)>(&row.key) else { continue };
        members.push(MemberId::try_from(id).map_err(|_| Error::Corrupt("a row of a process".into()))?);
    }
    Ok(members)
}

/// All leases that were ever held, without read conflicts.
///
/// # Errors
/// Failures of the read; [`Error::Corrupt`].
pub async fn holdings(transaction: &Transaction) -> Result<Vec<Holding>> {
    let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
    let rows = transaction.get_range(range(&(CLUSTER, "lease")), options).await?;
    rows.iter()
        .map(|row| {
            let (_, _, group, name): (u32, String, String, String) =
                unpack(&row.key).map_err(|_| Error::Corrupt("the key of a lease".into()))?;
            let Row { token, holder } = Row::decode(&row.value)?;
            Ok(Holding { group, name, token, holder: Some(holder).filter(|holder| *holder != NOBODY) })
        })
        .collect()
}
