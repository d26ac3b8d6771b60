//! The processes of the cluster, and the features that they agreed on.

use axum::extract::State;
use ekitei_api::{ClusterFeature, Node, NodeState, NodeWork, Page, Problem, ProblemCode};
use ekitei_cluster::NodeId;

use crate::extract::Path;
use crate::problem::{Refused, Result};
use crate::state::AppState;

/// The shortest beginning of an id that stands for it.
const SHORTEST: usize = 4;

fn unavailable(error: ekitei_kv::Error) -> Refused {
    Refused::new(ProblemCode::Unavailable, error)
}

fn node(node: ekitei_cluster::Node, answering: NodeId) -> Node {
    let said = node.description.unwrap_or_default();
    let (state, dead_since) = match node.state {
        ekitei_cluster::NodeState::Alive => (NodeState::Alive, None),
        ekitei_cluster::NodeState::Dead { since } => (NodeState::Dead, Some(since)),
    };
    let mut leads: Vec<NodeWork> = Vec::new();
    for (group, name) in node.leads {
        match leads.last_mut().filter(|work| work.group == group) {
            Some(work) => work.names.push(name),
            None => leads.push(NodeWork { group, names: vec![name] }),
        }
    }
    Node {
        id: node.id.to_string(),
        state,
        dead_since,
        answers: node.id == answering,
        host: said.host,
        pid: said.pid,
        version: said.version,
        region: said.region,
        started: said.started,
        listeners: said.listeners,
        features: node.features,
        leads,
    }
}

async fn all(state: &AppState) -> Result<Vec<Node>> {
    let cluster = &state.parts.cluster;
    let nodes = cluster.nodes().await.map_err(unavailable)?;
    Ok(nodes.into_iter().map(|found| node(found, cluster.id())).collect())
}

/// The processes that use the store: those that work in the order of their start, then those that died lately.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "cluster", responses(
    (status = 200, description = "All of them.", body = Page<Node>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(state): State<AppState>) -> Result<axum::Json<Page<Node>>> {
    Ok(axum::Json(Page { items: all(&state).await?, next: None }))
}

/// One process.
#[utoipa::path(get, path = "/api/v1/nodes/{id}", tag = "cluster",
    params(("id" = String, Path, description = "Its id, or at least four characters of its beginning.")), responses(
    (status = 200, description = "It.", body = Node),
    (status = 404, description = "There is no such process.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(state): State<AppState>, Path(id): Path<String>) -> Result<axum::Json<Node>> {
    if id.len() < SHORTEST {
        return Err(Refused::invalid(format!("{id:?} is too short for the beginning of an id")));
    }
    let mut found = all(&state).await?.into_iter().filter(|node| node.id.starts_with(&id));
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(axum::Json(node)),
        (None, _) => Err(Refused::new(ProblemCode::NotFound, format!("there is no process {id}"))),
        (Some(_), Some(_)) => Err(Refused::invalid(format!("several processes begin with {id}"))),
    }
}

/// The forms of data that not every release understands: which are written, and what keeps the others back.
#[utoipa::path(get, path = "/api/v1/cluster/features", tag = "cluster", responses(
    (status = 200, description = "All that this release knows.", body = Page<ClusterFeature>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn features(State(state): State<AppState>) -> Result<axum::Json<Page<ClusterFeature>>> {
    let states = state.parts.cluster.feature_states().await.map_err(unavailable)?;
    let items = states.into_iter().map(|state| ClusterFeature {
        name: state.feature.name().to_owned(),
        active: state.active.is_some(),
        since: state.active.as_ref().map(|active| active.since),
        version: state.active.map(|active| active.version),
        waits_for: state.waits_for.iter().map(NodeId::to_string).collect(),
    });
    Ok(axum::Json(Page { items: items.collect(), next: None }))
}
