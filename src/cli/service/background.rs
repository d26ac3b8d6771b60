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

    let (mailstore, live) = (service.mailstore.clone(), service.net.live().clone());
    spawn(&shutdown, async move {
        loop {
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
