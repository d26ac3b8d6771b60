//! When an API is believed that there is nothing.
//!
//! Many answer alike for a record set that is not there and for a zone that is not, or not for these credentials, and drivers of the `dns-update` library turn either
//! into an empty list. Taken for the truth, our records would be forgotten as if they had been removed, and those that others share would be written anew
//! without the values of others. So an empty list counts only if the same API shows something of the zone, or if the servers of the zone show nothing
//! either.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dns_update::{DnsRecordType, Error};

use super::Cloud;
use crate::name::Name;
use crate::provider::{ProviderError, Result, Zone};
use crate::record::{Key, Value};

/// How long a zone of which something was shown is believed to be there: a round takes no more than some of these.
const RECENT: Duration = Duration::from_secs(10);

/// Drivers (of `dns-update` 0.6.1) that have an empty list also where the zone is not there: those that take the status 404 for it, and those that ask for a name
/// in all zones.
pub(super) const HIDING: [&str; 17] = [
    "autodns",
    "azuredns",
    "desec",
    "dreamhost",
    "edgedns",
    "gandiv5",
    "gcore",
    "godaddy",
    "hetzner",
    "huaweicloud",
    "infoblox",
    "mythicbeasts",
    "ns1",
    "oraclecloud",
    "selectel",
    "tencentcloud",
    "ultradns",
];

/// The driver that has an empty list for every failure, also for those that pass: what was shown a moment ago says nothing of the next answer.
const SWALLOWING: &str = "autodns";

/// The zones of which the API has shown something, and when.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<BTreeMap<Name, Instant>>);

impl Shown {
    pub(super) fn note(&self, zone: &Zone) {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.insert(zone.name.clone(), Instant::now());
    }

    fn is_recent(&self, zone: &Zone) -> bool {
        let zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.get(&zone.name).is_some_and(|since| since.elapsed() < RECENT)
    }
}

