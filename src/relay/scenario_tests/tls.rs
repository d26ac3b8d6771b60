//! TLS with servers that have it, refuse it, fail at it or are not who they say.

use std::io::Write as _;
use std::sync::Arc;

use ekitei_config::{Secret, TlsRule};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::support::*;
use crate::host::Login;
use crate::mx::Host;
use crate::{FailureKind, Status};

/// A server with a certificate for `a.example`, and a file that makes it trusted.
struct Certified {
    acceptor: TlsAcceptor,
    authorities: tempfile::NamedTempFile,
}

fn certified() -> Certified {
    let certificate = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
    let mut authorities = tempfile::NamedTempFile::new().unwrap();
    authorities.write_all(certificate.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    Certified { acceptor: TlsAcceptor::from(Arc::new(config)), authorities }
}

impl World {
    async fn send_under(&self, rule: TlsRule, certified: &Certified) -> crate::RecipientOutcome {
        let tls = policy(&self.hosts, rule, false, Some(certified.authorities.path())).await;
        let of = |host: &Host| tls[usize::from(host.name == "b.example")].clone();
        self.send_with(shipment(&["1@to.example"]), of).await.remove(0)
    }
}

/// Greets, offers STARTTLS and another extension, and shakes hands.
async fn start_tls(mut peer: Peer, certified: &TlsAcceptor) -> std::io::Result<Peer> {
    peer.hello("STARTTLS DSN SMTPUTF8").await;
    peer.exchange(&[("STARTTLS", "220 go on")]).await;
    peer.secure(certified).await
}

#[tokio::test]
async fn what_was_announced_before_tls_is_forgotten() {
    for rule in [TlsRule::Opportunistic, TlsRule::Require, TlsRule::Verify] {
        let (world, certified) = (World::new(), certified());
        let acceptor = certified.acceptor.clone();
        world.serve(A, |peer| async move {
            let mut peer = start_tls(peer, &acceptor).await.unwrap();
            peer.expect("EHLO us.example").await;
            peer.offer("").await;
            peer.take(&["1@to.example"]).await;
            peer.quit().await;
        });
        let outcome = world.send_under(rule, &certified).await;
        assert!(matches!(outcome, crate::RecipientOutcome::Sent { notifies: false, .. }), "{outcome:?}");
        assert_eq!(world.metric("relay_tls_handshakes_total{version=\"TLSv1.3\"}"), 1);
        world.close().await;
    }
}

#[tokio::test]
async fn tls_that_is_not_there_matters_only_where_it_is_demanded() {
    for offer in ["", "STARTTLS"] {
        for rule in [TlsRule::Opportunistic, TlsRule::Require] {
            let mut world = World::new();
            world.hosts.truncate(1);
            world.serve(A, move |mut peer| async move {
                peer.hello(offer).await;
                if !offer.is_empty() {
                    peer.exchange(&[("STARTTLS", "454 4.7.0 no certificate")]).await;
                }
                if rule == TlsRule::Opportunistic {
                    peer.take(&["1@to.example"]).await;
                }
                peer.end().await;
            });
            let outcome = world.send_under(rule, &certified()).await;
            if rule == TlsRule::Opportunistic {
                assert_sent(&[outcome]);
            } else {
                assert_eq!((deferred(&outcome).kind, deferred(&outcome).status.0), (FailureKind::Tls, 4));
            }
            world.close().await;
        }
    }
}

#[tokio::test]
async fn with_no_tls_by_rule_starttls_is_not_said() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("STARTTLS").await;
        peer.take(&["1@to.example"]).await;
        peer.quit().await;
    });
    assert_sent(&[world.send_under(TlsRule::None, &certified()).await]);
    world.close().await;
}

/// Two connections to the first host: one where TLS fails, and one in the clear, if there may be one.
async fn fails_at_tls<F>(rule: TlsRule, failing: impl FnOnce(Peer) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, failing);
    if rule == TlsRule::Opportunistic {
        world.serve(A, |mut peer| async move {
            peer.hello("STARTTLS").await;
            peer.take(&["1@to.example"]).await;
            peer.quit().await;
        });
    }
    let outcome = world.send_under(rule, &certified()).await;
    if rule == TlsRule::Opportunistic {
        assert_sent(&[outcome]);
    } else {
        assert_eq!((deferred(&outcome).kind, deferred(&outcome).status), (FailureKind::Tls, Status(4, 7, 5)));
    }
    world.close().await;
}

