//! What a server's certificate is held against.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::dane::Dane;

/// What a certificate must show.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Nothing: the connection is encrypted, with whomever (RFC 7435).
    Nothing,
    /// That a trusted authority issued it for the name (RFC 6125).
    Authorities(Arc<RootCertStore>),
    /// That it is the published one.
    Dane(Arc<Dane>),
}

/// A verifier for one handshake.
#[derive(Debug)]
pub(crate) struct Verifier {
    check: Check,
    provider: Arc<CryptoProvider>,
    /// Where a failed check is noted instead of ending the handshake.
    observed: Option<Arc<Mutex<Option<Error>>>>,
}

impl Verifier {
    /// A verifier that refuses what does not pass.
    pub(crate) fn enforcing(check: Check) -> Self {
        Self { check, provider: provider(), observed: None }
    }

    /// A verifier that accepts everything and notes why it would have refused it.
    pub(crate) fn observing(check: Check, observed: Arc<Mutex<Option<Error>>>) -> Self {
        Self { check, provider: provider(), observed: Some(observed) }
    }

    /// A configuration for one handshake. Sessions are not resumed: the certificate is looked at each time.
    pub(crate) fn config(self) -> ClientConfig {
        let provider = Arc::clone(&self.provider);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config
    }

    /// The check alone.
    ///
    /// # Errors
    /// The certificate is not what it must be.
    pub(crate) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match &self.check {
            Check::Nothing => Ok(()),
            Check::Dane(dane) => dane.verify(end_entity, sent, now, algorithms),
            Check::Authorities(roots) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                verify_server_cert_signed_by_trust_anchor(&certificate, roots, sent, now, algorithms.all)?;
                verify_server_name(&certificate, name)
            }
        }
    }

    /// A signature proves nothing about a peer whose certificate is not looked at; old servers have certificates that cannot even be parsed (X.509
    /// version 1), and encryption is better than none.
    fn signature(
        &self,
        outcome: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match (&self.check, &self.observed) {
            (Check::Nothing, _) | (_, Some(_)) => Ok(HandshakeSignatureValid::assertion()),
            _ => outcome,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match (self.check(end_entity, intermediates, server_name, now), &self.observed) {
            (Ok(()), _) => Ok(ServerCertVerified::assertion()),
            (Err(error), None) => Err(error),
            (Err(error), Some(observed)) => {
                *observed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Ok(ServerCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.signature(verify_tls12_signature(message, certificate, signature, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.signature(verify_tls13_signature(message, certificate, signature, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The cryptography of the whole service.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
