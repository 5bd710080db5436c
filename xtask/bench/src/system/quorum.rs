//! quorum-node with its defaults, over HTTP with connections that are kept.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::free_ports;
use super::process::Server;

pub(super) fn start(program: &Path, folder: &Path) -> Result<(Vec<Server>, Vec<String>)> {
    let made = Command::new(program).arg("init").arg("--cluster-dir").arg(folder).output()?;
    ensure!(made.status.success(), "init: {}", String::from_utf8_lossy(&made.stderr));
    let ports = free_ports(6)?;
    let members: Vec<String> =
        (0..3).map(|index| format!("n{}=127.0.0.1:{}", index + 1, ports[index])).collect();
    let (mut servers, mut targets) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let name = format!("n{}", index + 1);
        let http = format!("127.0.0.1:{}", ports[3 + index]);
        let server = Server::start(
            Command::new(program)
                .arg("serve")
                .arg("--config")
                .arg(folder.join(&name).join("quorum.toml"))
                .env("QUORUM_MEMBERS", members.join(","))
                .env("QUORUM_PEER_LISTEN", format!("127.0.0.1:{}", ports[index]))
                .env("QUORUM_HTTP_LISTEN", &http),
            folder.join(format!("{name}.log")),
        );
        servers.push(server?);
        targets.push(http);
    }
    Ok((servers, targets))
}

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    pub(super) async fn connect(target: &str) -> Result<Self> {
        let stream = TcpStream::connect(target).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: target.to_owned() })
    }

    pub(super) async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.sender.ready().await?;
        let request = Request::put(format!("/v1/kv/bench/{key}"))
            .header(header::HOST, self.host.as_str())
            .body(Full::new(value))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}