#[tokio::test]
async fn after_a_failed_handshake_another_connection_is_in_the_clear_if_that_may_be() {
    for rule in [TlsRule::Opportunistic, TlsRule::Require, TlsRule::Verify] {
        fails_at_tls(rule, |mut peer| async move {
            peer.hello("STARTTLS").await;
            peer.exchange(&[("STARTTLS", "220 go on")]).await;
            peer.say("500 what was that").await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_takes_nothing_in_the_clear_is_tried_again_later() {
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, |mut peer| async move {
        peer.hello("STARTTLS").await;
        peer.exchange(&[("STARTTLS", "220 go on")]).await;
    });
    world.serve(A, |mut peer| async move {
        peer.hello("STARTTLS").await;
        peer.exchange(&[("MAIL FROM:<s@from.example>", "530 5.7.0 Must issue a STARTTLS command first")])
            .await;
        peer.quit().await;
    });
    let outcome = world.send_under(TlsRule::Opportunistic, &certified()).await;
    assert_eq!((deferred(&outcome).kind, deferred(&outcome).status), (FailureKind::Host, Status(4, 7, 0)));
    world.close().await;
}

#[tokio::test]
async fn what_is_said_behind_the_answer_to_starttls_is_not_believed() {
    for rule in [TlsRule::Opportunistic, TlsRule::Require] {
        fails_at_tls(rule, |mut peer| async move {
            peer.hello("STARTTLS").await;
            peer.expect("STARTTLS").await;
            // In one write: the second line is there when TLS begins.
            peer.say_at_once("220 go on\r\n250-mx.example\r\n250 PIPELINING\r\n").await;
            assert_eq!(peer.line().await, "", "no handshake, no command");
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused_where_it_is_verified() {
    let (mut world, certified) = (World::new(), certified());
    // Its certificate is for a.example.
    world.hosts = vec![host("b.example", &[B])];
    let acceptor = certified.acceptor.clone();
    world.serve(B, |peer| async move {
        let Ok(mut peer) = start_tls(peer, &acceptor).await else { return };
        peer.end().await;
    });
    let tls =
        policy(&world.hosts, TlsRule::Verify, false, Some(certified.authorities.path())).await.remove(0);
    let outcome = world.send_with(shipment(&["1@to.example"]), |_| tls.clone()).await.remove(0);
    assert_eq!((deferred(&outcome).kind, deferred(&outcome).status), (FailureKind::Tls, Status(4, 7, 5)));
    assert!(deferred(&outcome).text.contains("certificate"), "{outcome:?}");
    world.close().await;
}

#[tokio::test]
async fn a_password_goes_over_tls_from_the_start() {
    let (mut world, certified) = (World::new(), certified());
    world.hosts.truncate(1);
    world.implicit_tls = true;
    world.login = Some(Login { username: "user".into(), password: Secret::new("secret") });
    let acceptor = certified.acceptor.clone();
    world.serve(A, |peer| async move {
        let mut peer = peer.secure(&acceptor).await.unwrap();
        peer.hello("x;AUTH PLAIN").await;
        assert!(peer.line().await.starts_with("AUTH PLAIN "));
        peer.say("235 welcome").await;
        peer.take(&["1@to.example"]).await;
        peer.quit().await;
    });
    assert_sent(&[world.send_under(TlsRule::Verify, &certified).await]);
    world.close().await;
}

#[tokio::test]
async fn a_message_with_requiretls_goes_only_to_a_server_that_keeps_it() {
    for offers in ["REQUIRETLS", ""] {
        let (mut world, certified) = (World::new(), certified());
        world.hosts.truncate(1);
        let acceptor = certified.acceptor.clone();
        world.serve(A, move |peer| async move {
            let mut peer = start_tls(peer, &acceptor).await.unwrap();
            peer.expect("EHLO us.example").await;
            peer.offer(offers).await;
            if !offers.is_empty() {
                peer.exchange(&[
                    ("MAIL FROM:<s@from.example> REQUIRETLS", "250 ok"),
                    ("RCPT TO:<1@to.example>", "250 ok"),
                ])
                .await;
                peer.data().await;
                peer.say("250 ok").await;
            }
            peer.end().await;
        });
        let tls =
            policy(&world.hosts, TlsRule::Verify, true, Some(certified.authorities.path())).await.remove(0);
        let mut shipment = shipment(&["1@to.example"]);
        shipment.envelope.require_tls = true;
        let outcome = world.send_with(shipment, |_| tls.clone()).await.remove(0);
        if offers.is_empty() {
            assert_eq!(
                (failed(&outcome).kind, failed(&outcome).status),
                (FailureKind::Tls, Status(5, 7, 30))
            );
        } else {
            assert_sent(&[outcome]);
        }
        world.close().await;
    }
}
