//! `ekitei-operator run`: from start to end.

use std::time::Duration;

use anyhow::Context as _;
use ekitei_telemetry::{LogFormat as Format, init_logs};
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::leader::{Candidate, Leadership};
use crate::options::{LogFormat, Options};
use crate::{controller, health};

/// Runs until SIGTERM or SIGINT; then lets what is under way end, and gives the lease back.
///
/// # Errors
/// What is wrong with the configuration, or with the first contact to the API server.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let format = match options.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    init_logs(&options.log_filter(), format, None)?;
    // Fails only where there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_default().await.context("there is no cluster to talk to")?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %options.listen, namespace = options.namespace, "starts");

    let leadership = Leadership::none();
    let context = Context::new(client.clone(), options, leadership.clone())
        .context("the trust anchors cannot be used")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = controller::stop(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("ends");
    });
    let mut candidate = Candidate::new(
        client,
        context.namespace(),
        &context.options.leader_election_lease,
        context.identity.clone(),
        Duration::from_secs(u64::from(context.options.leader_election_seconds)),
        leadership,
    );
    let serving = tokio::spawn(health::serve(listener, context.clone(), shutdown.clone()));
    // The lease is renewed until the last work has ended.
    tokio::select! {
        () = candidate.run() => {}
        () = controller::run(context, shutdown) => {}
    }
    candidate.release().await;
    serving.await??;
    Ok(())
}
