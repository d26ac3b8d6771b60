//! Locks with names: for programs that share something outside of the service, such as a DNS zone.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lock {
    /// Its name.
    #[schema(example = "dns:example.test")]
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// When it ends if it is not renewed, in seconds since the epoch, by the clock of the service.
    pub expires: u64,
    /// Rises whenever the lock is taken anew, and stays while it is renewed: what is written under the lock can carry it, so that what a former holder
    /// writes too late is known as such.
    pub token: u64,
}

/// A lock to be taken or renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLock {
    /// Who wants it; the same text renews it.
    pub holder: String,
    /// For how many seconds from now.
    pub seconds: u64,
}

impl Client {
    /// One page of the locks that are held.
    pub async fn list_locks(&self, page: &PageQuery) -> Result<Page<Lock>> {
        self.list(&["locks"], page).await
    }

    /// A lock, if it is held.
    pub async fn lock(&self, name: &str) -> Result<Lock> {
        self.get(&["locks", name]).await
    }

    /// Takes a lock, or renews it. While another holds it the answer is a problem with the code [`InUse`](crate::ProblemCode::InUse) that names
    /// the holder.
    pub async fn put_lock(&self, name: &str, new: &NewLock) -> Result<Lock> {
        self.send(Method::PUT, &["locks", name], new, None).await
    }

    /// Gives a lock back that `holder` holds. That nobody holds it is no error; that another does is one, with the code
    /// [`InUse`](crate::ProblemCode::InUse).
    pub async fn delete_lock(&self, name: &str, holder: &str) -> Result<()> {
        let request = self.request(Method::DELETE, &["locks", name])?.query(&[("holder", holder)]);
        self.answer(request).await.map(drop)
    }
}
