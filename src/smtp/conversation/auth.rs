//! AUTH (RFC 4954): PLAIN and LOGIN.

use ekitei_directory::{AuthContext, AuthError, Service};

use super::{Conversation, End, Step};
use crate::patience::Mistake;
use crate::proto::line::LineError;
use crate::proto::reply::{self, Reply};
use crate::proto::sasl::{self, Credentials};
use crate::server::ServerContext;
use crate::session::Mechanism;

/// `Username:` and `Password:`, as clients of LOGIN expect them.
const LOGIN_NAME: &str = "VXNlcm5hbWU6";
const LOGIN_PASSWORD: &str = "UGFzc3dvcmQ6";

/// Why an exchange came to nothing.
enum Failed {
    End(End),
    Reply(Reply),
}

impl From<End> for Failed {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl Conversation {
    pub(super) async fn authenticate(&mut self, mechanism: Mechanism, initial: Option<String>) -> Step {
        match self.try_login(mechanism, initial).await {
            Ok(()) => {
                self.count_login("ok");
                self.io.queue(&reply::AUTHENTICATED);
                Ok(())
            }
            Err(Failed::End(end)) => Err(end),
            Err(Failed::Reply(refusal)) => self.refuse_login(refusal).await,
        }
    }

    async fn try_login(&mut self, mechanism: Mechanism, initial: Option<String>) -> Result<(), Failed> {
        let credentials = self.credentials(mechanism, initial).await?;
        let context = AuthContext { service: Service::Smtp, peer: Some(self.peer()) };
        let ServerContext { directory, limits, .. } = &self.server.context;
        let login = limits.authenticate(directory, &credentials.login, &credentials.password, context).await;
        let account = login.map_err(|error| {
            tracing::debug!(%error, "login refused");
            Failed::Reply(match error {
                AuthError::InvalidCredentials => reply::AUTH_FAILED,
                AuthError::Disabled => reply::AUTH_DISABLED,
                AuthError::Limited => reply::AUTH_LIMITED,
                AuthError::Busy | AuthError::Unavailable(_) => reply::AUTH_TEMPORARY,
            })
        })?;
        tracing::info!(account = %account.account, "logged in");
        self.session.authenticated(account, mechanism);
        Ok(())
    }

    async fn credentials(
        &mut self,
        mechanism: Mechanism,
        initial: Option<String>,
    ) -> Result<Credentials, Failed> {
        // `=` is an initial response of no octets (RFC 4954 §4).
        let initial = initial.map(|text| if text == "=" { String::new() } else { text });
        let malformed = || Failed::Reply(reply::AUTH_MALFORMED);
        match mechanism {
            Mechanism::Plain => {
                let response = self.response_or("", initial).await?;
                sasl::plain(&response).ok_or_else(malformed)
            }
            Mechanism::Login => {
                let login = self.response_or(LOGIN_NAME, initial).await?;
                let login = sasl::text(&login).ok_or_else(malformed)?;
                let password = self.response_or(LOGIN_PASSWORD, None).await?;
                let password = sasl::text(&password).ok_or_else(malformed)?;
                Ok(Credentials { login, password })
            }
        }
    }

    /// What the client sent already, or what it answers to a challenge.
    async fn response_or(
        &mut self,
        challenge: &'static str,
        initial: Option<String>,
    ) -> Result<String, Failed> {
        if let Some(response) = initial {
            return Ok(response);
        }
        self.io.queue(&reply::challenge(challenge));
        let line = self.read_line(true).await?.map_err(|error| match error {
            LineError::TooLong => Failed::Reply(reply::AUTH_LINE_TOO_LONG),
            LineError::BareLf => Failed::End(End::Say(reply::BARE_LF_COMMAND)),
        })?;
        if line.as_ref() == b"*" {
            return Err(Failed::Reply(reply::AUTH_CANCELLED));
        }
        String::from_utf8(line.into()).map_err(|_| Failed::Reply(reply::AUTH_MALFORMED))
    }

    async fn refuse_login(&mut self, refusal: Reply) -> Step {
        let (outcome, mistake) = match &refusal {
            refusal if *refusal == reply::AUTH_LIMITED => ("limited", Some(Mistake::Login)),
            refusal if refusal.is_temporary() => ("temporary", None),
            refusal if refusal.code == 535 => ("refused", Some(Mistake::Login)),
            _ => ("malformed", Some(Mistake::Command)),
        };
        self.count_login(outcome);
        match mistake {
            Some(mistake) => self.complain(refusal, mistake).await,
            None => self.answer(refusal).await,
        }
    }

    fn count_login(&self, outcome: &str) {
        self.server.context.metrics.logins.with(&[outcome]).inc();
    }
}
