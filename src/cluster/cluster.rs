//! One process's part in the cluster: it joins, tells and learns, and leaves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_kv::clock::SharedClock;
use ekitei_kv::lease::{self, Leases};
use ekitei_kv::schema::{self, WITHOUT_FEATURES};
use ekitei_kv::{AsKvError, Database, Transaction};
use ekitei_telemetry::Registry;
use tokio::time::Instant;

use crate::feature::{Feature, FeatureSet};
use crate::features::Features;
use crate::metrics::{Count, Metrics};
use crate::node::{Description, Node, NodeId, NodeState};
use crate::rows::{self, FeatureRow, NodeRow};

/// How a process takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often it looks at the others; a feature that becomes active is seen at once, by a watch.
    pub interval: Duration,
    /// How long all processes must have understood a feature before the first one becomes active in a store that a release without features used: so
    /// long may such a release be between its look at the store and its first beat.
    pub settle: Duration,
    /// How long processes that died are shown.
    pub keep_dead: Duration,
    /// There can be no other process, since the store has a lock.
    pub alone: bool,
}

/// What a cluster is made of.
pub struct Parts {
    /// The store that all processes share.
    pub database: Database,
    /// The leases of this process, which tell that it lives.
    pub leases: Leases,
    /// The time of day.
    pub clock: SharedClock,
    /// How it takes part.
    pub settings: Settings,
    /// Who this process is.
    pub description: Description,
    /// For the metrics.
    pub registry: Registry,
}

/// Features became active that this release does not understand: it must not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store has features that this release ({release}) does not know: {names}; a later release wrote them: start that one again",
    names = .names.join(", ")
)]
pub struct UnknownFeatures {
    /// They.
    pub names: Vec<String>,
    /// This release.
    pub release: String,
}

/// Why a process cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A later release wrote what this one would not understand.
    #[error(transparent)]
    UnknownFeatures(#[from] UnknownFeatures),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
}

impl AsKvError for JoinError {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::UnknownFeatures(_) => None,
        }
    }
}

/// How far a feature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureState {
    /// Which.
    pub feature: Feature,
    /// Since when it is active, if it is.
    pub active: Option<FeatureRow>,
    /// The processes that are alive and do not understand it.
    pub waits_for: Vec<NodeId>,
}

/// The cluster as one process sees it: cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    leases: Leases,
    clock: SharedClock,
    settings: Settings,
    features: Features,
    metrics: Metrics,
    id: NodeId,
    /// What the process says of itself; held briefly.
    description: Mutex<Description>,
    /// The features that only wait for the time to settle, and since when.
    settling: Mutex<Option<(FeatureSet, Instant)>>,
}

/// What one look at the features found.
struct Look {
    active: FeatureSet,
    /// Understood by all, and waiting for the time to settle.
    settling: FeatureSet,
}

impl Cluster {
    /// Joins: a first beat, then a row that says who this is. Before the process reads anything that a feature could have changed.
    ///
    /// # Errors
    /// [`JoinError`]; the process has left again then, and must not use the store.
    pub async fn join(parts: Parts) -> Result<Self, JoinError> {
        let Parts { database, leases, clock, settings, description, registry } = parts;
        // The beat comes first: who makes a feature active from now on finds a process that does not say that it understands it, and waits.
        leases.renew().await?;
        let inner = Inner {
            id: NodeId(leases.member()),
            database,
            leases,
            clock,
            settings,
            features: Features::fixed([]),
            metrics: Metrics::new(&registry),
            description: Mutex::new(description),
            settling: Mutex::new(None),
        };
        let cluster = Self { inner: Arc::new(inner) };
        let joined = match cluster.announce().await {
            Ok(()) => cluster.inner.look().await,
            Err(error) => Err(error),
        };
        if let Err(error) = joined {
            cluster.leave().await.ok();
            cluster.inner.leases.stop().await.ok();
            return Err(error);
        }
        Ok(cluster)
    }

    /// Which features are active.
    pub fn features(&self) -> &Features {
        &self.inner.features
    }

    /// This process's id.
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// Brings the metrics up to date.
    pub fn sample(&self) {
        self.inner.metrics.sample(self.inner.leases.statistics(), &self.inner.features);
    }

