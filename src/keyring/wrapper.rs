//! What wraps data keys.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use zeroize::Zeroizing;

/// A data key in the clear; cleared from memory when it is dropped.
pub type Clear = Zeroizing<[u8; ekitei_blob::DATA_KEY_OCTETS]>;

/// Why a data key cannot be wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The key service does not answer: temporary.
    #[error("{0}")]
    Unavailable(String),
    /// It refuses, or what is wrapped does not fit: the operator's.
    #[error("{0}")]
    Refused(String),
}

/// What the methods of [`Wrapper`] return.
pub type WrapFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, WrapError>> + Send + 'a>>;

/// A master key.
pub trait Wrapper: fmt::Debug + Send + Sync + 'static {
    /// Its name, which is stored with what it wrapped. Another key has another name.
    fn name(&self) -> &str;

    /// Wraps a data key. `scope` must be the same to unwrap it.
    fn wrap<'a>(&'a self, key: &'a Clear, scope: &'a str) -> WrapFuture<'a, Vec<u8>>;

    /// Unwraps what [`Wrapper::wrap`] made.
    fn unwrap<'a>(&'a self, wrapped: &'a [u8], scope: &'a str) -> WrapFuture<'a, Clear>;
}
