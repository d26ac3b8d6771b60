//! Certificates in the store: set by the command line, used by the next handshake, while connections go on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::server::HOST;
use crate::support::{Server, Smtp, wait_until};

/// A client's connection, line by line.
struct Tls(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Tls {
    /// Connects to a port where TLS comes first; `None` if the certificate is not `trusted`, or not for `host`.
    fn connect(port: u16, trusted: &str, host: &str) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(Server::address(port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).ok()?;
        }
        Some(Self(BufReader::new(StreamOwned::new(session, socket))))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.line()
    }
}

/// Writes a certificate for `host` and its key to files; the certificate in PEM.
fn write_certificate(home: &Path, host: &str) -> String {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    std::fs::write(home.join("new.pem"), made.cert.pem()).unwrap();
    std::fs::write(home.join("new.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

#[test]
fn a_certificate_is_set_while_connections_go_on() {
    let server = Server::start();
    let port = server.ports.imaps;
    let file = std::fs::read_to_string(server.certificate()).unwrap();
    let mut before = Tls::connect(port, &file, HOST).unwrap();
    assert!(before.line().starts_with("* OK"));

    let new = write_certificate(server.home(), "mail.example.org");
    assert!(Tls::connect(port, &new, "mail.example.org").is_none());
    let set = "certificate set mail --certificate new.pem --key new.key";
    let shown = server.command(&format!("{set} --output json")).run().success().stdout;
    assert!(shown.contains("\"mail.example.org\"") && !shown.contains("PRIVATE"), "{shown}");
    wait_until("the new certificate", Duration::from_secs(2), || {
        Tls::connect(port, &new, "mail.example.org").is_some()
    });
    assert!(before.say("a NOOP").starts_with("a OK"), "the connection goes on");
    assert!(Tls::connect(port, &file, HOST).is_some(), "other hosts have theirs");

    let listed = server.command("certificate list").run().success().stdout;
    assert!(listed.contains("mail.example.org"), "{listed}");
    server.command("certificate set mail --certificate new.pem --key key.pem").run().failure(2);
    server.command("certificate remove mail").run().success();
    wait_until("the certificate to be gone", Duration::from_secs(2), || {
        Tls::connect(port, &new, "mail.example.org").is_none()
    });
    server.command("certificate show mail").run().failure(3);
}

#[test]
fn a_service_without_files_speaks_tls_once_a_certificate_is_stored() {
    let mut server = Server::builder().start_on(|home| {
        let path = home.join("ekitei.yaml");
        let yaml = std::fs::read_to_string(&path).unwrap();
        let without: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("tls:")).collect();
        std::fs::write(&path, without.join("\n")).unwrap();
    });
    let offers = |server: &Server| {
        let mut smtp = Smtp::connect(Server::address(server.ports.smtp)).unwrap();
        smtp.command("EHLO client.elsewhere.test").unwrap().text.contains("STARTTLS")
    };
    assert!(!offers(&server));
    let new = write_certificate(server.home(), HOST);
    assert!(Tls::connect(server.ports.imaps, &new, HOST).is_none(), "turned away");
    server.command("certificate set mx --certificate new.pem --key new.key").run().success();
    wait_until("STARTTLS", Duration::from_secs(2), || offers(&server));
    assert!(Tls::connect(server.ports.imaps, &new, HOST).is_some());

    server.kill();
    server.launch();
    assert!(offers(&server), "it is there from the start");
    assert!(Tls::connect(server.ports.imaps, &new, HOST).is_some());
}
