//! A node as a process of its own, written to over HTTP/1.1 as quorum-node is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use bytes::{BufMut, Bytes, BytesMut};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

use super::credentials::Credentials;
use super::node::{Broken, Node};

/// As long as quorum-node's receipt.
const ANSWER: &[u8] = &[b' '; 400];

/// Arguments of `skeleton-node`, with which the driver starts itself.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the other nodes reach it
    #[arg(long)]
    peer: SocketAddr,
    /// All others
    #[arg(long, value_delimiter = ',', num_args = 1)]
    others: Vec<SocketAddr>,
    /// Where clients reach it
    #[arg(long)]
    http: SocketAddr,
    /// Where the credentials are, and its log
    #[arg(long)]
    folder: PathBuf,
    /// The log's name
    #[arg(long)]
    log: String,
}

/// Serves until it is killed.
pub(crate) async fn serve(arguments: &Arguments) -> Result<()> {
    let credentials = Credentials::read(&arguments.folder)?;
    let log = arguments.folder.join(&arguments.log);
    let serving = LocalSet::new();
    let served = serving.run_until(async {
        let (node, broken) =
            Node::start(&log, arguments.peer, &arguments.others, &credentials).await?;
        listen(arguments.http, &node, broken).await
    });
    served.await
}

async fn listen(address: SocketAddr, node: &Rc<Node>, mut broken: Broken) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            why = broken.wait() => return Err(why),
        };
        stream.set_nodelay(true)?;
        let node = Rc::clone(node);
        let answer = service_fn(move |request| answer(Rc::clone(&node), request));
        spawn_local(async move {
            // The client ends the connection.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(node: Rc<Node>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let value = body.collect().await?.to_bytes();
    let record = record(parts.uri.path(), &value)?;
    Ok(match node.write(record).await {
        Ok(()) => Response::new(Full::new(Bytes::from_static(ANSWER))),
        Err(error) => {
            let mut answer = Response::new(Full::new(format!("{error:#}\n").into()));
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer
        }
    })
}

/// Lengths, key and value, as they are logged and sent.
fn record(key: &str, value: &[u8]) -> Result<Bytes> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| anyhow!("too long"));
    let mut record = BytesMut::with_capacity(8 + key.len() + value.len());
    record.put_u32_le(length(key.as_bytes())?);
    record.put_u32_le(length(value)?);
    record.put_slice(key.as_bytes());
    record.put_slice(value);
    Ok(record.freeze())
}