    /// Says where the process listens.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn listens(&self, listeners: Vec<String>) -> Result<(), JoinError> {
        self.inner.description.lock().unwrap_or_else(PoisonError::into_inner).listeners = listeners;
        self.announce().await
    }

    /// Writes the row of this process, unless it must not go on.
    async fn announce(&self) -> Result<(), JoinError> {
        let inner = &self.inner;
        let row = &inner.row();
        inner
            .database
            .transact(|transaction: Transaction| async move {
                inner.known(rows::features(&transaction).await?.into_keys())?;
                Ok::<_, JoinError>(rows::set_node(&transaction, inner.id, row)?)
            })
            .await
    }

    /// Learns of features, makes those active that all understand, keeps this process's row and those of the dead in order. Returns only when a feature
    /// became active that this release does not know, which can be when this process was taken for dead: then it must end at once.
    pub async fn follow(&self) -> UnknownFeatures {
        let mut is_failing = false;
        loop {
            let failed = match self.round().await {
                Ok(watch) => {
                    tokio::select! {
                        changed = watch.changed() => changed.err(),
                        () = tokio::time::sleep(self.inner.settings.interval) => None,
                    }
                }
                Err(JoinError::UnknownFeatures(unknown)) => return unknown,
                Err(JoinError::Store(error)) => Some(error),
            };
            if let Some(error) = &failed {
                // Said once: it goes on for as long as the store is away.
                if !is_failing {
                    tracing::warn!(%error, "the other processes cannot be looked at: what they understand, and who is gone; it is tried again");
                }
                tokio::time::sleep(self.inner.settings.interval).await;
            }
            is_failing = failed.is_some();
        }
    }

    /// One round of [`Cluster::follow`]; returns what waits for the next feature to become active.
    async fn round(&self) -> Result<ekitei_kv::Watch, JoinError> {
        let inner = &self.inner;
        let watch = inner
            .database
            .transact(|transaction: Transaction| async move {
                Ok::<_, ekitei_kv::Error>(transaction.watch(&rows::activations()))
            })
            .await?;
        inner.look().await?;
        self.tidy().await?;
        Ok(watch)
    }

    /// Marks the rows of processes that died, removes them when they were shown long enough, and writes this one's again if another process took it
    /// for dead. Any process may do it at any time.
    async fn tidy(&self) -> Result<(), JoinError> {
        let inner = &self.inner;
        let own = &inner.row();
        let now = inner.clock.now().as_secs();
        let keep = inner.settings.keep_dead.as_secs();
        let count = inner
            .database
            .transact(|transaction: Transaction| async move {
                let members: BTreeSet<NodeId> =
                    lease::members(&transaction, true).await?.into_iter().map(NodeId).collect();
                let nodes = rows::nodes(&transaction, true).await?;
                let alive = nodes.keys().filter(|id| members.contains(id)).count();
                let count = Count { alive, unknown: members.len() - alive, dead: nodes.len() - alive };
                if nodes.get(&inner.id) != Some(own) {
                    rows::set_node(&transaction, inner.id, own)?;
                }
                for (id, row) in nodes.into_iter().filter(|(id, _)| *id != inner.id) {
                    match row.dead_since {
                        _ if members.contains(&id) => {}
                        None => {
                            // It may say good-bye just now.
                            if transaction.get(&rows::node_key(id)).await?.is_some() {
                                rows::set_node(&transaction, id, &NodeRow { dead_since: Some(now), ..row })?;
                            }
                        }
                        Some(since) if since.saturating_add(keep) <= now => {
                            transaction.clear(&rows::node_key(id));
                        }
                        Some(_) => {}
                    }
                }
                Ok::<_, JoinError>(count)
            })
            .await?;
        inner.metrics.count_nodes(count);
        Ok(())
    }

    /// The features that this release knows: which are active, and who keeps the others back.
    ///
    /// # Errors
    /// The store's.
    pub async fn feature_states(&self) -> Result<Vec<FeatureState>, ekitei_kv::Error> {
        self.inner
            .database
            .read(|transaction: Transaction| async move {
                let mut active = rows::features(&transaction).await?;
                let nodes = rows::nodes(&transaction, true).await?;
                let members = lease::members(&transaction, true).await?;
                let lacks = |id: &NodeId, feature: Feature| {
                    nodes.get(id).is_none_or(|node| !node.features.contains(feature.name()))
                };
                let of = |&feature: &Feature| FeatureState {
                    feature,
                    active: active.remove(feature.name()),
                    waits_for: members.iter().map(|id| NodeId(*id)).filter(|id| lacks(id, feature)).collect(),
                };
                Ok(Feature::ALL.iter().map(of).collect())
            })
            .await
    }

    /// All processes, this one too: those that are alive in the order of their start, then those that died.
    ///
    /// # Errors
    /// The store's.
    pub async fn nodes(&self) -> Result<Vec<Node>, ekitei_kv::Error> {
        let now = self.inner.clock.now().as_secs();
        self.inner
            .database
            .read(|transaction: Transaction| async move { list(&transaction, now).await })
            .await
    }

    /// Removes this process's row, before it gives its leases back. Its work has ended.
    ///
    /// # Errors
    /// The store's: then others find out that it is gone.
    pub async fn leave(&self) -> Result<(), ekitei_kv::Error> {
        let key = &rows::node_key(self.inner.id);
        self.inner
            .database
            .transact(|transaction: Transaction| async move {
                transaction.clear(key);
                Ok::<_, ekitei_kv::Error>(())
            })
            .await
    }
}

