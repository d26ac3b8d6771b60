//! The network thread and its place for the life of the process.

use std::sync::{Mutex, PoisonError};

use foundationdb::FdbError;
use foundationdb::api::{FdbApiBuilder, NetworkAutoStop};

/// The client library allows one network per process, which cannot be started again after it was stopped.
static NETWORK: Mutex<State> = Mutex::new(State::New);

enum State {
    New,
    Running { _stop: NetworkAutoStop },
    Stopped,
}

/// FoundationDB's code for "network cannot be restarted".
const CANNOT_RESTART: i32 = 2025;

/// Starts the network thread, unless it runs already.
///
/// # Errors
/// When the client library refuses (its version, its options), or the network was stopped or failed to start before.
pub fn start() -> Result<(), FdbError> {
    let mut network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner);
    match *network {
        State::Running { .. } => return Ok(()),
        State::Stopped => return Err(FdbError::from_code(CANNOT_RESTART)),
        State::New => *network = State::Stopped,
    }
    let builder = FdbApiBuilder::default().build()?;
    // SAFETY: `boot` demands that its handle is dropped before the process exits normally. The handle stays in `NETWORK`
    // until `stop` drops it; `stop`'s documentation makes calling it the duty of `main`, which is where that demand can be met.
    // A process that is killed or aborts needs no stop.
    #[allow(unsafe_code)]
    let stop = unsafe { builder.boot() }?;
    *network = State::Running { _stop: stop };
    Ok(())
}

/// Stops the network thread and waits for its end, if it runs; nothing can be read or committed afterwards.
///
/// A program that opened a FoundationDB database must call this before it returns from `main` or calls `std::process::exit`: the client
/// library's thread must not outlive the library's global state.
pub fn stop() {
    let mut network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner);
    *network = State::Stopped;
}
