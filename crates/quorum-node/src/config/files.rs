//! Looks at the files a configuration names: there, readable, owner-only, and what they should be.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::error::ConfigError;
use super::sections::Config;
use super::tokens::Tokens;
use crate::pki::describe::{Description, describe_der};
use crate::pki::secret_file::exposed_mode;

/// Checks that every file a configuration names can serve its purpose at the time `now`: the
/// node's certificate carries its name, is signed by a trusted root, is within its dates and
/// belongs to the key; secrets are readable by their owner alone.
///
/// The data directory is not looked at: the store creates it and says itself what is wrong.
///
/// # Errors
///
/// A [`ConfigError`] that names the key and the file.
pub fn check_files(config: &Config, now: SystemTime) -> Result<(), ConfigError> {
    check_peer_identity(config, now)?;
    let http = &config.http;
    if let (Some(cert), Some(key)) = (&http.tls_cert, &http.tls_key) {
        let (cert, key) = (File::new("http.tls_cert", cert), File::new("http.tls_key", key));
        let chain = cert.certificates()?;
        check_pair(chain, cert, key, &provider())?;
    }
    if let Some(tokens) = &http.tokens_file {
        let tokens = File::new("http.tokens_file", tokens);
        Tokens::parse(&tokens.secret()?).map_err(|error| tokens.wrong(error))?;
    }
    Ok(())
}

fn check_peer_identity(config: &Config, now: SystemTime) -> Result<(), ConfigError> {
    let tls = &config.tls;
    let ca = File::new("tls.ca", &tls.ca);
    let cert = File::new("tls.cert", &tls.cert);
    let key = File::new("tls.key", &tls.key);

    let provider = provider();
    let mut roots = RootCertStore::empty();
    for root in ca.certificates()? {
        roots.add(root).map_err(|error| ca.wrong(error))?;
    }
    let chain = cert.certificates()?;
    let leaf = describe_der(&chain[0]).map_err(|error| cert.wrong(error))?;
    let names = &leaf.names;
    let name = config.node.name.as_str();
    if names.first().is_none_or(|first| first != name) {
        return Err(ConfigError::ForeignCertificate {
            path: tls.cert.clone(),
            found: names.clone(),
            name: name.to_owned(),
        });
    }
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| ca.wrong(error))?
        .verify_client_cert(&chain[0], &chain[1..], UnixTime::since_unix_epoch(since_epoch))
        .map_err(|error| cert.wrong(reason(&error, &leaf)))?;
    check_pair(chain, cert, key, &provider)
}

/// Why peers would not accept a certificate, for whoever has to do something about it.
fn reason(error: &rustls::Error, leaf: &Description) -> String {
    let date = humantime::format_rfc3339_seconds;
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => "not signed by any root in tls.ca".into(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("expired on {}; run: quorum-node pki renew", date(leaf.not_after))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("counts only from {}; is this clock right?", date(leaf.not_before))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

fn check_pair(
    chain: Vec<CertificateDer<'static>>,
    cert: File<'_>,
    key: File<'_>,
    provider: &CryptoProvider,
) -> Result<(), ConfigError> {
    let secret = key.secret()?;
    let private_key =
        PrivateKeyDer::from_pem_slice(secret.as_bytes()).map_err(|error| key.wrong(error))?;
    CertifiedKey::from_der(chain, private_key, provider).map(drop).map_err(|error| {
        match error {
            rustls::Error::InconsistentKeys(_) => key.wrong(format!(
                "the key does not belong to the certificate of {}; if they were just renewed, try again",
                cert.key
            )),
            other => key.wrong(other),
        }
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A file, and the key that names it.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    key: &'static str,
    path: &'a Path,
}

impl<'a> File<'a> {
    const fn new(key: &'static str, path: &'a Path) -> Self {
        Self { key, path }
    }

    fn text(self) -> Result<String, ConfigError> {
        std::fs::read_to_string(self.path).map_err(|source| self.unreadable(source))
    }

    fn secret(self) -> Result<String, ConfigError> {
        match exposed_mode(self.path).map_err(|source| self.unreadable(source))? {
            Some(mode) => Err(ConfigError::Exposed { key: self.key, path: self.path.into(), mode }),
            None => self.text(),
        }
    }

    /// All certificates of a PEM file, at least one.
    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let text = self.text()?;
        let certificates = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.wrong(error))?;
        if certificates.is_empty() {
            return Err(self.wrong("holds no certificate"));
        }
        Ok(certificates)
    }

    fn unreadable(self, source: io::Error) -> ConfigError {
        ConfigError::File { key: self.key, path: self.path.into(), source }
    }

    fn wrong(self, detail: impl fmt::Display) -> ConfigError {
        ConfigError::Content { key: self.key, path: self.path.into(), detail: detail.to_string() }
    }
}
