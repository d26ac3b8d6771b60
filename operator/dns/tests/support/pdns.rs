//! PowerDNS with its HTTP API, over a database of its own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ekitei_operator_dns::Verifier;
use ekitei_operator_dns::provider::cloud::{Cloud, Settings};
use tempfile::TempDir;

use super::{free_port, name, program, skip, until_we_end, wait_until};

/// The key of the API.
pub const API_KEY: &str = "only-for-tests";
/// Where Debian's package has the tables of the database.
const SCHEMA: &str = "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql";

/// A running PowerDNS, which has zone `a.test`.
pub struct PowerDns {
    port: u16,
    api: u16,
    dir: TempDir,
    child: Child,
}

impl PowerDns {
    /// Starts it with these lines beside the apex of the zone; none if it is not installed.
    pub fn start(records: &str) -> Option<Self> {
        let (Some(server), Some(util)) = (program("pdns_server"), program("pdnsutil")) else {
            skip("not installed: pdns_server (apt-get install pdns-server pdns-backend-sqlite3)");
            return None;
        };
        let (Ok(schema), Some(sqlite)) = (schema(), program("sqlite3")) else {
            skip("not installed: sqlite3, or the tables of pdns-backend-sqlite3");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("ekitei-pdns-").tempdir().unwrap();
        let path = dir.path().display();
        let (port, api) = (free_port(), free_port());
        let configuration = format!(
            "launch=gsqlite3\ngsqlite3-database={path}/db\nlocal-address=127.0.0.1\nlocal-port={port}\nsocket-dir={path}\n\
             api=yes\napi-key={API_KEY}\nwebserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={api}\n\
             webserver-allow-from=127.0.0.1\ndefault-soa-content=ns1.@ admin.@ 0 3600 600 86400 60\n\
             query-cache-ttl=0\ncache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n"
        );
        fs::write(dir.path().join("pdns.conf"), configuration).unwrap();
        let mut database =
            Command::new(sqlite).arg(dir.path().join("db")).stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut database.stdin.take().unwrap(), schema.as_bytes()).unwrap();
        assert!(database.wait().unwrap().success());
        let zone = format!(
            "a.test. 300 IN SOA ns1.a.test. admin.a.test. 1 3600 600 86400 60\na.test. 300 IN NS ns1.a.test.\n\
             ns1.a.test. 300 IN A 127.0.0.1\n{records}\n"
        );
        fs::write(dir.path().join("zone"), zone).unwrap();
        let loaded = Command::new(util)
            .arg(format!("--config-dir={path}"))
            .args(["load-zone", "a.test"])
            .arg(dir.path().join("zone"))
            .output()
            .unwrap();
        assert!(loaded.status.success(), "{loaded:?}");
        let output = File::create(dir.path().join("output")).unwrap();
        let child = until_we_end(&server)
            .arg(format!("--config-dir={path}"))
            .args(["--daemon=no", "--guardian=no", "--disable-syslog", "--write-pid=no"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let started = Self { port, api, dir, child };
        wait_until("PowerDNS to answer", || TcpStream::connect(("127.0.0.1", api)).is_ok());
        Some(started)
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// A provider that uses its API, with this key.
    pub fn provider(&self, key: &str, verifier: Verifier) -> Cloud {
        let credentials =
            [("apiKey", key.to_owned()), ("endpoint", format!("http://127.0.0.1:{}", self.api))];
        let settings = Settings {
            provider: "pdns".to_owned(),
            credentials: credentials.map(|(field, value)| (field.to_owned(), value)).into(),
            zones: vec![name("a.test")],
            timeout: Duration::from_secs(10),
        };
        Cloud::new(&settings, verifier).unwrap()
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tables, as the package has them.
fn schema() -> std::io::Result<String> {
    fs::read_to_string(SCHEMA)
        .or_else(|_| fs::read_to_string("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"))
}

impl Drop for PowerDns {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("output")).unwrap_or_default();
            eprintln!("PowerDNS's log:\n{log}");
        }
    }
}
