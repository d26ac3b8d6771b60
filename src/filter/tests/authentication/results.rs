//! The fields in front of a message, and those that others wrote in our name.

use std::net::Ipv4Addr;

use bytes::Bytes;
use ekitei_filter::{Client, Envelope, Login, Peer};

use crate::support::{World, message};

#[tokio::test]
async fn fields_in_our_name_do_not_come_in() {
    let world = World::with("", |config| config.filter.authserv_id = "here.test".to_owned());
    let forged = "Authentication-Results: HERE.test (me);\r\n dmarc=pass header.from=bank.test\r\nX-Ekitei-Filter: score=-9\r\n";
    let others = "Authentication-Results: there.test; dmarc=pass\r\n";
    let plain = message("alice@sender.test");
    let written = [forged.as_bytes(), others.as_bytes(), &plain].concat();
    let judgement = world.judge("alice@sender.test", written).await;
    assert_eq!(judgement.message, Some(Bytes::from([others.as_bytes(), &plain].concat())));
    assert!(judgement.header.starts_with(b"Authentication-Results: here.test;\r\n"));
    assert_eq!(judgement.header, format!("Authentication-Results: {}\r\n", judgement.results).into_bytes());
}

#[tokio::test]
async fn users_cannot_write_in_our_name_either() {
    let world = World::with("", |config| config.filter.authentication.name_login = true);
    let plain = message("alice@here.test");
    let written = [b"Authentication-Results: mx.here.test; auth=pass\r\n".as_slice(), &plain].concat();
    let login = Login { name: "alice@here.test".to_owned(), mechanism: "PLAIN".to_owned() };
    let peer = Peer {
        client: Client {
            address: Ipv4Addr::LOCALHOST.into(),
            trusted: false,
            authenticated: true,
            tls: true,
        },
        port: 4711,
        name: None,
        hello: "alices-phone".to_owned(),
        login: Some(login),
        tls: None,
        hostname: "mx.here.test".to_owned(),
    };
    let recipients = vec!["bob@there.test".to_owned()];
    let envelope = Envelope { id: "t1".to_owned(), sender: "alice@here.test".to_owned(), recipients };
    let judgement = world.filter.submitted(&peer, &envelope, &written.into()).await;
    assert_eq!(judgement.message, Some(plain.into()));
    assert_eq!(
        judgement.header,
        b"Authentication-Results: mx.here.test;\r\n\tauth=pass smtp.auth=alice@here.test\r\n"
    );
}

#[tokio::test]
async fn received_spf_is_written_where_so_configured() {
    let world = World::with("", |config| config.filter.authentication.received_spf = true);
    let judgement = world.judge("alice@sender.test", message("alice@sender.test")).await;
    let header = String::from_utf8(judgement.header).unwrap();
    assert!(
        header.ends_with(
            "Received-SPF: pass (mx.here.test: sender.test permits 192.0.2.1)\r\n\treceiver=mx.here.test; \
             client-ip=\"192.0.2.1\";\r\n\tenvelope-from=\"alice@sender.test\"; helo=\"mail.sender.test\";\r\n\t\
             identity=mailfrom\r\n"
        ),
        "{header}"
    );
}

#[tokio::test]
async fn nothing_is_written_where_nothing_is_checked() {
    let world = World::with("", |config| config.filter.authentication.enabled = false);
    let judgement = world.judge("alice@sender.test", message("alice@sender.test")).await;
    assert_eq!((judgement.header.as_slice(), judgement.results.as_str()), (b"".as_slice(), ""));
    assert_eq!(world.dns.queries(), []);
}

#[tokio::test]
async fn verdicts_and_their_cost_are_counted() {
    let world = World::new("");
    world.judge("alice@sender.test", message("alice@sender.test")).await;
    let metrics = world.registry.render();
    for line in [
        "filter_checks_total{check=\"spf\",result=\"pass\"} 1",
        "filter_checks_total{check=\"iprev\",result=\"pass\"} 1",
        "filter_checks_total{check=\"dmarc\",result=\"none\"} 1",
        "filter_check_seconds_count{check=\"dkim\"} 1",
        "filter_verdicts_total{step=\"message\",verdict=\"accept\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found.ends_with(line)), "{line}\n{metrics}");
    }
}