impl Inner {
    fn row(&self) -> NodeRow {
        NodeRow {
            description: self.description.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            features: Feature::ALL.iter().map(|feature| feature.name().to_owned()).collect(),
            dead_since: None,
        }
    }

    fn known(&self, names: impl Iterator<Item = String>) -> Result<FeatureSet, UnknownFeatures> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            match name.parse::<Feature>() {
                Ok(feature) => known.push(feature),
                Err(()) => unknown.push(name),
            }
        }
        if unknown.is_empty() {
            return Ok(known.into_iter().collect());
        }
        Err(UnknownFeatures { names: unknown, release: self.row().description.version })
    }

    /// Learns which features are active, and makes those active that every live process understands.
    async fn look(&self) -> Result<(), JoinError> {
        let now = self.clock.now().as_secs();
        let settled = self.settled();
        let look = self
            .database
            .transact(
                |transaction: Transaction| async move { self.activate(&transaction, now, settled).await },
            )
            .await?;
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        match *settling {
            Some((features, _)) if features == look.settling => {}
            _ => {
                *settling = (look.settling != FeatureSet::default()).then(|| (look.settling, Instant::now()))
            }
        }
        drop(settling);
        self.features.learn(look.active);
        Ok(())
    }

    /// What all have understood for long enough.
    fn settled(&self) -> FeatureSet {
        let settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        match *settling {
            Some((features, since)) if since.elapsed() >= self.settings.settle => features,
            _ => FeatureSet::default(),
        }
    }

    async fn activate(
        &self,
        transaction: &Transaction,
        now: u64,
        settled: FeatureSet,
    ) -> Result<Look, JoinError> {
        let active = self.known(rows::features(transaction).await?.into_keys())?;
        let missing: Vec<Feature> =
            Feature::ALL.iter().copied().filter(|feature| !active.contains(*feature)).collect();
        if missing.is_empty() {
            return Ok(Look { active, settling: FeatureSet::default() });
        }
        // With conflicts: whoever joins meanwhile makes this begin again.
        let members: Vec<NodeId> = match self.settings.alone {
            true => vec![self.id],
            false => lease::members(transaction, false).await?.into_iter().map(NodeId).collect(),
        };
        let nodes = rows::nodes(transaction, false).await?;
        let understands = |feature: Feature| {
            let node =
                |id| nodes.get(id).is_some_and(|node: &NodeRow| node.features.contains(feature.name()));
            // This process itself may have been taken for dead, and then it has no say.
            members.contains(&self.id) && members.iter().all(node)
        };
        let understood = missing.into_iter().filter(|feature| understands(*feature));
        let late = !self.settings.alone
            && schema::schema(transaction).await?.is_none_or(|version| version <= WITHOUT_FEATURES);
        let (now_active, settling): (Vec<Feature>, Vec<Feature>) =
            understood.partition(|feature| !late || settled.contains(*feature));
        let version = nodes.get(&self.id).map(|node| node.description.version.clone()).unwrap_or_default();
        for feature in &now_active {
            rows::activate(
                transaction,
                feature.name(),
                &FeatureRow { since: now, version: version.clone() },
            )?;
        }
        if !now_active.is_empty() {
            schema::raise_schema(transaction);
        }
        Ok(Look {
            active: active.iter().chain(now_active).collect(),
            settling: settling.into_iter().collect(),
        })
    }
}

/// All processes, as the rows have them.
async fn list(transaction: &Transaction, now: u64) -> Result<Vec<Node>, ekitei_kv::Error> {
    let members: BTreeSet<NodeId> =
        lease::members(transaction, true).await?.into_iter().map(NodeId).collect();
    let mut rows = rows::nodes(transaction, true).await?;
    let holdings = lease::holdings(transaction).await?;
    let of = |id: NodeId, row: Option<NodeRow>| Node {
        id,
        state: match &row {
            _ if members.contains(&id) => NodeState::Alive,
            row => NodeState::Dead { since: row.as_ref().and_then(|row| row.dead_since).unwrap_or(now) },
        },
        features: row.iter().flat_map(|row| row.features.iter().cloned()).collect(),
        description: row.map(|row| row.description),
        leads: holdings
            .iter()
            .filter(|holding| holding.holder == Some(id.0))
            .map(|holding| (holding.group.clone(), holding.name.clone()))
            .collect(),
    };
    let mut nodes: Vec<Node> = members.iter().map(|&id| of(id, rows.remove(&id))).collect();
    nodes.extend(rows.into_iter().map(|(id, row)| of(id, Some(row))));
    nodes.sort_by_key(|node| {
        let started = node.description.as_ref().map_or(0, |description| description.started);
        (node.state != NodeState::Alive, started, node.id)
    });
    Ok(nodes)
}
