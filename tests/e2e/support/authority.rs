//! A certificate authority of the tests, which nobody else trusts.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// An authority with the files that it wrote.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-authority-").tempdir().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(dir.path().join("authority.pem"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(parameters, key) }
    }

    /// Its certificate, in PEM: what trusts it reads this.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// A certificate of this authority for a server with these names.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let stem = names[0].clone();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        Identity::write(self.dir.path(), &stem, &certificate.pem(), &key.serialize_pem())
    }

    /// A certificate for this name that only its owner vouches for.
    pub fn self_signed(&self, name: &str) -> Identity {
        let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        Identity::write(self.dir.path(), &format!("self-signed-{name}"), &certificate, &key)
    }
}

impl Identity {
    fn write(dir: &Path, stem: &str, certificate: &str, key: &str) -> Self {
        let identity = Self {
            certificate: dir.join(format!("{stem}.cert.pem")),
            key: dir.join(format!("{stem}.key.pem")),
        };
        fs::write(&identity.certificate, certificate).unwrap();
        fs::write(&identity.key, key).unwrap();
        identity
    }
}
