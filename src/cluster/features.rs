//! Which features are active, as one process knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::feature::{Feature, FeatureSet};

/// The features that are active: cheap to clone and to ask. What is active stays so; what is not may become so at any time, in this process a
/// little later than in others.
#[derive(Clone, Debug)]
pub struct Features {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What [`Features::is_active`] reads.
    bits: AtomicU64,
    /// Tells those who wait.
    changes: watch::Sender<FeatureSet>,
}

impl Features {
    /// Features that do not change: for programs and tests without a cluster.
    pub fn fixed(features: impl IntoIterator<Item = Feature>) -> Self {
        let features: FeatureSet = features.into_iter().collect();
        let shared = Shared { bits: features.bits().into(), changes: watch::Sender::new(features) };
        Self { shared: Arc::new(shared) }
    }

    /// Whether every process understands it, so that it may be written.
    pub fn is_active(&self, feature: Feature) -> bool {
        self.active().contains(feature)
    }

    /// [`Features::is_active`] for a part that knows nothing of clusters.
    pub fn gate(&self, feature: Feature) -> impl Fn() -> bool + Clone + Send + Sync + 'static {
        let features = self.clone();
        move || features.is_active(feature)
    }

    /// All that are active.
    pub fn active(&self) -> FeatureSet {
        FeatureSet::of_bits(self.shared.bits.load(Ordering::Acquire))
    }

    /// Waits until the feature is active.
    pub async fn until_active(&self, feature: Feature) {
        // The sender lives as long as `self`.
        let _ = self.shared.changes.subscribe().wait_for(|active| active.contains(feature)).await;
    }

    /// Takes over what was read; what is known to be active stays so whatever that says.
    pub(crate) fn learn(&self, read: FeatureSet) {
        let before = FeatureSet::of_bits(self.shared.bits.fetch_or(read.bits(), Ordering::AcqRel));
        let new: Vec<Feature> = read.iter().filter(|feature| !before.contains(*feature)).collect();
        if new.is_empty() {
            return;
        }
        self.shared
            .changes
            .send_modify(|active| *active = active.iter().chain(new.iter().copied()).collect());
        for feature in new {
            tracing::info!(%feature, "a feature is active");
        }
    }
}
