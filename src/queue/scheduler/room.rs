//! Memory for messages on their way (`queue.maxActiveMemory`): large ones wait for each other, and small ones, of which as many as may go at
//! once fit, never wait.

use std::sync::Arc;

use ekitei_config::Queue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets of a permit.
const UNIT: u64 = 1 << 10;

/// The memory of a process for large messages.
pub(crate) struct Room {
    permits: Arc<Semaphore>,
    total: u32,
    /// Octets of a message that need not ask.
    small: u64,
}

impl Room {
    pub(crate) fn new(config: &Queue) -> Self {
        let octets = config.max_active_memory.get();
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let total = u32::try_from(octets / UNIT).unwrap_or(u32::MAX).clamp(1, most);
        let permits = Arc::new(Semaphore::new(usize::try_from(total).unwrap_or(usize::MAX)));
        Self { permits, total, small: octets / u64::from(config.max_active.max(1)) }
    }

    /// Waits until a message of so many octets may be read; it holds the memory until the permit is dropped. One that is larger than all
    /// of it has all of it.
    pub(crate) async fn take(&self, octets: u64) -> Option<OwnedSemaphorePermit> {
        if octets <= self.small {
            return None;
        }
        let permits = u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.total);
        // It is never closed.
        Arc::clone(&self.permits).acquire_many_owned(permits).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ekitei_config::ByteSize;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn large_messages_wait_for_each_other_and_small_ones_for_nobody() {
        let room =
            Room::new(&Queue { max_active_memory: ByteSize::mib(100), max_active: 100, ..Queue::default() });
        let large = 60 << 20;
        let first = room.take(large).await;
        assert!(room.take(large).now_or_never().is_none());
        assert!(room.take(1 << 20).now_or_never().is_some());
        drop(first);
        let second = room.take(large).now_or_never();
        assert!(second.is_some());
        drop(second);
        assert!(room.take(1 << 40).now_or_never().is_some(), "it goes alone");
    }
}
