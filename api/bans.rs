//! Bans of clients, and the greylist.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// Clients that are not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ban {
    /// Who, as a network.
    #[schema(example = "192.0.2.0/24")]
    pub network: String,
    /// Why.
    pub reason: String,
    /// Whether it was made by hand; else it is for what the client did.
    pub manual: bool,
    /// Since when.
    pub created: u64,
    /// Until when; absent if it has no end.
    pub until: Option<u64>,
    /// How many bans it has had in a row, this one included; each is twice as long as the one before.
    pub times: u32,
}

/// A ban to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBan {
    /// Why: one line, for the list of bans. Clients are not told.
    #[serde(default)]
    pub reason: String,
    /// How long, in seconds; absent for a ban without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
}

/// A combination of network, sender and recipient that the greylist knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GreylistEntry {
    /// The client's network.
    #[schema(example = "192.0.2.0/24")]
    pub network: String,
    /// The sender in lower case, without what changes from mail to mail; empty for the null reverse-path.
    pub sender: String,
    /// The recipient in lower case.
    pub recipient: String,
    /// Whether its mail may come in; else its first attempt was put off.
    pub passed: bool,
    /// When it was put off, or was seen last.
    pub at: u64,
}

/// What was removed from the greylist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GreylistRemoved {
    /// How many combinations.
    pub removed: u64,
}

impl Client {
    /// One page of the bans that count now.
    pub async fn list_bans(&self, page: &PageQuery) -> Result<Page<Ban>> {
        self.list(&["bans"], page).await
    }

    /// Bans a network, in place of any ban that it has.
    pub async fn put_ban(&self, network: &str, ban: &NewBan) -> Result<Ban> {
        self.send(Method::PUT, &["bans", network], ban, None).await
    }

    /// The ban that keeps an address out.
    pub async fn ban(&self, address: &str) -> Result<Ban> {
        self.get(&["bans", address]).await
    }

    /// Ends a ban.
    pub async fn delete_ban(&self, network: &str) -> Result<()> {
        self.delete(&["bans", network]).await
    }

    /// One page of what the greylist knows: what passed, or what was put off and did not come again yet.
    pub async fn list_greylist(&self, waiting: bool, page: &PageQuery) -> Result<Page<GreylistEntry>> {
        let request = self.request(Method::GET, &["greylist"])?.query(&[("waiting", waiting)]);
        self.json(request.query(page)).await
    }

    /// Forgets all that the greylist knows about the network of a client.
    pub async fn delete_greylist(&self, address: &str) -> Result<GreylistRemoved> {
        self.json(self.request(Method::DELETE, &["greylist", address])?).await
    }
}
