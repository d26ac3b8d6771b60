//! The macros of Sendmail that tell milters what the commands do not.

use super::codec::Stage;
use crate::scan::Peer;

/// What the macros of a stage are made of.
pub(super) struct Facts<'a> {
    /// The connection.
    pub(super) peer: &'a Peer,
    /// The id of the transaction; empty outside of one.
    pub(super) id: &'a str,
    /// The address of the command, without brackets; empty if it has none.
    pub(super) address: &'a str,
}

/// The macros of a stage, with those that the milter chose if it chose any. Each is sent once, at the first stage that it is known.
pub(super) fn at(stage: Stage, chosen: Option<&[String]>, facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let mut macros = match stage {
        Stage::Connect => connection(facts.peer),
        Stage::Hello => tls(facts.peer),
        Stage::Mail => {
            [vec![("i", facts.id.to_owned())], login(facts.peer), address(facts.address, true)].concat()
        }
        Stage::Rcpt => [vec![("i", facts.id.to_owned())], address(facts.address, false)].concat(),
        Stage::Data | Stage::EndOfHeader | Stage::EndOfMessage => vec![("i", facts.id.to_owned())],
    };
    if let Some(chosen) = chosen {
        macros = everything(facts, stage == Stage::Mail);
        macros.retain(|(name, _)| chosen.iter().any(|wanted| same(wanted, name)));
    }
    macros.retain(|(_, value)| !value.is_empty());
    macros
}

/// `{i}` and `i` are one name.
fn same(wanted: &str, name: &str) -> bool {
    let bare = |name: &str| name.trim_start_matches('{').trim_end_matches('}').to_owned();
    bare(wanted) == bare(name)
}

fn everything(facts: &Facts<'_>, sender: bool) -> Vec<(&'static str, String)> {
    let id = vec![("i", facts.id.to_owned())];
    [connection(facts.peer), tls(facts.peer), login(facts.peer), id, address(facts.address, sender)].concat()
}

fn connection(peer: &Peer) -> Vec<(&'static str, String)> {
    let address = peer.client.address.to_canonical();
    let resolved = peer.name.clone();
    vec![
        ("j", peer.hostname.clone()),
        ("v", concat!("Ekitei ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("_", format!("{} [{address}]", resolved.as_deref().unwrap_or("unknown"))),
        ("{daemon_name}", peer.hostname.clone()),
        ("{client_addr}", address.to_string()),
        ("{client_port}", peer.port.to_string()),
        ("{client_name}", resolved.clone().unwrap_or_else(|| format!("[{address}]"))),
        ("{client_ptr}", resolved.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("{client_resolve}", if resolved.is_some() { "OK" } else { "FAIL" }.to_owned()),
    ]
}

fn tls(peer: &Peer) -> Vec<(&'static str, String)> {
    match &peer.tls {
        Some(tls) => vec![("{tls_version}", tls.version.clone()), ("{cipher}", tls.cipher.clone())],
        None => Vec::new(),
    }
}

fn login(peer: &Peer) -> Vec<(&'static str, String)> {
    match &peer.login {
        Some(login) => vec![("{auth_type}", login.mechanism.clone()), ("{auth_authen}", login.name.clone())],
        None => Vec::new(),
    }
}

fn address(address: &str, sender: bool) -> Vec<(&'static str, String)> {
    let host = address.rsplit_once('@').map_or("", |(_, host)| host).to_owned();
    let names = if sender {
        ["{mail_addr}", "{mail_host}", "{mail_mailer}"]
    } else {
        ["{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"]
    };
    let mailer = if address.is_empty() { "" } else { "esmtp" };
    vec![(names[0], address.to_owned()), (names[1], host), (names[2], mailer.to_owned())]
}
