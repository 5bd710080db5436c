//! The skeleton without HTTP, called on its own thread.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Error, Result};
use bytes::Bytes;

use super::credentials::Credentials;
use super::node::{Broken, Node};
use crate::in_process::{self, Plan};
use crate::load::{Measured, Work};
use crate::process::free_ports;

/// What is written together, as one entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) records: usize,
    pub(crate) record_bytes: usize,
}

/// Measures three nodes with logs in `folder`.
pub(crate) fn measure(folder: &Path, entry: Entry, plan: Plan) -> Result<Measured> {
    let credentials = Credentials::generate()?;
    let addresses: Vec<SocketAddr> =
        free_ports(3)?.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let start = |index: usize| Start {
        log: folder.join(format!("direct{index}")),
        listen: addresses[index],
        others: [addresses[(index + 1) % 3], addresses[(index + 2) % 3]],
        credentials: credentials.clone(),
        entry,
    };
    in_process::measure([start(0), start(1), start(2)], plan)
}

struct Start {
    log: PathBuf,
    listen: SocketAddr,
    others: [SocketAddr; 2],
    credentials: Credentials,
    entry: Entry,
}

struct Running {
    node: Rc<Node>,
    broken: Broken,
    entry: Entry,
}

impl in_process::Start for Start {
    type Node = Running;

    async fn start(self) -> Result<Running> {
        let Self { log, listen, others, credentials, entry } = self;
        let (node, broken) = Node::start(&log, listen, &others, &credentials).await?;
        Ok(Running { node, broken, entry })
    }
}

impl in_process::Node for Running {
    type Client = Direct;

    fn client(&self, _index: usize) -> Direct {
        let Entry { records, record_bytes } = self.entry;
        let write = Bytes::from(vec![7; records * record_bytes]);
        Direct { node: Rc::clone(&self.node), write, records: records as u64 }
    }

    async fn broken(&mut self) -> Error {
        self.broken.wait().await
    }

    async fn stop(self) {}
}

/// Calls a node on its own thread.
struct Direct {
    node: Rc<Node>,
    write: Bytes,
    records: u64,
}

impl Work for Direct {
    async fn once(&mut self) -> Result<u64> {
        self.node.write(self.write.clone()).await?;
        Ok(self.records)
    }
}
