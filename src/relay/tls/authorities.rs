//! The authorities whose certificates are trusted where a certificate must be valid.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Those of the file; without a file those of the system; without any there, those of Mozilla that are built in.
///
/// A file that cannot be read leaves nobody trusted, so that it is noticed.
pub(crate) fn load(file: Option<&Path>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    match file {
        Some(path) => {
            let certificates =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match certificates {
                Ok(certificates) => {
                    store.add_parsable_certificates(certificates);
                }
                Err(error) => tracing::error!(path = %path.display(), %error, "cannot read relay.caFile"),
            }
            if store.is_empty() {
                tracing::error!(path = %path.display(), "relay.caFile has no certificate: nothing can be verified");
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    Arc::new(store)
}
