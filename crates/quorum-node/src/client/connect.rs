//! How nodes are connected to: a pool of kept-alive connections, over TCP or TLS.
//!
//! hyper is used as it is, because a measuring client must cost little, and because paths must
//! reach the node as they were built: a library that normalises URLs turns the key `..` into
//! another request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, Response};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::error::ClientError;
use super::url::{NodeUrl, NodeUrls};

/// How long a connection may take to be made before the next node is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an unused connection is kept: less than nodes keep theirs, so that a request does not
/// meet one that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// What a client has to know.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "whoever builds a client fills in all of it")]
pub struct ClientSettings {
    /// The nodes, in the order in which they are tried.
    pub urls: NodeUrls,
    /// The bearer token presented to them.
    pub token: Option<String>,
    /// PEM file with the roots that sign the nodes' HTTP certificates; left out, those of the system.
    pub ca: Option<PathBuf>,
    /// How long a node may take to answer, or to send the next part of an answer.
    pub timeout: Duration,
}

/// Kept-alive connections to nodes. Clones share them.
#[derive(Clone)]
pub(super) struct Connections {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

impl Connections {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let authorization = settings.token.as_deref().map(authorization).transpose()?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Ok(Self { client, authorization })
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        self.client.request(request).await
    }
}

fn authorization(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        ClientError::Settings { detail: "the token has characters that no header can carry".into() }
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(settings: &ClientSettings) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the versions built in");
    let config = match &settings.ca {
        Some(path) => builder.with_root_certificates(read_roots(path)?),
        // The system's roots take a while to read, and a container may have none.
        None if settings.urls.as_slice().iter().any(NodeUrl::is_secure) => {
            builder.with_native_roots().map_err(|error| ClientError::Settings {
                detail: format!("the system's root certificates: {error}; name a file with --ca"),
            })?
        }
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    Ok(config.with_no_client_auth())
}

fn read_roots(path: &PathBuf) -> Result<RootCertStore, ClientError> {
    let unusable = |detail: String| ClientError::Settings {
        detail: format!("cannot use {} as --ca: {detail}", path.display()),
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("it holds no certificate".into())) } else { Ok(roots) }
}
