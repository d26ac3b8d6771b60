//! Zones that only people can change: what is there is asked of the authoritative servers, and what there should be is told.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Capabilities, Provider, ProviderError, Result, Zone};
use crate::name::Name;
use crate::plan::Change;
use crate::record::{Key, RecordSet};
use crate::verify::{Verifier, VerifyError};

/// A provider that never writes. All records are [`State::Manual`](crate::State::Manual) until the servers show them.
#[derive(Clone, Debug)]
pub struct Manual {
    verifier: Verifier,
}

impl Manual {
    /// A provider that reads by asking the servers of the zone.
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier }
    }
}

impl From<VerifyError> for ProviderError {
    fn from(error: VerifyError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Provider for Manual {
    fn name(&self) -> String {
        "manual".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes: false,
            atomic: true,
            prerequisites: false,
            routing: false,
            min_ttl: 0,
            markers: false,
        }
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>> {
        async move {
            match self.verifier.authorities(name).await {
                Ok(authorities) => Ok(Zone { name: authorities.zone, id: None }),
                Err(VerifyError::NoZone(reason)) => Err(ProviderError::NoZone { name: name.clone(), reason }),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, zone: &'a Zone, key: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>> {
        async move {
            let authorities = self.verifier.recent_authorities(&zone.name).await?;
            Ok(self.verifier.get(&authorities, key).await?)
        }
        .boxed()
    }

    fn apply<'a>(&'a self, zone: &'a Zone, _: &'a [Change]) -> BoxFuture<'a, Result<()>> {
        let refused = ProviderError::Rejected(format!("{} is changed by hand", zone.name));
        async move { Err(refused) }.boxed()
    }
}
