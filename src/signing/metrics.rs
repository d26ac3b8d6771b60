//! What signing counts, and how old its keys are.

use std::collections::BTreeMap;

use ekitei_directory::Domain;
use ekitei_telemetry::{CounterFamily, Gauge, GaugeFamily, Histogram, Registry, SECONDS};

use crate::model::Stage;
use crate::rows::NamedRow;

/// The metrics of a process.
pub(crate) struct Metrics {
    /// Signatures by what they are of, and by algorithm.
    pub(crate) signatures: CounterFamily,
    /// How long the signatures of a message take.
    pub(crate) seconds: Histogram,
    keys: GaugeFamily,
    oldest: GaugeFamily,
    unsigned: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            signatures: registry.counters(
                "signing_signatures_total",
                "DKIM signatures and ARC seals made.",
                &["kind", "algorithm"],
            ),
            seconds: registry.histogram(
                "signing_seconds",
                "Time to make all signatures of a message.",
                SECONDS,
            ),
            keys: registry.gauges(
                "signing_keys",
                "DKIM keys of all domains by stage, as the process counts them that looks after them; 0 in the others.",
                &["stage"],
            ),
            oldest: registry.gauges(
                "signing_oldest_key_seconds",
                "How long the key that is longest in a stage (published, signing, retired) is in it, of all domains; 0 in processes that do not look after keys.",
                &["stage"],
            ),
            unsigned: registry.gauge(
                "signing_domains_without_key",
                "Domains that have DKIM keys and none of them signs.",
            ),
        }
    }

    /// Shows the keys of all domains, at a time in seconds since the epoch.
    pub(crate) fn show(&self, domains: &BTreeMap<Domain, Vec<NamedRow>>, now: u64) {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for stage in [Stage::Published, Stage::Signing, Stage::Retired] {
            let keys = domains.values().flatten().filter(|named| named.row.stage == stage);
            let ages = keys.map(|named| now.saturating_sub(entered(named)));
            let (count, oldest) = ages.fold((0, 0), |(count, oldest), age| (count + 1, age.max(oldest)));
            self.keys.with(&[stage.name()]).set(count);
            self.oldest.with(&[stage.name()]).set(whole(oldest));
        }
        let signs = |keys: &[NamedRow]| keys.iter().any(|named| named.row.stage == Stage::Signing);
        let without = domains.values().filter(|keys| !signs(keys)).count();
        self.unsigned.set(i64::try_from(without).unwrap_or(i64::MAX));
    }
}

/// When a key came into its stage, in seconds since the epoch.
fn entered(named: &NamedRow) -> u64 {
    let row = &named.row;
    let since = match row.stage {
        Stage::Published => None,
        Stage::Signing => row.activated,
        Stage::Retired => row.retired,
    };
    since.unwrap_or(row.created)
}
