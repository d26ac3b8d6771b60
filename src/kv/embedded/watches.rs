//! Who waits for which key to change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::storage::Changes;

/// The watches of a database.
#[derive(Default)]
pub(crate) struct Watches {
    waiting: Mutex<HashMap<Bytes, Vec<Waiting>>>,
}

struct Waiting {
    id: u64,
    expected: Option<Bytes>,
    wake: oneshot::Sender<()>,
}

/// A watch of a transaction that has not committed yet.
pub(crate) struct PendingWatch {
    pub(crate) key: Bytes,
    /// What the transaction saw, with its own write.
    pub(crate) expected: Option<Bytes>,
    pub(crate) wake: oneshot::Sender<()>,
    pub(crate) id: u64,
}

/// The waiting side; takes the watch away when it is dropped.
pub(crate) struct WatchHandle {
    pub(crate) key: Bytes,
    pub(crate) id: u64,
    pub(crate) woken: oneshot::Receiver<()>,
    pub(crate) watches: Arc<Watches>,
}

impl Watches {
    /// Starts to wait; `current` reads the key's value as of now, so that no change is missed between the transaction's
    /// snapshot and this moment.
    pub(crate) fn activate(&self, watch: PendingWatch, current: impl FnOnce(&[u8]) -> Option<Option<Bytes>>) {
        let key = watch.key.clone();
        let PendingWatch { expected, wake, id, .. } = watch;
        if wake.is_closed() {
            return;
        }
        let expected_now = expected.clone();
        self.lock().entry(key.clone()).or_default().push(Waiting { id, expected, wake });
        // A value that cannot be read counts as changed: a spurious wake is allowed, a lost one is not.
        if current(&key) != Some(expected_now) {
            self.take(&key, |waiting| waiting.id == id).into_iter().for_each(Waiting::wake);
        }
    }

    /// Wakes those whose key now differs from what they saw.
    pub(crate) fn changed(&self, changes: &Changes) {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        for (key, value) in changes {
            let Some(list) = waiting.get_mut(key) else { continue };
            list.extract_if(.., |watch| watch.expected != *value).for_each(Waiting::wake);
            if list.is_empty() {
                waiting.remove(key);
            }
        }
    }

    /// Tells all who wait that no change will be seen any more.
    pub(crate) fn cancel_all(&self) {
        drop(std::mem::take(&mut *self.lock()));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    fn take(&self, key: &Bytes, mut which: impl FnMut(&Waiting) -> bool) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let Some(list) = waiting.get_mut(key) else { return Vec::new() };
        let taken: Vec<Waiting> = list.extract_if(.., |watch| which(watch)).collect();
        if list.is_empty() {
            waiting.remove(key);
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn wake(self) {
        // The waiter may be gone, which is as good as woken.
        let _ = self.wake.send(());
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        drop(self.watches.take(&self.key, |waiting| waiting.id == self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(
        watches: &Arc<Watches>,
        id: u64,
        expected: Option<&'static [u8]>,
    ) -> (PendingWatch, WatchHandle) {
        let (wake, woken) = oneshot::channel();
        let key = Bytes::from_static(b"k");
        let handle = WatchHandle { key: key.clone(), id, woken, watches: watches.clone() };
        (PendingWatch { key, expected: expected.map(Bytes::from_static), wake, id }, handle)
    }

    #[test]
    fn a_dropped_or_woken_watch_leaves_nothing_behind() {
        let watches = Arc::new(Watches::default());
        let (pending, dropped) = watch(&watches, 1, None);
        watches.activate(pending, |_| Some(None));
        let (pending, mut woken) = watch(&watches, 2, None);
        watches.activate(pending, |_| Some(None));
        assert_eq!(watches.len(), 2);
        drop(dropped);
        assert_eq!(watches.len(), 1);
        watches.changed(&Changes::from([(Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")))]));
        assert!(woken.woken.try_recv().is_ok());
        assert_eq!(watches.len(), 0);
    }

    #[test]
    fn a_change_before_the_activation_wakes_at_once() {
        let watches = Arc::new(Watches::default());
        let (pending, mut woken) = watch(&watches, 1, Some(b"old"));
        watches.activate(pending, |_| Some(Some(Bytes::from_static(b"new"))));
        assert!(woken.woken.try_recv().is_ok());
    }
}
