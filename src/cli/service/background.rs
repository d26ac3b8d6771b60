//! What a service does besides answering clients.

use ekitei_net::Shutdown;
use std::future::Future;

use super::Service;

/// Starts all of it; it ends when the shutdown begins, and every piece may be cut off anywhere.
pub(super) fn start(service: &Service) {
    let shutdown = service.net.shutdown().clone();
    let directory = service.directory.clone();
    spawn(&shutdown, async move { directory.follow_changes().await });

    let (tls, live, registry) =
        (service.net.tls().clone(), service.net.live().clone(), service.registry.clone());
    let until = shutdown.clone();
    spawn(&shutdown, async move { tls.watch(live, until, &registry).await });

    let signing = service.sending.signing.clone();
    spawn(&shutdown, async move { signing.follow_changes().await });
    let (signing, leases) = (service.sending.signing.clone(), service.sending.leases.clone());
    spawn(&shutdown, async move { signing.maintain_forever(&leases).await });
    let relay = service.sending.relay.clone();
    spawn(&shutdown, async move { relay.maintain().await });
    let policies = service.sending.policies.clone();
    spawn(&shutdown, async move { policies.sweep_forever().await });
    // Not with the others: work that ends within the grace needs its leases until then.
    let leases = service.sending.leases.clone();
    tokio::spawn(async move { leases.run().await });
    let (reports, leases) = (service.sending.reports.clone(), service.sending.leases.clone());
    spawn(&shutdown, async move { reports.run(&leases).await });
    let limits = service.sending.limits.clone();
    spawn(&shutdown, async move { limits.run().await });

    let (mailstore, live) = (service.mailstore.clone(), service.net.live().clone());
    let queue = service.sending.queue.clone();
    spawn(&shutdown, async move {
        loop {
            if let Err(error) = queue.sweep().await {
                tracing::warn!(%error, "void rows of the queue stay until the next round");
            }
            match mailstore.maintain().await {
                Ok(done) => tracing::debug!(?done, "maintenance"),
                Err(error) => {
                    tracing::warn!(%error, "maintenance was interrupted; it goes on in the next round")
                }
            }
            tokio::time::sleep(live.load().mailstore.maintenance_interval.get()).await;
        }
    });
}

fn spawn(shutdown: &Shutdown, work: impl Future<Output = ()> + Send + 'static) {
    let until = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = work => {}
            () = until.graceful() => {}
        }
    });
}
