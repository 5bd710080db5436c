//! A client that tells apart what an operator must: answered, never sent, or sent and left without an answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What became of one request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Answer),
    /// Nobody accepted the connection.
    Refused,
    /// The connection broke before an answer came.
    Unanswered(String),
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a text")
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::Answered(answer) => answer,
            other => panic!("expected an answer, not {other:?}"),
        }
    }
}

pub(crate) async fn get(to: SocketAddr, path: &str) -> Outcome {
    send(to, Method::GET, path, &[], Bytes::new()).await
}

pub(crate) async fn put(to: SocketAddr, path: &str, value: impl Into<Bytes>) -> Outcome {
    send(to, Method::PUT, path, &[], value.into()).await
}

/// One request on a connection of its own.
pub(crate) async fn send(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Outcome {
    let Ok(stream) = TcpStream::connect(to).await else { return Outcome::Refused };
    match exchange(stream, to, method, path, headers, body).await {
        Ok(answer) => Outcome::Answered(answer),
        Err(error) => Outcome::Unanswered(error.to_string()),
    }
}

async fn exchange(
    stream: TcpStream,
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> hyper::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, to.to_string());
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = sender.send_request(request.body(Full::new(body)).expect("a request")).await;
    let answer = async {
        let (head, body) = response?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    let answer = answer.await;
    driver.abort();
    answer
}
