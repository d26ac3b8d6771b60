//! What is written together with a delivery by somebody else.

use ekitei_blob::BodyId;
use ekitei_kv::Transaction;

/// Rows that are written in the transaction of a delivery and refer to its body: the entries of the queue, above all. One promise covers
/// all of them: either the message is in the mailboxes and in the queue, or nowhere.
pub trait Companion: Send + Sync + std::fmt::Debug {
    /// Octets of the rows, about.
    fn row_size(&self) -> usize;

    /// Writes the rows, and a reference to the body. Called once in each attempt of the transaction, so it must write the same each time.
    fn write(&self, transaction: &Transaction, body: BodyId);
}
