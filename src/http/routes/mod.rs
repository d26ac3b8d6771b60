//! Every route with its description.

mod accounts;
mod aliases;
mod backup;
mod bans;
mod bodies;
mod certificates;
mod convert;
mod deliverability;
mod dkim;
mod doctor;
mod domains;
mod groups;
mod keys;
mod locks;
mod messages;
mod nodes;
mod queue;
mod reports;
mod service;
mod usage;

pub use backup::{backup_job, backup_order, backup_snapshots};

use axum::middleware;
use ekitei_directory::PageRequest;
use serde::Deserialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::authorization::require_token;
use crate::health;
use crate::state::AppState;

/// The head of the description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ekitei admin API",
        description = "Domains, accounts, aliases, groups and mail. Changes are JSON Merge Patch (RFC 7396); `If-Match` makes them \
                       conditional. Errors are problem details (RFC 9457) whose `code` programs may rely on. Every operation may \
                       be repeated, but a message that is imported twice is there twice."
    ),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "service", description = "The service itself"),
        (name = "cluster", description = "The processes that use the store together"),
        (name = "domains", description = "Domains that the service is responsible for"),
        (name = "accounts", description = "Users with mailboxes, and their app passwords"),
        (name = "aliases", description = "Addresses that stand for others"),
        (name = "groups", description = "Addresses with members"),
        (name = "dkim", description = "Keys that sign the mail of domains"),
        (name = "certificates", description = "TLS certificates that are kept in the store"),
        (name = "encryption", description = "Keys that message bodies are encrypted with"),
        (name = "bodies", description = "How message bodies are kept"),
        (name = "bans", description = "Clients that are not let in, and the greylist"),
        (name = "queue", description = "Mail that waits to be sent, and addresses that none is sent to"),
        (name = "reports", description = "What other services report about the mail of domains here"),
        (name = "mail", description = "Mailboxes and messages"),
        (name = "locks", description = "Locks for programs that share something outside of the service"),
        (name = "backups", description = "Snapshots of everything, and restoring them"),
        (name = "health", description = "For probes and Prometheus"),
    )
)]
struct Description;

/// Adds the bearer token to the description.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Which page of a listing.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// The `next` of the page before.
    after: Option<String>,
    /// Objects on the page: 100 if absent, at most 1000.
    limit: Option<usize>,
}

/// Which page of a listing, of one domain or of all.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainPaging {
    /// Only objects of this domain.
    domain: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Objects on the page: 100 if absent, at most 1000.
    limit: Option<usize>,
}

impl From<Paging> for PageRequest {
    fn from(paging: Paging) -> Self {
        Self { after: paging.after, limit: paging.limit.unwrap_or_default() }
    }
}

impl DomainPaging {
    fn page(&self) -> PageRequest {
        PageRequest { after: self.after.clone(), limit: self.limit.unwrap_or_default() }
    }
}

/// What needs the token.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(service::server))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::show))
        .routes(routes!(nodes::features))
        .routes(routes!(doctor::doctor))
        .routes(routes!(domains::list, domains::create))
        .routes(routes!(domains::show, domains::change, domains::remove))
        .routes(routes!(usage::list_domains))
        .routes(routes!(usage::show_domain))
        .routes(routes!(usage::recount_domain))
        .routes(routes!(usage::list_accounts))
        .routes(routes!(usage::show_account))
        .routes(routes!(usage::recount_account))
        .routes(routes!(deliverability::show))
        .routes(routes!(deliverability::policy))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::change, accounts::remove))
        .routes(routes!(accounts::list_app_passwords, accounts::create_app_password))
        .routes(routes!(accounts::remove_app_password))
        .routes(routes!(aliases::list, aliases::create))
        .routes(routes!(aliases::show, aliases::replace, aliases::remove))
        .routes(routes!(groups::list, groups::create))
        .routes(routes!(groups::show, groups::change, groups::remove))
        .routes(routes!(groups::list_members))
        .routes(routes!(groups::add_member, groups::remove_member))
        .routes(routes!(dkim::list, dkim::create))
        .routes(routes!(dkim::show, dkim::change, dkim::remove))
        .routes(routes!(certificates::list))
        .routes(routes!(certificates::show, certificates::put, certificates::remove))
        .routes(routes!(locks::list))
        .routes(routes!(locks::show, locks::put, locks::remove))
        .routes(routes!(keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::rewrap))
        .routes(routes!(keys::show, keys::destroy))
        .routes(routes!(bodies::status))
        .routes(routes!(bodies::pack))
        .routes(routes!(bodies::check))
        .routes(routes!(backup::list))
        .routes(routes!(backup::jobs, backup::order))
        .routes(routes!(backup::job))
        .routes(routes!(bans::list))
        .routes(routes!(bans::show, bans::put, bans::remove))
        .routes(routes!(bans::list_greylist))
        .routes(routes!(bans::remove_greylist))
        .routes(routes!(queue::list))
        .routes(routes!(queue::statistics))
        .routes(routes!(queue::order))
        .routes(routes!(queue::show))
        .routes(routes!(queue::octets))
        .routes(routes!(queue::list_suppressed))
        .routes(routes!(queue::remove_suppressed))
        .routes(routes!(reports::list))
        .routes(routes!(reports::show))
        .routes(routes!(reports::send))
        .routes(routes!(reports::summarize))
        .routes(routes!(messages::list_mailboxes))
        .routes(routes!(messages::list, messages::import))
        .routes(routes!(messages::export))
}

/// What needs the token, behind the check of it.
pub(crate) fn protected(state: &AppState) -> OpenApiRouter<AppState> {
    api().route_layer(middleware::from_fn_with_state(state.clone(), require_token))
}

/// What anyone may ask.
pub(crate) fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Everything, for the description.
pub(crate) fn all() -> OpenApiRouter<AppState> {
    api().merge(open())
}
