//! Who is let in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use hyper::Request;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use quorum_node::pki::secret_file::{Access, create};
use quorum_node::pki::{Authority, Validity};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::fixture::{Answer, Fixture};

const TOKEN: &str = "correct-horse-battery";

fn secret(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    create(&path, content, Access::Owner).expect("written");
    path
}

#[tokio::test]
async fn with_tokens_only_their_bearers_are_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let tokens = secret(directory.path(), "tokens", TOKEN);
    let node = Fixture::with(1, |config| config.http.tokens_file = Some(tokens.clone())).await;
    for line in
        ["PUT /v1/kv/ns/k", "GET /v1/kv/ns/k", "GET /metrics", "GET /v1/status", "GET /", "GET /x"]
    {
        let wrong = format!("Bearer {TOKEN}x");
        for headers in [&[][..], &[("authorization", wrong.as_str())], &[("authorization", TOKEN)]]
        {
            let answer = node.ask_with(line, headers, "v").await;
            answer.problem(401, "unauthorized");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{line}");
        }
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(node.ask(&format!("GET {path}"), "").await.status, 200, "{path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(node.ask_with("PUT /v1/kv/ns/k", &headers, "v").await.status, 200);
    // A page cannot know the token, so neither name nor origin matter any more.
    let proxied = [headers[0], ("host", "db.example.org"), ("origin", "https://example.org")];
    assert_eq!(node.ask_with("PUT /v1/kv/ns/k", &proxied, "v").await.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_away_from_an_open_interface() {
    let node = Fixture::start().await;
    let foreign = [("origin", "https://example.org")];
    node.ask_with("PUT /v1/kv/ns/k", &foreign, "v").await.problem(403, "foreign-origin");
    let bent = [("host", "example.org")];
    node.ask_with("GET /v1/kv/ns/k", &bent, "").await.problem(421, "foreign-host");
    let own = format!("http://{}", node.address());
    assert_eq!(node.ask_with("PUT /v1/kv/ns/k", &[("origin", &own)], "v").await.status, 200);
}

#[tokio::test]
async fn a_node_with_a_certificate_speaks_tls_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let validity = Validity::from_days(SystemTime::now(), 1).expect("a span");
    let authority = Authority::create("test", validity).expect("an authority");
    let credentials = authority.issue("db", validity).expect("a certificate");
    let certificate = directory.path().join("http.pem");
    fs::write(&certificate, &credentials.certificate_pem).expect("written");
    let key = secret(directory.path(), "http.key", &credentials.key_pem);
    let node = Fixture::with(1, |config| {
        config.http.tls_cert = Some(certificate.clone());
        config.http.tls_key = Some(key.clone());
    })
    .await;

    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes());
    roots.add(root.expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("db").expect("a name");
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .with_server_name_resolver(FixedServerNameResolver::new(name))
        .enable_http1()
        .build();
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let uri = format!("https://{}/v1/kv/ns/k", node.address());
    let put = Request::put(&uri).body(Body::from("v")).expect("a request");
    let answer = Answer::read(client.request(put).await.expect("an answer")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The certificate vouches for the host, whatever its name.
    let get = Request::get(&uri).header("host", "db.example.org").body(Body::empty());
    let answer = client.request(get.expect("a request")).await.expect("an answer");
    assert_eq!(Answer::read(answer).await.body.as_ref(), b"v");

    let plain: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/healthz", node.address());
    assert!(plain.get(uri.parse().expect("a URI")).await.is_err());
}
