//! One order from its names to its certificate (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};

use super::account::identifier;
use super::challenges::{Presented, follow};
use super::error::Step;
use super::http::noting;
use super::{Account, AcmeError, Challenges, Problem, TxtRecord};
use crate::{Certificate, HostName, Key};

/// Between two questions whether the authority has finished, where it does not say how long to wait.
const POLL_FIRST: Duration = Duration::from_millis(500);

/// What is ordered.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// The names, at least one.
    pub names: Vec<HostName>,
    /// One of the server's profiles, such as `classic`, `tlsserver`, `shortlived`; `None` for its default.
    pub profile: Option<String>,
    /// The certificate that the new one replaces (RFC 9773 §5): such an order is not counted by some limits.
    pub replaces: Option<Certificate>,
}

impl OrderRequest {
    /// An order of a certificate for `names` in the server's default profile.
    pub fn new(names: Vec<HostName>) -> Self {
        Self { names, profile: None, replaces: None }
    }
}

/// Repeats a request whose nonce was refused: the server has then done nothing (RFC 8555 §6.5). The library repeats one
/// twice.
macro_rules! with_nonces {
    ($request:expr) => {{
        let mut left = 5_u32;
        loop {
            match $request {
                Err(instant_acme::Error::Api(problem))
                    if left > 0
                        && problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce") =>
                {
                    left -= 1;
                }
                result => break result,
            }
        }
    }};
}
pub(super) use with_nonces;

impl Account {
    /// Obtains a certificate of `key` for the names of `request`. The records of the challenges are removed in the end,
    /// whatever the end is; also when this is dropped before, as long as the runtime lives.
    ///
    /// Takes as long as the names and the server need, up to the sum of [`super::Patience`].
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn issue(
        &self,
        request: &OrderRequest,
        key: &Key,
        challenges: Arc<dyn Challenges>,
    ) -> Result<Certificate, AcmeError> {
        if request.names.is_empty() {
            return Err(AcmeError::BadInput("an order needs a name".to_owned()));
        }
        let signing_request = key.signing_request(&request.names)?;
        noting(async {
            let mut order = self.order(request).await?;
            let mut presented = Presented::new(challenges.clone());
            let result = self.authorize(&mut order, &mut presented, challenges.as_ref()).await;
            presented.clean_up().await;
            result?;
            let certificate = self.finalize(&mut order, &signing_request).await?;
            accept(certificate, request, key)
        })
        .await
    }

    /// Places the order.
    async fn order(&self, request: &OrderRequest) -> Result<Order, AcmeError> {
        if let Some(profile) = &request.profile {
            self.check_profile(profile)?;
        }
        let identifiers: Vec<Identifier> =
            request.names.iter().map(|name| Identifier::Dns(name.as_str().to_owned())).collect();
        if let Some(replaced) = request.replaces.as_ref().and_then(identifier) {
            let order = with_profile(NewOrder::new(&identifiers), request).replaces(replaced);
            match with_nonces!(self.inner.new_order(&order).await) {
                Ok(order) => return Ok(order),
                // That one is replaced already, is another authority's, or the server knows no such thing: it is an
                // order like any other then.
                Err(error) if is_about_replacing(&error) => {
                    tracing::debug!(%error, "an order is placed without saying what it replaces");
                }
                Err(error) => return Err(AcmeError::new(error, Step::Order)),
            }
        }
        let order = with_profile(NewOrder::new(&identifiers), request);
        with_nonces!(self.inner.new_order(&order).await).map_err(|error| AcmeError::new(error, Step::Order))
    }

    fn check_profile(&self, wanted: &str) -> Result<(), AcmeError> {
        let offered: Vec<String> = self.profiles().into_iter().map(|(name, _)| name).collect();
        if offered.iter().any(|name| name == wanted) {
            return Ok(());
        }
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        let detail = format!("the profile {wanted:?} is not offered; there are: {offered}");
        Err(AcmeError::OrderRefused(Problem { kind: "invalidProfile".to_owned(), detail }))
    }

    /// Answers the challenges of all names that the server has not validated lately, and waits for its judgement.
    async fn authorize(
        &self,
        order: &mut Order,
        presented: &mut Presented,
        challenges: &dyn Challenges,
    ) -> Result<(), AcmeError> {
        for (challenge_name, value) in pending(order).await? {
            let name = follow(challenges, &challenge_name).await?;
            presented.present(TxtRecord { name, value }).await?;
        }
        presented.wait_until_visible(self.patience.visible).await?;
        set_ready(order).await?;
        let poll =
            RetryPolicy::new().initial_delay(POLL_FIRST).backoff(1.5).timeout(self.patience.validation);
        let status = with_nonces!(order.poll_ready(&poll).await);
        match status {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(refusal(order, None).await),
            Err(instant_acme::Error::Api(problem)) if order.state().error.is_some() => {
                Err(refusal(order, Some(Problem::new(&problem))).await)
            }
            Err(error) => Err(AcmeError::new(error, Step::Validation)),
        }
    }

