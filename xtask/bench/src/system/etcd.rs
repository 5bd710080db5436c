//! etcd with its defaults, over its own gRPC interface. The few messages that are needed are written down here, so that no
//! protocol compiler is.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::process::{Server, free_ports};

pub(super) fn start(program: &Path, folder: &Path) -> Result<(Vec<Server>, Vec<String>)> {
    let ports = free_ports(6)?;
    let peer = |index: usize| format!("http://127.0.0.1:{}", ports[index]);
    let members: Vec<String> = (0..3).map(|index| format!("m{index}={}", peer(index))).collect();
    let (mut servers, mut targets) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let client = format!("127.0.0.1:{}", ports[3 + index]);
        let (name, url) = (format!("m{index}"), format!("http://{client}"));
        let server = Server::start(
            Command::new(program)
                .args(["--name", &name, "--initial-cluster", &members.join(",")])
                .args(["--listen-peer-urls", &peer(index)])
                .args(["--initial-advertise-peer-urls", &peer(index)])
                .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
                .args(["--log-level", "error", "--data-dir"])
                .arg(folder.join(&name)),
            folder.join(format!("{name}.log")),
        );
        servers.push(server?);
        targets.push(client);
    }
    Ok((servers, targets))
}

/// The node that says that it is the leader.
pub(super) async fn leader(targets: &[String]) -> Result<String> {
    for target in targets {
        let stream = TcpStream::connect(target).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get("/metrics").header(header::HOST, target.as_str());
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let text = answer.into_body().collect().await?.to_bytes();
        if String::from_utf8_lossy(&text).lines().any(|line| line == "etcd_server_is_leader 1") {
            return Ok(target.clone());
        }
    }
    anyhow::bail!("no node says that it is the leader")
}

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `etcdserverpb.PutResponse`: that it came is enough.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// One connection.
pub(crate) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    pub(super) async fn connect(target: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{target}"))?.tcp_nodelay(true);
        let channel = endpoint.connect().await.context("no connection")?;
        Ok(Self { grpc: Grpc::new(channel) })
    }

    pub(super) async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.grpc.ready().await?;
        let request = PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value };
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec = ProstCodec::<PutRequest, PutResponse>::default();
        self.grpc.unary(tonic::Request::new(request), path, codec).await?;
        Ok(())
    }
}