impl Cloud {
    /// Whether to believe that there is no such record set.
    ///
    /// # Errors
    /// The zone is not there, or nobody can tell.
    pub(super) async fn believe_absence(&self, zone: &Zone, key: &Key) -> Result<()> {
        let kind = self.kind.name;
        if kind != SWALLOWING && self.shown.is_recent(zone) {
            return Ok(());
        }
        let apex = zone.name.as_str();
        match self.updater.list_rrset(apex, DnsRecordType::NS, apex).await {
            Ok(found) if !found.is_empty() => {
                self.shown.note(zone);
                return Ok(());
            }
            Ok(_) | Err(Error::Unsupported(_)) => {}
            Err(error) => return Err(self.explain(zone, error)),
        }
        let seen = match self.verifier.recent_authorities(&zone.name).await {
            Ok(authorities) => self.verifier.get(&authorities, key).await,
            Err(error) => Err(error),
        };
        let doubt = |why: String| {
            let reason = format!("{kind} shows nothing of the zone {apex}, not even its servers");
            Err(ProviderError::Unavailable(format!(
                "{reason}, so whether there is {key} is not known: {why}"
            )))
        };
        match seen {
            Ok(None) => Ok(()),
            Ok(Some(set)) => {
                let values: Vec<String> = set.values.iter().map(Value::to_string).collect();
                doubt(format!("the servers show {}", values.join(", ")))
            }
            Err(error) if HIDING.contains(&kind) => doubt(error.to_string()),
            // An API that says so where there is no zone.
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::SOA;
    use hickory_proto::rr::{RData, Record, RecordType as WireType};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::{KINDS, Settings};
    use super::*;
    use crate::provider::Provider;
    use crate::record::{RecordSet, RecordType};
    use crate::verify::{self, Verifier, testing};

    /// The API of UltraDNS, as far as reading needs it: of a zone that it shows it has the servers, and of another one it says that it is not there (404).
    async fn api(shows: Arc<AtomicBool>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let (status, body) = match request.split_whitespace().nth(1).unwrap() {
                    path if path.ends_with("/token") => {
                        ("200 OK", r#"{"accessToken": "t", "expiresIn": "3600"}"#)
                    }
                    path if path.contains("/NS/") && shows.load(Ordering::Relaxed) => (
                        "200 OK",
                        r#"{"rrSets": [{"rrtype": "NS (2)", "ttl": 300, "rdata": ["ns1.a.test."]}]}"#,
                    ),
                    _ => ("404 Not Found", r#"[{"errorCode": 70002, "errorMessage": "Data not found."}]"#),
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    /// A server that has `mail.a.test`, and nothing else but the apex.
    async fn nameserver() -> String {
        let there = RecordSet::new("mail.a.test".parse().unwrap(), 300, [Value::A([192, 0, 2, 1].into())]);
        let server = testing::server(move |message| {
            let (name, asked) = (message.queries[0].name().clone(), message.queries[0].query_type());
            match Name::from_wire(&name).as_str() {
                "a.test" if asked == WireType::SOA => {
                    let soa = SOA::new(name.clone(), name.clone(), 1, 3600, 600, 86400, 60);
                    message.answers.push(Record::from_rdata(name, 60, RData::SOA(soa)));
                }
                "a.test" => {}
                "mail.a.test" if asked == WireType::A => {
                    message.answers = there.as_ref().unwrap().to_wire().unwrap();
                }
                "mail.a.test" => {}
                _ => message.metadata.response_code = ResponseCode::NXDomain,
            }
        })
        .await;
        server.addresses[0].to_string()
    }

    async fn get(api: SocketAddr, nameserver: String, name: &str) -> Result<Option<RecordSet>> {
        let settings = Settings {
            provider: "ultradns".to_owned(),
            credentials: [
                ("username".to_owned(), "u".to_owned()),
                ("password".to_owned(), "p".to_owned()),
                ("endpoint".to_owned(), format!("http://{api}")),
            ]
            .into(),
            zones: vec!["a.test".parse().unwrap()],
            timeout: Duration::from_secs(5),
        };
        let timeout = Duration::from_millis(200);
        let verifier = Verifier::new(verify::Settings {
            servers: vec![nameserver],
            timeout,
            ..verify::Settings::default()
        });
        let cloud = Cloud::new(&settings, verifier).unwrap();
        let zone = Zone { name: "a.test".parse().unwrap(), id: None };
        cloud.get(&zone, &Key::new(name.parse().unwrap(), RecordType::A)).await
    }

    #[tokio::test]
    async fn an_api_that_shows_nothing_of_a_zone_is_not_believed_against_its_servers() {
        let shows = Arc::new(AtomicBool::new(true));
        let (api, nameserver) = (api(Arc::clone(&shows)).await, nameserver().await);
        assert_eq!(get(api, nameserver.clone(), "mail.a.test").await, Ok(None), "it shows the zone");
        // The credentials do not show the zone any more: the API says 404, and the driver that there is nothing.
        shows.store(false, Ordering::Relaxed);
        let hidden = get(api, nameserver.clone(), "mail.a.test").await.unwrap_err();
        assert!(hidden.is_temporary() && hidden.to_string().contains("192.0.2.1"), "{hidden}");
        assert_eq!(get(api, nameserver, "new.a.test").await, Ok(None), "nobody shows it");
        let unknown = get(api, "127.0.0.1:1".to_owned(), "new.a.test").await.unwrap_err();
        assert!(unknown.is_temporary(), "{unknown}");
    }

    #[test]
    fn drivers_that_hide_zones_are_drivers() {
        assert!(HIDING.is_sorted());
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dns.md")).unwrap();
        let told = HIDING.map(|name| format!("`{name}`")).join(", ");
        assert!(page.contains(&told), "docs/dns.md lacks: {told}");
        for name in HIDING {
            assert!(KINDS.iter().any(|kind| kind.name == name), "{name}");
        }
    }
}
