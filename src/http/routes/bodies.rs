//! Message bodies: their status, packing and checking them.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{BlobBacklog, BlobFinding, BlobGroup, BlobScrub, BlobStatus, Problem, ProblemCode};
use ekitei_blob::{Backlog, GroupStatus, ScrubReport};

use crate::problem::{Refused, Result};
use crate::state::AppState;

fn unavailable(error: ekitei_blob::Error) -> Refused {
    Refused::new(ProblemCode::Unavailable, error)
}

fn group(status: &GroupStatus) -> BlobGroup {
    BlobGroup {
        group: status.group.to_string(),
        hot_bodies: status.figures.hot_bodies,
        hot_octets: status.figures.hot_octets,
        hot_oldest: status.oldest.map(|age| age.as_secs()),
        segments: status.figures.segments,
        segment_octets: status.figures.segment_octets,
        live_octets: status.figures.live_octets,
    }
}

fn scrub(report: ScrubReport) -> BlobScrub {
    let findings = report.findings.into_iter().map(|finding| BlobFinding {
        kind: finding.kind.name().to_owned(),
        name: finding.name,
        what: finding.what,
    });
    BlobScrub {
        phase: report.phase.to_string(),
        began: report.began.as_ref().map(Duration::as_secs),
        ended: report.ended.as_ref().map(Duration::as_secs),
        octets: report.tally.octets,
        segments: report.tally.segments,
        bodies: report.tally.bodies,
        objects: report.tally.objects,
        repaired: report.tally.repaired,
        findings: findings.collect(),
    }
}

/// How many bodies wait in the metadata store, how full segments are, and what checking them found.
#[utoipa::path(get, path = "/api/v1/blobs", tag = "bodies", responses(
    (status = 200, description = "It.", body = BlobStatus),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn status(State(state): State<AppState>) -> Result<axum::Json<BlobStatus>> {
    let status = state.parts.blobs.status().await.map_err(unavailable)?;
    let figures = status.figures();
    let Backlog { bodies, objects, segments, hints } = status.backlog;
    Ok(axum::Json(BlobStatus {
        packing: status.packing,
        away: status.away,
        hot_bodies: figures.hot_bodies,
        hot_octets: figures.hot_octets,
        hot_limit: status.hot_limit,
        hot_oldest: status.oldest().map(|age| age.as_secs()),
        segments: figures.segments,
        segment_octets: figures.segment_octets,
        live_octets: figures.live_octets,
        live_bodies: figures.live_bodies,
        groups: status.groups.iter().map(group).collect(),
        backlog: BlobBacklog { bodies, objects, segments, hints },
        scrub: scrub(status.scrub),
    }))
}

/// Lets all small bodies be moved into segments now, however young and few. Whoever packs begins within seconds.
#[utoipa::path(post, path = "/api/v1/blobs/pack", tag = "bodies", responses(
    (status = 202, description = "It will be done."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn pack(State(state): State<AppState>) -> Result<StatusCode> {
    state.parts.blobs.request_packing().await.map_err(unavailable)?;
    Ok(StatusCode::ACCEPTED)
}

/// Lets all bodies be checked now, unless that is going on. Whoever checks begins within seconds.
#[utoipa::path(post, path = "/api/v1/blobs/scrub", tag = "bodies", responses(
    (status = 202, description = "It will be done."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn check(State(state): State<AppState>) -> Result<StatusCode> {
    state.parts.blobs.request_scrub().await.map_err(unavailable)?;
    Ok(StatusCode::ACCEPTED)
}
