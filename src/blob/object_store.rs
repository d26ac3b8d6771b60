//! Where large bodies are: anything that keeps named, immutable runs of octets.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;

/// What an object store's methods return.
pub type ObjectFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// An object store. Objects are written once and never changed.
pub trait ObjectStore: Send + Sync + 'static {
    /// Stores `pieces` one after the other as the object `name`; returns once it is durable. Doing it again changes nothing.
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()>;

    /// Octets of an object; fewer than asked for means that the object is damaged.
    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes>;

    /// Deletes an object; one that is not there is no error.
    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()>;
}
