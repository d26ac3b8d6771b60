//! The admin API, health, metrics and public pages over HTTP.
//!
//! [`Server`] is a handler for the listeners of `ekitei-net`; all of the API is made by `routes`, where each operation
//! stands beside its description, so that `/api/openapi.json` knows every route. The API is stateless and
//! may be repeated: `PUT` and `DELETE` by HTTP's own rules, `PATCH` because it is a merge patch (RFC 7396) that sets values,
//! `POST` because a name can be taken only once (`409` with the code `already_exists`); only an import that is repeated is another
//! message. `If-Match` with an object's entity tag makes `PATCH` and `PUT` conditional (`412`).
//!
//! | path | who may ask |
//! |---|---|
//! | `/api/v1/...` | the bearer of the token |
//! | `/api/openapi.json` | anyone |
//! | `/healthz/live`, `/healthz/ready` | anyone |
//! | `/.well-known/mta-sts.txt`, autoconfig, autodiscover | anyone |
//! | `/metrics` | anyone, or the bearer of the token if so configured |

mod authorization;
mod extract;
mod health;
mod problem;
mod public;
mod routes;
mod server;
mod state;

pub use routes::{backup_job, backup_order, backup_snapshots};
pub use server::{Server, openapi};
pub use state::Parts;
