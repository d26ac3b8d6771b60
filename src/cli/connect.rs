//! Which service the verbs talk to, and with which token.

use std::path::{Path, PathBuf};

use clap::Args;
use ekitei_api::Client;
use ekitei_config::{Config, Protocol};

use super::exit::{Context, Failure, Outcome};

/// The configuration of a demo started in this directory.
pub const DEMO_CONFIG: &str = "data/ekitei.yaml";
/// Where a service listens if nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// Where the service is.
#[derive(Args, Clone, Debug)]
pub struct ServerOptions {
    /// The admin API of the service [default: of the demo in ./data, else http://127.0.0.1:8080].
    #[arg(long, global = true, value_name = "URL", env = "EKITEI_SERVER")]
    server: Option<String>,
    /// The token of the admin API [default: of the demo in ./data].
    #[arg(long, global = true, value_name = "TOKEN", env = "EKITEI_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the token.
    #[arg(long, global = true, value_name = "FILE", env = "EKITEI_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

/// What is known of the demo in this directory.
struct Demo {
    server: Option<String>,
    token: Option<String>,
}

impl ServerOptions {
    /// A client of the service.
    pub fn connect(&self) -> Outcome<Client> {
        // A token that was found is never sent to a service that was named.
        let demo = if self.server.is_some() { None } else { demo(Path::new(DEMO_CONFIG)) };
        let (found_server, found_token) = demo.map_or((None, None), |demo| (demo.server, demo.token));
        let server = self.server.clone().or(found_server).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(read_token(file)?),
            (None, None) => found_token,
        };
        Ok(Client::new(&server, token)?)
    }
}

fn read_token(file: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(file).context(file.display())?;
    match text.trim() {
        "" => Err(Failure::usage(format!("{} is empty", file.display()))),
        token => Ok(token.to_owned()),
    }
}

/// Reads the configuration of a demo, if there is one and it can be read.
fn demo(path: &Path) -> Option<Demo> {
    let config = Config::load(path).ok()?;
    let listener = config.listeners.iter().find(|listener| listener.protocol == Protocol::Http);
    let server = listener.map(|listener| format!("http://{}", reachable(listener.address)));
    Some(Demo { server, token: config.admin.token.map(|token| token.expose().to_owned()) })
}

/// Where to connect to reach what listens on `address`: loopback for a listener on all addresses.
pub fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}
