//! A provider that is kept to the zones that its DNSProvider names.

use std::sync::Arc;

use ekitei_operator_dns::provider::{Capabilities, Provider, ProviderError, Result, Zone};
use ekitei_operator_dns::{Change, Key, Name, RecordSet};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// A provider of some zones only.
#[derive(Debug)]
pub struct Limited {
    inner: Arc<dyn Provider>,
    zones: Vec<Name>,
}

impl Limited {
    /// Keeps a provider to these zones; without any, to those that it has.
    pub fn to(zones: Vec<Name>, inner: Arc<dyn Provider>) -> Arc<dyn Provider> {
        if zones.is_empty() { inner } else { Arc::new(Self { inner, zones }) }
    }

    fn check(&self, zone: &Zone) -> Result<()> {
        if self.zones.contains(&zone.name) {
            return Ok(());
        }
        let reason = "the spec of the DNSProvider does not name this zone".to_owned();
        Err(ProviderError::NoZone { name: zone.name.clone(), reason })
    }
}

impl Provider for Limited {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn takes(&self, set: &RecordSet) -> bool {
        self.inner.takes(set)
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>> {
        async move {
            let zone = self.inner.zone(name).await?;
            self.check(&zone)?;
            Ok(zone)
        }
        .boxed()
    }

    fn get<'a>(&'a self, zone: &'a Zone, key: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>> {
        self.inner.get(zone, key)
    }

    fn apply<'a>(&'a self, zone: &'a Zone, changes: &'a [Change]) -> BoxFuture<'a, Result<()>> {
        async move {
            self.check(zone)?;
            self.inner.apply(zone, changes).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// It has every zone of two labels.
    #[derive(Debug)]
    struct Anything;

    impl Provider for Anything {
        fn name(&self) -> String {
            "anything".to_owned()
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities {
                writes: true,
                atomic: true,
                prerequisites: true,
                routing: false,
                min_ttl: 0,
                markers: true,
            }
        }

        fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>> {
            let labels: Vec<&str> = name.as_str().rsplit('.').take(2).collect();
            let zone: Name = format!("{}.{}", labels[1], labels[0]).parse().unwrap();
            async move { Ok(Zone { name: zone, id: None }) }.boxed()
        }

        fn get<'a>(&'a self, _: &'a Zone, _: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>> {
            async { Ok(None) }.boxed()
        }

        fn apply<'a>(&'a self, _: &'a Zone, _: &'a [Change]) -> BoxFuture<'a, Result<()>> {
            async { Ok(()) }.boxed()
        }
    }

    #[tokio::test]
    async fn zones_that_are_not_named_are_as_if_they_were_not_there() {
        let limited = Limited::to(vec!["example.org".parse().unwrap()], Arc::new(Anything));
        let zone = limited.zone(&"mx.example.org".parse().unwrap()).await.unwrap();
        assert_eq!(limited.apply(&zone, &[]).await, Ok(()));
        let other = limited.zone(&"mx.example.com".parse().unwrap()).await;
        assert!(matches!(other, Err(ProviderError::NoZone { .. })));
        let forged = Zone { name: "example.com".parse().unwrap(), id: None };
        assert!(limited.apply(&forged, &[]).await.is_err());
    }

    #[tokio::test]
    async fn without_names_it_is_as_it_is() {
        let limited = Limited::to(Vec::new(), Arc::new(Anything));
        assert!(limited.zone(&"mx.example.com".parse().unwrap()).await.is_ok());
    }
}
