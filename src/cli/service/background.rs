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

    let cluster = service.cluster.clone();
    spawn(&shutdown, super::cluster::follow(cluster));

    let certificates = service.certificates.clone();
    spawn(&shutdown, async move { certificates.follow_changes().await });
    let keyring = service.keyring.clone();
    spawn(&shutdown, async move { keyring.follow_changes().await });
    let (keyring, leases) = (service.keyring.clone(), service.sending.leases.clone());
    spawn(&shutdown, async move { keyring.maintain_forever(&leases).await });
    let signing = service.sending.signing.clone();
    spawn(&shutdown, async move { signing.follow_changes().await });
    let (signing, leases) = (service.sending.signing.clone(), service.sending.leases.clone());
    spawn(&shutdown, async move { signing.maintain_forever(&leases).await });
    let relay = service.sending.relay.clone();
    spawn(&shutdown, async move { relay.maintain().await });
    // Not with the others: work that ends within the grace needs its leases until then.
    let leases = service.sending.leases.clone();
    tokio::spawn(async move { leases.run().await });
    let (reports, leases) = (service.sending.reports.clone(), service.sending.leases.clone());
    spawn(&shutdown, async move { reports.run(&leases).await });
    let limits = service.sending.limits.clone();
    spawn(&shutdown, async move { limits.run().await });

    let (backups, leases) = (service.backups.clone(), service.sending.leases.clone());
    spawn(&shutdown, async move { backups.run(&leases).await });

    super::bodies::start(service);
    super::jobs::start(service);
}

pub(super) fn spawn(shutdown: &Shutdown, work: impl Future<Output = ()> + Send + 'static) {
    let until = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = work => {}
            () = until.graceful() => {}
        }
    });
}
