//! A node to talk to, and the least of a client.

use std::net::SocketAddr;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use quorum_node::Config;
use quorum_node::local_mesh::LocalMesh;
use serde_json::Value;
use tempfile::TempDir;

/// A mesh that serves HTTP, and a client.
pub(crate) struct Fixture {
    pub(crate) mesh: LocalMesh,
    client: Client<HttpConnector, Body>,
    _directory: TempDir,
}

impl Fixture {
    /// One node that commits alone.
    pub(crate) async fn start() -> Self {
        Self::with(1, |_| {}).await
    }

    /// `count` nodes with other settings.
    pub(crate) async fn with(count: usize, adjust: impl Fn(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mesh = LocalMesh::start(count, directory.path(), adjust).await.expect("nodes start");
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { mesh, client, _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.mesh.http_addr(0).expect("a first node")
    }

    /// A request like `"PUT /v1/kv/ns/key"`.
    pub(crate) async fn ask(&self, line: &str, body: impl Into<Body>) -> Answer {
        self.ask_with(line, &[], body).await
    }

    /// The answer to a GET, whose body is still to come.
    pub(crate) async fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Response<hyper::body::Incoming> {
        let mut request = Request::get(format!("http://{}{path}", self.address()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        self.client.request(request).await.expect("an answer")
    }

    /// Stops all nodes in order.
    pub(crate) async fn stop(mut self) {
        self.mesh.stop_all().await;
    }

    /// A request with headers.
    pub(crate) async fn ask_with(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let uri = format!("http://{}{path}", self.address());
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        Answer::read(self.client.request(request).await.expect("an answer")).await
    }

    /// Writes a value that must be committed.
    pub(crate) async fn put(&self, path: &str, value: &'static [u8]) -> Value {
        let answer = self.ask(&format!("PUT /v1/kv/{path}"), value).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: hyper::Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a printable header"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The problem this must be, by status and the end of its type.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, slug: &str) -> Value {
        let json = self.json();
        assert_eq!(self.status.as_u16(), status, "{json}");
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(json["type"], format!("urn:quorum:problem:{slug}"), "{json}");
        assert_eq!(json["status"], status);
        assert!(json["title"].is_string() && json["detail"].is_string(), "{json}");
        json
    }
}

/// The names of the fields of an object.
pub(crate) fn fields(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}
