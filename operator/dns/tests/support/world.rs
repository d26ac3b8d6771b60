//! A domain with all kinds of records, and rounds over its zone.

use std::collections::BTreeSet;
use std::convert::Infallible;

use ekitei_operator_dns::desired::{
    Caa, Challenge, Client, Disposition, DkimKey, Dmarc, Exchanger, Service, ServiceKind, Spf, Tlsa,
    TlsaValue, Web,
};
use ekitei_operator_dns::{
    Adoption, Desired, Inventory, MailDomain, MailHost, Outcome, Owner, Provider, Round, Zone,
};

use ekitei_operator_dns::round::Store;
use futures_util::future::BoxFuture;

use super::name;

pub fn owner(operator: &str) -> Owner {
    Owner::new(operator, "domain/a.test").unwrap()
}

/// Keeps nothing: what a crash does is seen by other tests.
struct Memory;

impl Store<Infallible> for Memory {
    fn store<'a>(&'a mut self, _: &'a Inventory) -> BoxFuture<'a, Result<(), Infallible>> {
        Box::pin(async { Ok(()) })
    }
}

/// A round of an operator that adopts what nobody owns.
pub async fn round(provider: &dyn Provider, desired: &[Desired], inventory: &Inventory) -> Outcome {
    round_of(provider, &owner("test"), desired, inventory, Adoption::IfUnowned).await
}

pub async fn round_of(
    provider: &dyn Provider,
    owner: &Owner,
    desired: &[Desired],
    inventory: &Inventory,
    adoption: Adoption,
) -> Outcome {
    let zone = match provider.zone(&name("a.test")).await {
        Ok(zone) => zone,
        // Without the provider nothing is looked up; what is to be seen is that nothing is lost by that.
        Err(_) => Zone { name: name("a.test"), id: None },
    };
    let round = Round { provider, zone: &zone, owner, desired, adoption };
    round.run(inventory, &mut Memory).await.unwrap()
}

pub fn states_of(outcome: &Outcome) -> BTreeSet<&'static str> {
    outcome.records.iter().map(|record| record.state.as_str()).collect()
}

/// All kinds of records that there are.
pub fn everything() -> Vec<Desired> {
    let addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let client = Client {
        host: name("mail.a.test"),
        addresses: addresses.clone(),
        variant: None,
        services: vec![Service { kind: ServiceKind::Imaps, port: 993 }],
    };
    let domain = MailDomain {
        exchangers: vec![Exchanger { host: name("mx.a.test"), preference: 10, healthy: true }],
        client: Some(client),
        web: Some(Web { host: name("mail.a.test"), autoconfig: true }),
        spf: Some(Spf { mx: true, ..Spf::default() }),
        dkim: vec![DkimKey {
            name: name("s1._domainkey.a.test"),
            text: format!("v=DKIM1; k=rsa; p={}", "QUJD".repeat(98)),
        }],
        dmarc: Some(Dmarc::new(Disposition::Reject)),
        mta_sts_id: Some("1".to_owned()),
        tls_reports: vec!["tls@a.test".to_owned()],
        caa: Some(Caa { issue: vec!["ca.test; validationmethods=dns-01".to_owned()], ..Caa::default() }),
        challenges: vec![Challenge { name: name("mail.a.test"), text: "challenge".to_owned() }],
        ..MailDomain::new(name("a.test"), 300)
    };
    let host = MailHost {
        host: name("mx.a.test"),
        ttl: 300,
        addresses,
        spf: true,
        tlsa: vec![Tlsa { host: name("mx.a.test"), port: 25, values: vec![TlsaValue::public_key([7; 32])] }],
        signed: true,
    };
    [domain.records().unwrap(), host.records().unwrap()].concat()
}
