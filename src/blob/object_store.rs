//! Where large bodies, segments and backups are: anything that keeps named, immutable runs of octets.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::object_error::ObjectError;

/// What an object store's methods return.
pub type ObjectFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ObjectError>> + Send + 'a>>;

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its whole name.
    pub name: String,
    /// Its octets.
    pub size: u64,
    /// When it was written, by the store's clock, since the Unix epoch.
    pub modified: Duration,
}

/// An object store. Objects are written once and never changed; names are as [`check_name`] wants them.
///
/// Every call may be repeated: after an error it is not known whether it had its effect.
pub trait ObjectStore: Send + Sync + 'static {
    /// Stores `pieces` one after the other as the object `name`; returns once it is durable. Doing it again changes nothing.
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()>;

    /// Octets of an object, as far as it has them: fewer than the range holds means that the object ends there.
    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes>;

    /// What is known of an object.
    ///
    /// # Errors
    /// [`ObjectErrorKind::NotFound`](crate::ObjectErrorKind::NotFound) when there is none of this name.
    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo>;

    /// Deletes an object; one that is not there is no error.
    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()>;

    /// Deletes many objects, in fewer requests where the store has one for that. After an error some of them may be left.
    fn delete_many<'a>(&'a self, names: &'a [String]) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            for name in names {
                self.delete(name).await?;
            }
            Ok(())
        })
    }

    /// The objects whose names begin with `prefix` and come after `after` (all, if that is empty), in the order of their octets; at most
    /// `limit`. None means that there are no more. An object that is written meanwhile may be missing. (A server that keeps folders may give
    /// all of `a/` before `a-b`; names that differ so are not used side by side.)
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize)
    -> ObjectFuture<'a, Vec<ObjectInfo>>;

    /// Whether the store has not answered for a while, so that what can wait should. A store that does not find out is never away.
    fn is_away(&self) -> bool {
        false
    }

    /// What was read of an object turned out to be damaged: what a store keeps of it elsewhere is not to be used again.
    fn forget(&self, _name: &str) {}
}

/// The most octets of a name.
pub const MAX_NAME: usize = 512;

/// Whether `name` can name an object in every kind of store: parts divided by `/`, of ASCII letters, digits and `._-`, not beginning
/// with a dot, of three characters or more, the last one of four or more. (A directory has room for its own folders, of two.)
///
/// # Errors
/// [`ObjectErrorKind::Invalid`](crate::ObjectErrorKind::Invalid).
pub fn check_name(name: &str) -> Result<(), ObjectError> {
    let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
    let sound = |part: &str, shortest: usize| {
        part.len() >= shortest
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let folders_sound = name == last || folders.split('/').all(|part| sound(part, 3));
    if name.len() <= MAX_NAME && folders_sound && sound(last, 4) {
        return Ok(());
    }
    Err(ObjectError::invalid(format!("{name:?} cannot name an object")))
}

impl<S: ObjectStore + ?Sized> ObjectStore for Arc<S> {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        (**self).put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        (**self).get(name, range)
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        (**self).head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        (**self).delete(name)
    }

    fn delete_many<'a>(&'a self, names: &'a [String]) -> ObjectFuture<'a, ()> {
        (**self).delete_many(names)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        (**self).list(prefix, after, limit)
    }

    fn is_away(&self) -> bool {
        (**self).is_away()
    }

    fn forget(&self, name: &str) {
        (**self).forget(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_good_for_every_kind_of_store_or_for_none() {
        for good in ["0123abcd", "segments/0123abcd", "backup/2026-01-02/data.idx", "abcd"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in [
            "",
            "abc",
            "../../etcd",
            "ab/abcd",
            "segments/",
            "/abcd",
            "a//abcd",
            ".new/abcd",
            "näme",
            "a b c d",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
