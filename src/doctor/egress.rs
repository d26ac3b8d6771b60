//! The addresses that mail comes from: their names (RFC 1912 §2.1), and the name in EHLO.

use std::net::IpAddr;

use futures_util::future::join_all;

use crate::addresses::{list, record_type, reverse_name};
use crate::finding::Finding;
use crate::scene::{Egress, Scene};

/// The PTR record of each address that mail leaves from, and of each of our MX hosts; and the name in EHLO.
pub(crate) async fn reverse(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reason) = scene.egress.reason() {
        findings.push(Finding::unknown("addresses of egress", reason));
    } else if let Egress::Assumed(addresses) = &scene.egress {
        let detail = format!(
            "{}: assumed, since they are those of {}; relay.sourceAddresses would say for sure",
            list(addresses),
            scene.ehlo_name()
        );
        findings.push(Finding::right("addresses of egress", detail));
    }
    let ours =
        scene.hosts.iter().filter(|host| scene.is_ours(&host.name)).flat_map(|host| host.known_addresses());
    let mut addresses: Vec<IpAddr> = scene.egress.addresses().iter().chain(ours).copied().collect();
    addresses.sort();
    addresses.dedup();
    findings.extend(join_all(addresses.into_iter().map(|address| pointer(scene, address))).await);
    if matches!(scene.egress, Egress::Configured(_)) {
        findings.push(greeting(scene).await);
    }
    findings
}

/// Whether an address has a name that leads back to it (forward-confirmed; RFC 8601 §2.7.3 `iprev`).
async fn pointer(scene: &Scene, address: IpAddr) -> Finding {
    let name = format!("PTR of {address}");
    let wanted = format!("{}. IN PTR {}.", reverse_name(address), scene.ehlo_name());
    let names = match scene.dns.ptr(address).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => {
            let detail = "there is none; many receivers refuse mail from such an address. Whoever gave you the address publishes it";
            return Finding::wrong(name, detail).publish([wanted]);
        }
        Err(error) => return Finding::failed(name, &error),
    };
    let mut uncertain = None;
    for host in names.iter().take(10) {
        match scene.dns.addresses(host).await {
            Ok(answer) if answer.value.contains(&address) => {
                return Finding::right(name, format!("{host}, which leads back to the address"));
            }
            Err(error) if error.is_temporary() => uncertain = Some(error),
            _ => {}
        }
    }
    if let Some(error) = uncertain {
        return Finding::unknown(
            name,
            format!("{}, whose addresses are not to be had: {error}", names.join(", ")),
        );
    }
    let forward = format!("{}. IN {} {address}", scene.ehlo_name(), record_type(address));
    Finding::wrong(name, format!("{}, which does not lead back to the address", names.join(", ")))
        .publish([wanted, forward])
}

/// Whether the name in EHLO has the addresses that mail comes from.
async fn greeting(scene: &Scene) -> Finding {
    let host = scene.ehlo_name();
    let name = format!("EHLO name {host}");
    let missing = |known: &[IpAddr]| -> Vec<IpAddr> {
        scene.egress.addresses().iter().copied().filter(|address| !known.contains(address)).collect()
    };
    let known = match scene.dns.addresses(&host).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => Vec::new(),
        Err(error) => return Finding::failed(name, &error),
    };
    let missing = missing(&known);
    if missing.is_empty() {
        return Finding::right(name, "has the addresses that mail comes from");
    }
    Finding::wrong(name, format!("does not have the address {}, from which mail comes", list(&missing)))
        .publish(missing.iter().map(|address| format!("{host}. IN {} {address}", record_type(*address))))
}