    /// Sends the request for the certificate, and fetches it.
    async fn finalize(&self, order: &mut Order, signing_request: &[u8]) -> Result<String, AcmeError> {
        let failed = |error| AcmeError::new(error, Step::Issuance);
        with_nonces!(order.finalize_csr(signing_request).await).map_err(failed)?;
        let poll = RetryPolicy::new().initial_delay(POLL_FIRST).backoff(1.5).timeout(self.patience.issuance);
        with_nonces!(order.poll_certificate(&poll).await).map_err(failed)
    }
}

fn with_profile<'a>(order: NewOrder<'a>, request: &'a OrderRequest) -> NewOrder<'a> {
    match &request.profile {
        Some(profile) => order.profile(profile),
        None => order,
    }
}

/// Whether an order was refused for the certificate that it replaces, and for nothing else.
fn is_about_replacing(error: &instant_acme::Error) -> bool {
    match error {
        instant_acme::Error::Unsupported(_) => true,
        instant_acme::Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            // RFC 9773 §7.4 has one type; other causes come as `malformed` or `conflict`, and a good order is not.
            kind.ends_with(":alreadyReplaced")
                || (problem.status.is_some_and(|status| status == 409 || status == 404 || status == 400)
                    && (kind.ends_with(":malformed") || kind.ends_with(":conflict")))
        }
        instant_acme::Error::Other(error) => error.to_string().starts_with("replaces field mismatch"),
        _ => false,
    }
}

/// The challenge names and values of the names that still have to be validated.
async fn pending(order: &mut Order) -> Result<Vec<(String, String)>, AcmeError> {
    let mut pending = Vec::new();
    // A request for an authorization whose nonce was refused is made again from the first on; what was read is kept.
    let mut left = 5_u32;
    'again: loop {
        pending.clear();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = match authorization {
                Ok(authorization) => authorization,
                Err(instant_acme::Error::Api(problem))
                    if left > 0
                        && problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":badNonce")) =>
                {
                    left -= 1;
                    continue 'again;
                }
                Err(error) => return Err(AcmeError::new(error, Step::Order)),
            };
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    return Err(AcmeError::BadAnswer(format!(
                        "a new order has a name that is {other:?}: {name}"
                    )));
                }
            }
            let Some(challenge) = authorization.challenge(ChallengeType::Dns01) else {
                let detail = format!("the server offers no DNS-01 challenge for {name}");
                return Err(AcmeError::OrderRefused(Problem { kind: String::new(), detail }));
            };
            let base = name.strip_prefix("*.").unwrap_or(&name);
            pending.push((format!("_acme-challenge.{base}"), challenge.key_authorization().dns_value()));
        }
        return Ok(pending);
    }
}

/// Says that all challenges are answered.
async fn set_ready(order: &mut Order) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let failed = |error| AcmeError::new(error, Step::Validation);
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = authorization.identifier().to_string();
        if let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01) {
            let ready = with_nonces!(challenge.set_ready().await);
            ready.map_err(|error| match error {
                // What is wrong with the answer to a challenge is said in the challenge, and is about its name.
                instant_acme::Error::Api(problem) if problem.status.is_none_or(|status| status < 429) => {
                    AcmeError::Validation { name, problem: Problem::new(&problem) }
                }
                error => failed(error),
            })?;
        }
    }
    Ok(())
}

/// Why the server finds the order invalid: the first name whose challenge failed, with what is said there.
async fn refusal(order: &mut Order, said: Option<Problem>) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if with_nonces!(authorization.refresh().await).is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        if let Some(problem) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return AcmeError::Validation { name, problem: Problem::new(problem) };
        }
    }
    AcmeError::OrderRefused(
        said.unwrap_or_else(|| Problem { detail: "the order is invalid".into(), ..Problem::default() }),
    )
}

/// Takes a certificate if it is what was ordered.
fn accept(pem: String, request: &OrderRequest, key: &Key) -> Result<Certificate, AcmeError> {
    let certificate = Certificate::from_pem(&pem)?;
    if !certificate.fits(key) {
        return Err(AcmeError::BadAnswer("the certificate is for another key".to_owned()));
    }
    let missing = certificate.missing(&request.names);
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(HostName::as_str).collect();
        return Err(AcmeError::BadAnswer(format!("the certificate does not name {}", missing.join(", "))));
    }
    Ok(certificate)
}
