//! What the nodes of a skeleton prove to each other who they are with: one certificate that all of them share. What it
//! costs to send a record does not depend on that.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::{ClientConfig, ServerConfig, TransportConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

/// The name in the certificate.
pub(crate) const NAME: &str = "skeleton";
/// Idle connections say that they are alive; one that is silent for so long is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Credentials {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    pub(crate) fn generate() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
        Ok(Self { certificate: cert.der().to_vec(), key: signing_key.serialize_der() })
    }

    /// Into a folder that nobody else reads.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("certificate.der"), &self.certificate)?;
        Ok(fs::write(folder.join("key.der"), &self.key)?)
    }

    pub(super) fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| path.display().to_string())
        };
        Ok(Self { certificate: read("certificate.der")?, key: read("key.der")? })
    }

    /// Taking connections from whoever has them too.
    pub(crate) fn server(&self) -> Result<ServerConfig> {
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider.clone());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(vec![self.certificate()], self.key().into())?;
        let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(transport()?);
        Ok(config)
    }

    /// Connecting to whoever has them too.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(vec![self.certificate()], self.key().into())?;
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(transport()?);
        Ok(config)
    }

    fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate())?;
        Ok(Arc::new(roots))
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone().into()
    }

    fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        self.key.clone().into()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn transport() -> Result<Arc<TransportConfig>> {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?));
    Ok(Arc::new(transport))
}
