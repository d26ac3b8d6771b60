//! The MTA-STS policy (RFC 8461).

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use ekitei_config::Config;
use sha2::{Digest, Sha256};

use super::{domain_below, host};
use crate::problem::Result;
use crate::state::AppState;

/// The media type that senders insist on (§3.2).
const TEXT: &str = "text/plain; charset=utf-8";

/// The policy of all our domains as senders fetch it (§3.2).
pub(crate) fn policy(config: &Config) -> String {
    let given = &config.web.mta_sts;
    let mut text = format!("version: STSv1\r\nmode: {}\r\n", given.mode.name());
    let own = std::slice::from_ref(&config.hostname);
    for mx in if given.mx.is_empty() { own } else { &given.mx } {
        text.push_str(&format!("mx: {mx}\r\n"));
    }
    text.push_str(&format!("max_age: {}\r\n", given.max_age.get().as_secs()));
    text
}

/// The `id` of the TXT record `_mta-sts.<domain>`, which changes with the policy (§3.1).
pub(crate) fn id(policy: &str) -> String {
    Sha256::digest(policy).iter().take(10).map(|octet| format!("{octet:02x}")).collect()
}

pub(super) async fn show(
    State(state): State<AppState>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<impl IntoResponse> {
    domain_below(&state, "mta-sts", host(&headers, &uri)).await?;
    let policy = policy(&state.parts.live.load());
    let tag = format!("\"{}\"", id(&policy));
    Ok(([(header::CONTENT_TYPE, TEXT.to_owned()), (header::ETAG, tag)], policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_its_hosts_and_its_id_changes_with_it() {
        let mut config = Config { hostname: "mx.example.test".into(), ..Config::default() };
        let first = policy(&config);
        assert_eq!(first, "version: STSv1\r\nmode: testing\r\nmx: mx.example.test\r\nmax_age: 604800\r\n");
        config.web.mta_sts.mx = vec!["a.example.test".into(), "*.b.example.test".into()];
        let second = policy(&config);
        assert!(second.contains("mx: a.example.test\r\nmx: *.b.example.test\r\n"));
        assert_ne!(id(&first), id(&second));
        assert!(id(&first).len() <= 32 && id(&first).bytes().all(|c| c.is_ascii_alphanumeric()));
    }
}
