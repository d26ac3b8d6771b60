//! What the system tells the process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use super::Reloader;

/// Reloads on SIGHUP and when the file changes; returns at the first SIGTERM or SIGINT.
pub(super) async fn until_told_to_stop(reloader: &Reloader) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let follow = async {
        tokio::select! {
            () = reloader.follow_file() => {}
            () = async {
                while hangup.recv().await.is_some() {
                    tracing::info!("SIGHUP: reading the configuration again");
                    reloader.reload();
                }
            } => {}
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        () = follow => {}
    }
    Ok(())
}

/// Returns at the next SIGTERM or SIGINT.
pub(super) async fn told_again() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
