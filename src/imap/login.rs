//! Before the login: STARTTLS, LOGIN and AUTHENTICATE (RFC 9051 §6.2).

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ekitei_directory::{AuthContext, AuthError, Service};

use crate::proto::Event;
use crate::proto::command::Secret;
use crate::proto::response::Code;
use crate::reply::{Outcome, Reply, Stop};
use crate::server::Shared;
use crate::session::{Next, Session, User, limits};

impl Session {
    pub(crate) fn start_tls(&mut self) -> Outcome {
        if self.is_tls() {
            return Err(Reply::client_bug("TLS is active already").into());
        }
        if !self.shared.tls.is_available() {
            return Err(Reply::no(Code::Unavailable, "There is no certificate").into());
        }
        // What follows STARTTLS in clear could be an attacker's, to be obeyed inside TLS (CVE-2011-0411).
        if self.reader.discard_buffered() > 0 {
            self.next = Next::Bye("What followed STARTTLS cannot be trusted");
            return Err(Reply::client_bug("Wait for the answer to STARTTLS before sending more").into());
        }
        self.next = Next::StartTls;
        Ok(Reply::ok("Begin TLS now"))
    }

    pub(crate) async fn login(&mut self, username: &[u8], password: &Secret) -> Outcome {
        self.may_log_in()?;
        self.authenticated_as(username, password.expose()).await
    }

    pub(crate) async fn authenticate(&mut self, mechanism: &str, initial: Option<Secret>) -> Outcome {
        self.may_log_in()?;
        let initial = initial.map(|secret| Bytes::copy_from_slice(secret.expose()));
        match mechanism {
            "PLAIN" => self.authenticate_plain(initial).await,
            "LOGIN" => self.authenticate_login(initial).await,
            _ => Err(Reply::no(Code::Cannot, "This mechanism is not offered, see CAPABILITY").into()),
        }
    }

    fn may_log_in(&self) -> Result<(), Stop> {
        if self.is_tls() || self.config.imap.allow_insecure_auth {
            return Ok(());
        }
        Err(Reply::no(Code::PrivacyRequired, "Passwords are taken only under TLS: use STARTTLS first").into())
    }

    /// SASL PLAIN (RFC 4616): `authzid NUL authcid NUL password`.
    async fn authenticate_plain(&mut self, initial: Option<Bytes>) -> Outcome {
        let response = match initial {
            Some(response) => response,
            None => self.sasl_response(b"").await?,
        };
        let mut parts = response.split(|&byte| byte == 0);
        let (Some(authorize), Some(user), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reply::bad("The response is not that of PLAIN").into());
        };
        if !authorize.is_empty() && !authorize.eq_ignore_ascii_case(user) {
            return Err(Reply::no(Code::AuthorizationFailed, "You cannot act for another user").into());
        }
        self.authenticated_as(user, password).await
    }

    /// SASL LOGIN, which older clients have (draft-murchison-sasl-login).
    async fn authenticate_login(&mut self, initial: Option<Bytes>) -> Outcome {
        let user = match initial {
            Some(user) => user,
            None => self.sasl_response(b"User Name\0").await?,
        };
        let password = self.sasl_response(b"Password\0").await?;
        self.authenticated_as(&user, &password).await
    }

    /// Sends a challenge and waits for the response; `*` cancels (RFC 9051 §6.2.2).
    async fn sasl_response(&mut self, challenge: &[u8]) -> Result<Bytes, Stop> {
        self.wire.responses(self.encoding).challenge(challenge);
        self.reader.expect_line();
        let line = match self.event().await? {
            Some(Event::Line(line)) => line,
            Some(Event::Rejected(rejected)) => return Err(self.bad_line(&rejected).into()),
            // The session has ended, and whoever ended it has said so.
            _ => return Err(Stop::Lost(io::ErrorKind::ConnectionAborted.into())),
        };
        if &line[..] == b"*" {
            return Err(Reply::bad("Authentication is cancelled").into());
        }
        let response = STANDARD.decode(&line).map_err(|_| Reply::bad("The response is not base64"))?;
        Ok(response.into())
    }

    async fn authenticated_as(&mut self, user: &[u8], password: &[u8]) -> Outcome {
        let context = AuthContext {
            service: Service::Imap,
            peer: self.connection.as_ref().map(|connection| connection.peer.ip()),
        };
        let result = match (std::str::from_utf8(user), std::str::from_utf8(password)) {
            (Ok(user), Ok(password)) => {
                let Shared { directory, limits, .. } = &*self.shared;
                limits.authenticate(directory, user, password, context).await
            }
            _ => Err(AuthError::InvalidCredentials),
        };
        match result {
            Ok(authenticated) => {
                let limit = self.config.imap.max_connections_per_account;
                let bodies = self.bodies_of_an_account();
                let Some(place) = self.shared.places.take(authenticated.account, limit, bodies) else {
                    self.count_login("limit");
                    return Err(Reply::no(Code::Limit, "The account has too many connections").into());
                };
                // A new account gets its mailboxes now. If that fails, the commands that need them say so.
                if let Err(error) = self.shared.mailstore.mailboxes(authenticated.account).await {
                    tracing::warn!(%error, "the mailboxes of the account cannot be read");
                }
                self.count_login("ok");
                tracing::info!(account = authenticated.account.get(), "logged in");
                tracing::debug!(address = %authenticated.address, app_password = authenticated.app_password, "logged in as");
                self.user = Some(User { account: authenticated.account, place });
                self.reader.set_limits(Arc::new(limits(&self.config.imap)));
                Ok(Reply::ok("Logged in").with_code(Code::Capability(self.capabilities())))
            }
            Err(error) => Err(self.login_failed(&error).into()),
        }
    }

    /// Octets that one account may have coming in at once: a quarter of what all may, so that none keeps all others from appending, but
    /// always enough for the largest message.
    fn bodies_of_an_account(&self) -> u64 {
        let limit = self.config.imap.append_limit.get();
        (self.shared.bodies.total() / 4).max(limit)
    }

    fn login_failed(&mut self, error: &AuthError) -> Reply {
        let limited = matches!(error, AuthError::Limited);
        if error.is_temporary() && !limited {
            tracing::warn!(%error, "a login could not be checked");
            self.count_login("unavailable");
            return Reply::no(Code::Unavailable, "Logins are not possible now, try again later");
        }
        tracing::info!(%error, "login refused");
        self.count_login(if limited { "limited" } else { "refused" });
        self.auth_failures += 1;
        if self.auth_failures >= self.config.imap.max_auth_failures {
            self.next = Next::Bye("Too many failed logins");
        }
        match error {
            AuthError::Disabled => Reply::no(Code::ContactAdmin, "The account is disabled"),
            AuthError::Limited => Reply::no(Code::Limit, "Too many logins failed, try again later"),
            _ => Reply::no(Code::AuthenticationFailed, "The user name or the password is wrong"),
        }
    }

    fn count_login(&self, result: &str) {
        self.shared.metrics.logins.with(&[result]).inc();
    }
}
