//! The client of the admin API.

use std::fmt::Display;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::types::*;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the service makes no sense: the caller's fault.
    #[error("{0} is not the address of a service")]
    Address(String),
    /// Nobody answers. Temporary, or the wrong address.
    #[error("the service at {server} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        server: String,
        /// Why not.
        reason: String,
    },
    /// The service said no; its code says whose fault it is.
    #[error("{}", if .0.detail.is_empty() { &.0.title } else { &.0.detail })]
    Problem(Problem),
    /// The answer is not one of this API.
    #[error("the answer of the service was not understood: {0}")]
    Unexpected(String),
}

/// Which page of a listing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PageQuery {
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most this many objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only objects of this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// A connection to the admin API of one service.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    token: Option<String>,
}

pub(crate) type Result<T> = std::result::Result<T, ClientError>;

impl Client {
    /// A client of the service at `server`, such as `http://127.0.0.1:8080`. TLS needs a default `rustls` provider.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(server: &str, token: Option<String>) -> Result<Self> {
        let address = || ClientError::Address(server.to_owned());
        let url = Url::parse(server).map_err(|_| address())?;
        if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
            return Err(address());
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| ClientError::Unexpected(error.to_string()))?;
        Ok(Self { http, server: url, token })
    }

    /// What is running.
    ///
    /// # Errors
    /// [`ClientError`], as for all other methods.
    pub async fn server(&self) -> Result<ServerInfo> {
        self.get(&["server"]).await
    }

    /// How the service is, as it sees itself.
    pub async fn doctor(&self) -> Result<DoctorReport> {
        self.get(&["doctor"]).await
    }

    /// One page of the domains.
    pub async fn list_domains(&self, page: &PageQuery) -> Result<Page<Domain>> {
        self.list(&["domains"], page).await
    }

    /// Creates a domain.
    pub async fn create_domain(&self, new: &NewDomain) -> Result<Domain> {
        self.send(Method::POST, &["domains"], new, None).await
    }

    /// A domain.
    pub async fn domain(&self, name: &str) -> Result<Domain> {
        self.get(&["domains", name]).await
    }

    /// Changes a domain, with `revision` only if it still has that.
    pub async fn update_domain(
        &self,
        name: &str,
        patch: &DomainPatch,
        revision: Option<&str>,
    ) -> Result<Domain> {
        self.send(Method::PATCH, &["domains", name], patch, revision).await
    }

    /// Removes a domain, with `force` together with all in it, mail included.
    pub async fn delete_domain(&self, name: &str, force: bool) -> Result<()> {
        let request = self.request(Method::DELETE, &["domains", name])?.query(&[("force", force)]);
        self.answer(request).await.map(drop)
    }

    /// One page of the accounts.
    pub async fn list_accounts(&self, page: &PageQuery) -> Result<Page<Account>> {
        self.list(&["accounts"], page).await
    }

    /// Creates an account.
    pub async fn create_account(&self, new: &NewAccount) -> Result<Account> {
        self.send(Method::POST, &["accounts"], new, None).await
    }

    /// An account, by its address or number.
    pub async fn account(&self, account: &str) -> Result<Account> {
        self.get(&["accounts", account]).await
    }

    /// Changes an account, with `revision` only if it still has that.
    pub async fn update_account(
        &self,
        account: &str,
        patch: &AccountPatch,
        revision: Option<&str>,
    ) -> Result<Account> {
        self.send(Method::PATCH, &["accounts", account], patch, revision).await
    }

    /// Removes an account with its mail.
    pub async fn delete_account(&self, account: &str) -> Result<()> {
        self.delete(&["accounts", account]).await
    }

    /// The app passwords of an account.
    pub async fn list_app_passwords(&self, account: &str) -> Result<Page<AppPassword>> {
        self.get(&["accounts", account, "app-passwords"]).await
    }

    /// Makes an app password.
    pub async fn create_app_password(&self, account: &str, name: &str) -> Result<CreatedAppPassword> {
        let new = NewAppPassword { name: name.to_owned() };
        self.send(Method::POST, &["accounts", account, "app-passwords"], &new, None).await
    }

    /// Revokes an app password.
    pub async fn delete_app_password(&self, account: &str, name: &str) -> Result<()> {
        self.delete(&["accounts", account, "app-passwords", name]).await
    }

    /// One page of the aliases.
    pub async fn list_aliases(&self, page: &PageQuery) -> Result<Page<Alias>> {
        self.list(&["aliases"], page).await
    }

    /// Creates an alias.
    pub async fn create_alias(&self, new: &NewAlias) -> Result<Alias> {
        self.send(Method::POST, &["aliases"], new, None).await
    }

    /// An alias.
    pub async fn alias(&self, address: &str) -> Result<Alias> {
        self.get(&["aliases", address]).await
    }

    /// Makes the alias have exactly these targets, whether it is there or not.
    pub async fn put_alias(
        &self,
        address: &str,
        targets: &AliasTargets,
        revision: Option<&str>,
    ) -> Result<Alias> {
        self.send(Method::PUT, &["aliases", address], targets, revision).await
    }

    /// Removes an alias.
    pub async fn delete_alias(&self, address: &str) -> Result<()> {
        self.delete(&["aliases", address]).await
    }

    /// One page of the groups.
    pub async fn list_groups(&self, page: &PageQuery) -> Result<Page<Group>> {
        self.list(&["groups"], page).await
    }

    /// Creates a group.
    pub async fn create_group(&self, new: &NewGroup) -> Result<Group> {
        self.send(Method::POST, &["groups"], new, None).await
    }

    /// A group.
    pub async fn group(&self, address: &str) -> Result<Group> {
        self.get(&["groups", address]).await
    }

    /// Changes a group, with `revision` only if it still has that.
    pub async fn update_group(
        &self,
        address: &str,
        patch: &GroupPatch,
        revision: Option<&str>,
    ) -> Result<Group> {
        self.send(Method::PATCH, &["groups", address], patch, revision).await
    }

    /// Removes a group.
    pub async fn delete_group(&self, address: &str) -> Result<()> {
        self.delete(&["groups", address]).await
    }

    /// One page of the members of a group.
    pub async fn list_members(&self, group: &str, page: &PageQuery) -> Result<Page<String>> {
        self.list(&["groups", group, "members"], page).await
    }

    /// Adds a member to a group, if it is none yet.
    pub async fn add_member(&self, group: &str, member: &str) -> Result<()> {
        let request = self.request(Method::PUT, &["groups", group, "members", member])?;
        self.answer(request).await.map(drop)
    }

    /// Removes a member from a group.
    pub async fn remove_member(&self, group: &str, member: &str) -> Result<()> {
        self.delete(&["groups", group, "members", member]).await
    }

    /// The mailboxes of an account.
    pub async fn list_mailboxes(&self, account: &str) -> Result<Page<Mailbox>> {
        self.get(&["accounts", account, "mailboxes"]).await
    }

    /// One page of the messages in a mailbox, in the order of UIDs.
    pub async fn list_messages(
        &self,
        account: &str,
        mailbox: &str,
        page: &PageQuery,
    ) -> Result<Page<Message>> {
        let request = self.request(Method::GET, &["accounts", account, "messages"])?;
        self.json(request.query(&[("mailbox", mailbox)]).query(page)).await
    }

    /// A whole message.
    pub async fn export_message(&self, account: &str, mailbox: &str, uid: u32) -> Result<Vec<u8>> {
        let request = self.request(Method::GET, &["accounts", account, "messages", &uid.to_string()])?;
        self.octets(request.query(&[("mailbox", mailbox)])).await
    }

    /// Puts a whole message into a mailbox.
    pub async fn import_message(
        &self,
        account: &str,
        query: &ImportQuery,
        message: Vec<u8>,
    ) -> Result<Imported> {
        let request = self.request(Method::POST, &["accounts", account, "messages"])?;
        self.json(request.query(query).header(CONTENT_TYPE, "message/rfc822").body(message)).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        self.json(self.request(Method::GET, path)?).await
    }

    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &[&str], page: &PageQuery) -> Result<Page<T>> {
        self.json(self.request(Method::GET, path)?.query(page)).await
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<()> {
        self.answer(self.request(Method::DELETE, path)?).await.map(drop)
    }

    pub(crate) async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &B,
        revision: Option<&str>,
    ) -> Result<T> {
        let mut request = self.request(method, path)?.json(body);
        if let Some(revision) = revision {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        self.json(request).await
    }

    pub(crate) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder> {
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Address(self.server.to_string()))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    pub(crate) async fn octets(&self, request: RequestBuilder) -> Result<Vec<u8>> {
        let response = self.answer(request).await?;
        Ok(response.bytes().await.map_err(|error| self.unreachable(&error))?.to_vec())
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.answer(request).await?;
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected(error.to_string()))
    }

    /// Sends; an answer that is no success becomes the problem that it describes.
    pub(crate) async fn answer(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Problem(problem)),
            Err(_) => Err(ClientError::Unexpected(format!("HTTP status {status}"))),
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> ClientError {
        // The outermost error of the library only repeats the address; the cause says why.
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let reason: &dyn Display = cause;
        ClientError::Unreachable { server: self.server.to_string(), reason: reason.to_string() }
    }
}
