//! HTTP/1.1 over a connection that is kept, and made again if it was lost.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// To `host:port`.
    pub(crate) async fn to(host: &str) -> Result<Self> {
        Ok(Self { sender: connect(host).await?, host: host.to_owned() })
    }

    pub(crate) async fn put(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        self.ask(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Reads an answer of any length, of which `take` is shown one piece after the other.
    pub(crate) async fn download(&mut self, path: &str, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut body = self.send(Method::GET, path, Bytes::new()).await?.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(piece) = frame?.data_ref() {
                take(piece);
            }
        }
        Ok(())
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let answer = self.send(method, path, body).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    /// Returns an answer of success; one with several statuses is none.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        if self.sender.is_closed() {
            self.sender = connect(&self.host).await?;
        }
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host.as_str())
            .body(Full::new(body))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        if !status.is_success() || status == StatusCode::MULTI_STATUS {
            let body = answer.into_body().collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&body);
            bail!("{status}: {}", text.chars().take(500).collect::<String>());
        }
        Ok(answer)
    }
}

async fn connect(host: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream =
        TcpStream::connect(host).await.with_context(|| format!("no connection to {host}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
