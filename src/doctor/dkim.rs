//! The records of our DKIM keys (RFC 6376 §3.6).

use ekitei_signing::{KeyInfo, Stage};
use futures_util::future::join_all;

use crate::finding::Finding;
use crate::scene::Scene;

/// Each key of the domain.
pub(crate) async fn examine(scene: &Scene) -> Vec<Finding> {
    let keys = &scene.subject.keys;
    let mut findings = join_all(keys.iter().map(|key| of_key(scene, key))).await;
    if !keys.iter().any(|key| key.stage == Stage::Signing) {
        let detail = match keys.iter().find(|key| key.stage == Stage::Published) {
            Some(key) => format!("no key signs yet; publish the record of {}, and it will", key.selector),
            None => format!("mail is not signed: make keys with ekitei dkim create {}", scene.subject.domain),
        };
        findings.insert(0, Finding::wrong("DKIM", detail));
    }
    findings
}

async fn of_key(scene: &Scene, key: &KeyInfo) -> Finding {
    let name = format!("DKIM {} ({}, {})", key.selector, key.algorithm.name(), key.stage);
    let wanted = [key.record.zone_line()];
    let texts = match scene.dns.txt(&key.record.name).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => Vec::new(),
        Err(error) => return Finding::failed(name, &error),
    };
    let published = texts.iter().filter(|text| key.record.is_published_by(text)).count();
    match (published, texts.len(), key.stage) {
        (1.., 1, _) => Finding::right(name, "the record has the key"),
        (1.., several, _) => Finding::wrong(
            name,
            format!("there are {several} TXT records at {}; receivers may take any of them", key.record.name),
        )
        .publish(wanted),
        (0, 0, Stage::Retired) => Finding::advice(
            name,
            "the record is gone already; mail that it signed and that is still under way cannot be verified",
        )
        .publish(wanted),
        (0, 0, _) => {
            Finding::wrong(name, format!("there is no record at {}", key.record.name)).publish(wanted)
        }
        (0, _, _) => {
            Finding::wrong(name, format!("the record at {} has another key", key.record.name)).publish(wanted)
        }
    }
}
