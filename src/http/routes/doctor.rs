//! How the service is, as it sees itself: what `ekitei doctor` prints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use ekitei_api::{Check, CheckStatus, DoctorReport, Problem};
use ekitei_config::{ListenerConfig, Protocol};
use ekitei_directory::PageRequest;
use futures_util::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::health;
use crate::state::AppState;

/// How long before its end a certificate is worth a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// How long a listener may take to greet, or the resolver to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Domains whose names are looked up; more would take longer than a person waits.
const DOMAINS: usize = 20;

/// How the service is, as it sees itself.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "service", responses(
    (status = 200, description = "What was looked at.", body = DoctorReport),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn doctor(State(state): State<AppState>) -> axum::Json<DoctorReport> {
    let mut checks = vec![store(&state).await, bodies(&state).await];
    checks.extend(certificates(&state));
    checks.extend(join_all(state.parts.live.load().listeners.iter().map(port)).await);
    checks.extend(names(&state).await);
    axum::Json(DoctorReport { checks })
}

fn check(name: impl Into<String>, status: CheckStatus, detail: impl ToString) -> Check {
    Check { name: name.into(), status, detail: detail.to_string() }
}

async fn store(state: &AppState) -> Check {
    match health::store_answers(state).await {
        Ok(()) => check("store", CheckStatus::Ok, "answers"),
        Err(detail) => check("store", CheckStatus::Failure, detail),
    }
}

/// Whether the object store answers, and how much waits for it.
async fn bodies(state: &AppState) -> Check {
    let status = match state.parts.blobs.status().await {
        Ok(status) => status,
        Err(error) => return check("bodies", CheckStatus::Failure, error),
    };
    let (hot, limit) = (status.figures().hot_octets, status.hot_limit);
    let waiting = format!("{} MiB of {} MiB wait to be packed", hot >> 20, limit >> 20);
    if status.away {
        let detail = format!("the object store does not answer; {waiting}: try ekitei doctor stores");
        return check("bodies", CheckStatus::Failure, detail);
    }
    if status.packing && hot > limit / 2 {
        return check("bodies", CheckStatus::Warning, format!("{waiting}: packing does not keep up"));
    }
    check("bodies", CheckStatus::Ok, waiting)
}

fn certificates(state: &AppState) -> Vec<Check> {
    let found = state.parts.tls.certificates();
    if found.is_empty() {
        let detail = "none is configured or stored, so TLS is not offered";
        return vec![check("certificates", CheckStatus::Failure, detail)];
    }
    let now = SystemTime::now();
    let judge = |certificate: &ekitei_net::CertificateStatus| {
        let days = |left: Duration| left.as_secs() / 86_400;
        let (status, detail) = match certificate.not_after.duration_since(now) {
            _ if certificate.not_before > now => (CheckStatus::Failure, "is not valid yet".to_owned()),
            Err(_) => (CheckStatus::Failure, "has expired".to_owned()),
            Ok(left) if left < EXPIRY_WARNING => {
                (CheckStatus::Warning, format!("ends in {} days", days(left)))
            }
            Ok(left) => (CheckStatus::Ok, format!("valid for {} days", days(left))),
        };
        let detail = format!("{detail}, for {}", certificate.names.join(", "));
        check(format!("certificate {}", certificate.source), status, detail)
    };
    found.iter().map(judge).collect()
}

/// Connects to a listener, and waits for its greeting where there is one in the clear.
async fn port(listener: &ListenerConfig) -> Check {
    let name = format!("listener {}", listener.label());
    if listener.proxy_protocol.is_some() {
        return check(name, CheckStatus::Skipped, "expects the PROXY protocol from its load balancer");
    }
    let address = reachable(listener.address);
    let greeting = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut start = [0; 4];
        let silent = listener.protocol.implicit_tls() || listener.protocol == Protocol::Http;
        if !silent {
            stream.read_exact(&mut start).await?;
        }
        Ok::<_, std::io::Error>(start)
    };
    match tokio::time::timeout(PATIENCE, greeting).await {
        Ok(Ok(start)) if start.starts_with(b"4") || start.starts_with(b"-") || start == *b"* BY" => {
            check(name, CheckStatus::Warning, format!("{address} turns clients away at the moment"))
        }
        Ok(Ok(_)) => check(name, CheckStatus::Ok, format!("{address} answers")),
        Ok(Err(error)) => check(name, CheckStatus::Failure, format!("{address}: {error}")),
        Err(_) => check(name, CheckStatus::Failure, format!("{address} does not answer")),
    }
}

/// Where to connect to reach what listens on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        _ => {}
    }
    address
}

/// Whether the host and the domains have addresses, as far as the resolver of the system can tell.
async fn names(state: &AppState) -> Vec<Check> {
    let mut names = vec![state.parts.live.load().hostname.clone()];
    let page = PageRequest { after: None, limit: DOMAINS };
    match state.parts.directory.list_domains(&page).await {
        Ok(domains) => names.extend(domains.items.iter().map(|domain| domain.name.as_ascii().to_owned())),
        Err(error) => return vec![check("DNS", CheckStatus::Failure, error)],
    }
    let mut checks = join_all(names.iter().map(|name| resolve(name))).await;
    let detail =
        "ekitei doctor <domain> looks at MX, SPF, DKIM, DMARC, MTA-STS, PTR and the others of a domain";
    checks.push(check("DNS records", CheckStatus::Skipped, detail));
    checks
}

async fn resolve(name: &str) -> Check {
    let label = format!("DNS {name}");
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 25))).await {
        Ok(Ok(found)) => {
            let addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            check(label, CheckStatus::Ok, format!("has the addresses {}", addresses.join(", ")))
        }
        Ok(Err(error)) => check(label, CheckStatus::Warning, format!("has no address: {error}")),
        Err(_) => check(label, CheckStatus::Warning, "the resolver did not answer in time"),
    }
}
