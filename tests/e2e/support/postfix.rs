//! Postfix as another organisation's mail server: an instance of its own, with its own queue, on a port of 127.0.0.1.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::program::skip;
use super::server::free_port;
use super::wait_until;

/// The name in its greeting.
pub const HOST: &str = "mx.elsewhere.test";
/// The domain it takes mail for, for any user.
pub const DOMAIN: &str = "elsewhere.test";

/// A running Postfix.
pub struct Postfix {
    /// Where it takes mail.
    pub port: u16,
    dir: TempDir,
    certificate: Vec<u8>,
}

/// Whether Postfix is installed and can be started; if not, the running test is reported as skipped.
pub fn available() -> bool {
    if !super::program::installed(&["postfix"]) {
        return false;
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    if !root {
        skip("Postfix can be started by root only");
    }
    root
}

impl Postfix {
    /// Starts it with additional lines for main.cf.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-postfix-").tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        fs::write(dir.path().join("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let postfix = Self { port: free_port(), dir, certificate: certified.cert.der().to_vec() };
        postfix.write_configuration(settings);
        postfix.start_up();
        postfix
    }

    fn start_up(&self) {
        self.control("start");
        wait_until("Postfix to listen", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    fn write_configuration(&self, settings: &[(&str, &str)]) {
        let dir = self.dir.path();
        // Its daemons are other users than the one who runs the tests.
        run(Command::new("chmod").arg("755").arg(dir));
        for folder in ["queue", "data", "mail", "config"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        run(Command::new("chown").arg("postfix").arg(dir.join("data")));
        run(Command::new("chown").arg("nobody:nogroup").arg(dir.join("mail")));
        let path = dir.display();
        let mut main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {path}/queue\n\
             data_directory = {path}/data\n\
             maillog_file = {path}/log\n\
             maillog_file_prefixes = {path}\n\
             myhostname = {HOST}\n\
             mydestination =\n\
             inet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\n\
             virtual_mailbox_domains = {DOMAIN}\n\
             virtual_mailbox_maps = static:{DOMAIN}/\n\
             virtual_mailbox_base = {path}/mail\n\
             virtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\n\
             virtual_mailbox_limit = 0\n\
             message_size_limit = 100000000\n\
             smtpd_tls_cert_file = {path}/cert.pem\n\
             smtpd_tls_key_file = {path}/key.pem\n\
             smtpd_tls_security_level = may\n\
             smtpd_tls_loglevel = 1\n\
             smtpd_client_connection_count_limit = 0\n\
             smtpd_client_connection_rate_limit = 0\n\
             smtpd_client_message_rate_limit = 0\n\
             smtpd_client_recipient_rate_limit = 0\n"
        );
        for (name, value) in settings {
            writeln!(main, "{name} = {value}").unwrap();
        }
        fs::write(dir.join("config/main.cf"), main).unwrap();
        fs::write(dir.join("config/master.cf"), self.services()).unwrap();
    }

    /// Debian's services, without chroot, on a port of ours.
    fn services(&self) -> String {
        let shipped = fs::read_to_string("/usr/share/postfix/master.cf.dist").unwrap();
        let mut services = String::new();
        for line in shipped.lines() {
            let mut fields: Vec<&str> = line.split_whitespace().collect();
            let is_service = fields.len() >= 8 && !line.starts_with(['#', ' ', '\t']);
            let own = format!("127.0.0.1:{}", self.port);
            if is_service {
                if fields[0] == "smtp" && fields[1] == "inet" {
                    fields[0] = &own;
                }
                fields[4] = "n";
                writeln!(services, "{}", fields.join("\t")).unwrap();
            } else {
                writeln!(services, "{line}").unwrap();
            }
        }
        services
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn control(&self, verb: &str) {
        run(Command::new("postfix").arg("-c").arg(self.config()).arg(verb));
    }

    /// Sets a line of main.cf, and starts the service anew: on a reload, open connections would keep what they know.
    pub fn set(&self, name: &str, value: &str) {
        run(Command::new("postconf").arg("-c").arg(self.config()).arg(format!("{name}={value}")));
        self.control("stop");
        self.start_up();
    }

    /// Sends a message from here, by the local submission.
    pub fn send(&self, from: &str, to: &str, message: &[u8]) {
        let home = self.dir.path();
        super::Program::new("/usr/sbin/sendmail", home)
            .arg("-C")
            .arg(self.config())
            .args(&format!("-i -f {from} {to}"))
            .stdin(message)
            .run()
            .success();
    }

    /// The messages that have arrived, for any user, whole.
    pub fn mail(&self) -> Vec<Vec<u8>> {
        let new = self.dir.path().join("mail").join(DOMAIN).join("new");
        let Ok(entries) = fs::read_dir(new) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// Waits until `count` messages have arrived, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Vec<u8>> {
        wait_until(&format!("{count} messages at Postfix"), limit, || self.mail().len() >= count);
        self.mail()
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("postfix").arg("-c").arg(self.config()).arg("abort").output();
        if std::thread::panicking() {
            eprintln!("Postfix's log:\n{}", self.log());
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
