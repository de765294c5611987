//! TLS on both listeners.

use std::path::PathBuf;
use std::sync::Arc;

use acclimate_serve::http::{Server, ServerConfig, TlsFiles};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::common::{Client, Films, Running, config};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn encrypted() -> ServerConfig {
    let mut config = config();
    config.tls = Some(TlsFiles { certificates: file("certificate.pem"), key: file("key.pem") });
    config.limits.head_ms = 300;
    config
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_answered() {
    let server = Running::start(encrypted());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("certificate.pem")).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let body = r#"{"items": [{"price": 3}]}"#;
    let request =
        format!("POST /v1/score HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"scores\":[15.0]"), "{answer}");
}

#[tokio::test]
async fn who_speaks_no_tls_or_says_nothing_is_closed() {
    let server = Running::start(encrypted());
    let mut plain = Client::to(server.address).await;
    plain.send(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let mut silent = Client::to(server.address).await;
    assert!(plain.try_reply().await.is_none());
    assert!(silent.closed().await);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    for (certificates, key) in [("key.pem", "key.pem"), ("certificate.pem", "certificate.pem"), ("absent.pem", "key.pem")] {
        let tls = Some(TlsFiles { certificates: file(certificates), key: file(key) });
        let error = Server::bind(ServerConfig { tls, ..config() }, Films::new()).unwrap_err().to_string();
        assert!(error.contains(".pem"), "{error}");
    }
}
