//! Whether lists in the DNS (RFC 5782) have our addresses or the domain.

use std::net::{IpAddr, Ipv4Addr};

use ekitei_config::{DnsList, DnsListKind};
use ekitei_dns::lists::{refuses, reversed};
use futures_util::future::join_all;

use crate::finding::Finding;
use crate::scene::Scene;

/// The lists that are configured for incoming mail: what we believe of others, others believe of us.
pub(crate) async fn examine(scene: &Scene) -> Vec<Finding> {
    let lists: Vec<&DnsList> =
        scene.config.filter.dns_lists.lists.iter().filter(|list| accuses(list)).collect();
    if lists.is_empty() {
        return vec![Finding::unknown("DNS lists", "none is configured (filter.dnsLists.lists)")];
    }
    let ours =
        scene.hosts.iter().filter(|host| scene.is_ours(&host.name)).flat_map(|host| host.known_addresses());
    let mut addresses: Vec<IpAddr> = scene.egress.addresses().iter().chain(ours).copied().collect();
    addresses.sort();
    addresses.dedup();
    let mut questions = Vec::new();
    for list in lists {
        match list.kind {
            DnsListKind::Address => questions
                .extend(addresses.iter().map(|address| (list, address.to_string(), reversed(*address)))),
            DnsListKind::Domain => {
                questions.push((list, scene.subject.domain.clone(), scene.subject.domain.clone()))
            }
        }
    }
    if questions.is_empty() {
        return vec![Finding::unknown("DNS lists", "no address is known to look for")];
    }
    join_all(questions.into_iter().map(|(list, subject, key)| ask(scene, list, subject, key))).await
}

/// Lists of those to be trusted accuse nobody.
fn accuses(list: &DnsList) -> bool {
    list.score > 0 || list.answers.iter().any(|answer| answer.score > 0)
}

async fn ask(scene: &Scene, list: &DnsList, subject: String, key: String) -> Finding {
    let name = format!("{subject} in {}", list.zone);
    let question = format!("{key}.{}", list.zone);
    let answers = match scene.dns.ipv4(&question).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => return Finding::right(name, "not listed"),
        Err(error) => return Finding::failed(name, &error),
    };
    if answers.iter().any(|answer| refuses(*answer) && !list.names(*answer)) {
        return Finding::unknown(name, "the list does not answer the resolver that is used here");
    }
    let counts = |answer: &Ipv4Addr| {
        let loopback = answer.octets()[0] == 127;
        let scored =
            list.answers.iter().find(|one| one.address.contains(IpAddr::V4(*answer))).map(|one| one.score);
        loopback && scored.unwrap_or(if list.answers.is_empty() { list.score } else { 0 }) > 0
    };
    if !answers.iter().any(counts) {
        return Finding::right(name, "not listed");
    }
    let reason = scene.dns.txt(&question).await.map(|answer| answer.value.join(" ")).unwrap_or_default();
    Finding::wrong(
        name,
        format!("listed: {}", if reason.is_empty() { "the list does not say why" } else { &reason }),
    )
}
