//! TLS, from files in PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use super::ServeError;

/// The files that TLS needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate of the server, followed by those between it and a root.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads them.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, ServeError> {
        let certificates = CertificateDer::pem_file_iter(&self.certificates).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = certificates.map_err(|error| wrong("certificate file", &self.certificates, error.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong("private key file", &self.key, error.to_string()))?;
        let built = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
        let mut config =
            built.map_err(|error| wrong("certificate file", &self.certificates, format!("{error}; check that it belongs to the key")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn wrong(what: &'static str, path: &Path, problem: String) -> ServeError {
    ServeError::File { what, path: path.to_owned(), problem }
}
