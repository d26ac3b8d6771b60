//! The files of the demo's data directory.
//!
//! | file | what |
//! |---|---|
//! | `ekitei.yaml` | the configuration, written once; yours to change |
//! | `certificate.pem`, `key.pem` | the certificate, written again when it is more than a year old |
//! | `admin-token` | the token of the admin API |
//! | `demo-passwords` | a line `address password` for each user |
//! | `store/`, `blobs/` | the mail |

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{DOMAIN, DemoUser, USERS};
use crate::cli::exit::{Context, Outcome};

/// When the certificate is made anew.
const CERTIFICATE_AGE: Duration = Duration::from_secs(365 * 86_400);
/// Letters that are not mistaken for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Where the files are.
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) token: PathBuf,
    pub(super) passwords: PathBuf,
}

impl Files {
    /// Writes what is missing.
    pub(super) fn prepare(data: &Path) -> Outcome<Self> {
        // The store and the bodies in it are mail: nobody else's to read.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).context(data.display())?;
        // The configuration must name the same files from wherever it is used.
        let data = data.canonicalize().context(data.display())?;
        let files = Self {
            config: data.join("ekitei.yaml"),
            token: data.join("admin-token"),
            passwords: data.join("demo-passwords"),
        };
        let (certificate, key) = (data.join("certificate.pem"), data.join("key.pem"));
        if !is_recent(&certificate) || !key.exists() {
            let (certificate_pem, key_pem) = self_signed()?;
            write_private(&key, &key_pem)?;
            write_private(&certificate, &certificate_pem)?;
        }
        if !files.token.exists() {
            write_private(&files.token, &random_text(40))?;
        }
        if !files.config.exists() {
            write_private(&files.config, &configuration(&data))?;
        }
        Ok(files)
    }

    /// The users with their passwords: `chosen`, or those of the last start, or new ones.
    pub(super) fn users(&self, chosen: Option<String>) -> Outcome<Vec<DemoUser>> {
        let kept = match std::fs::read_to_string(&self.passwords) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(self.passwords.display()),
        };
        let kept = |address: &str| {
            let lines = kept.lines().filter_map(|line| line.split_once(' '));
            lines.filter(|(name, _)| *name == address).map(|(_, password)| password.to_owned()).next()
        };
        let user = |name: &str| {
            let address = format!("{name}@{DOMAIN}");
            let password = chosen.clone().filter(|chosen| !chosen.is_empty());
            let password = password.or_else(|| kept(&address)).unwrap_or_else(|| random_text(16));
            DemoUser { address, password }
        };
        Ok(USERS.into_iter().map(user).collect())
    }

    /// Keeps the passwords for the next start.
    pub(super) fn keep_passwords(&self, users: &[DemoUser]) -> Outcome {
        let lines: String =
            users.iter().map(|user| format!("{} {}\n", user.address, user.password)).collect();
        write_private(&self.passwords, &lines)
    }
}

/// Writes a file that only its owner may read, in whole or not at all.
fn write_private(path: &Path, text: &str) -> Outcome {
    let new = path.with_extension("new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().context(path.display())
}

fn is_recent(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now().duration_since(modified).is_ok_and(|age| age < CERTIFICATE_AGE)
    })
}

/// A certificate for this machine and the demo's domain, and its key.
fn self_signed() -> Outcome<(String, String)> {
    let names = ["localhost", "127.0.0.1", "::1", DOMAIN, "mail.example.test"].map(str::to_owned);
    let mut parameters = rcgen::CertificateParams::new(names).context("the certificate")?;
    let year = this_year();
    parameters.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year + 3, 1, 1);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Ekitei demo");
    let key = rcgen::KeyPair::generate().context("the key of the certificate")?;
    let certificate = parameters.self_signed(&key).context("the certificate")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The year, near enough for the ends of a certificate.
fn this_year() -> i32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    1970 + i32::try_from(since.as_secs() / 31_556_952).unwrap_or(0)
}

fn random_text(length: usize) -> String {
    // 32 divides 256, so every letter is as likely as any other.
    (0..length).map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 32)])).collect()
}

/// The first configuration.
fn configuration(data: &Path) -> String {
    // A path is a JSON string here, which YAML reads as it is, whatever is in it.
    let path = |name: &str| serde_json::Value::from(data.join(name).to_string_lossy()).to_string();
    let token = serde_json::Value::from(format!("file:{}", data.join("admin-token").display())).to_string();
    let listeners: String = super::instructions::PORTS
        .iter()
        .map(|(protocol, port)| format!("  - protocol: {protocol}\n    address: 127.0.0.1:{port}\n"))
        .collect();
    format!(
        "# Written by `ekitei demo` on its first start; yours to change. Every key: ekitei config reference\n\
         hostname: mail.example.test\n\
         store:\n  kind: embedded\n  path: {store}\n\
         blobs:\n  path: {blobs}\n\
         tls:\n  certificates:\n    - certificate: {certificate}\n      key: {key}\n\
         listeners:\n{listeners}\
         admin:\n  token: {token}\n\
         # Mail for other domains waits in the queue, unless there is a smart host to hand it to.\n\
         relay:\n  direct: false\n  smartHost:\n    host: '${{EKITEI_DEMO_SMARTHOST:-}}'\n",
        store = path("store"),
        blobs = path("blobs"),
        certificate = path("certificate.pem"),
        key = path("key.pem"),
    )
}
