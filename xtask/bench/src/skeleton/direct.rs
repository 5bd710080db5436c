//! The skeleton without HTTP: three nodes in this process, each on a thread of its own, whose clients call it there.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::credentials::Credentials;
use super::node::Node;
use crate::load::{self, Measured, Work};
use crate::process::free_ports;

/// How long all nodes may take until they reach each other.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node is there for the others after its own clients have gone.
const GRACE: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Clients in all, spread over the nodes.
    pub(crate) clients: usize,
    /// Records that are written together, as one entry.
    pub(crate) records: usize,
    pub(crate) record_bytes: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// A node's thread says that it is ready, and is told to go on.
type Ready = oneshot::Sender<()>;

/// Measures with logs in `folder`. What the whole process uses counts.
pub(crate) fn measure(folder: &Path, plan: Plan) -> Result<Measured> {
    let credentials = Credentials::generate()?;
    let addresses: Vec<SocketAddr> =
        free_ports(3)?.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let (tell, told) = mpsc::channel::<Ready>();
    let mut threads = Vec::new();
    for index in 0..3 {
        let others = [addresses[(index + 1) % 3], addresses[(index + 2) % 3]];
        let (listen, log) = (addresses[index], folder.join(format!("direct{index}")));
        let (credentials, tell) = (credentials.clone(), tell.clone());
        threads.push(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(async {
                let (node, mut broken) = Node::start(&log, listen, &others, &credentials).await?;
                let (go, gone) = oneshot::channel();
                tell.send(go).ok().context("nobody measures")?;
                gone.await.context("another node did not start")?;
                tokio::select! {
                    measured = work(&node, index, plan) => measured,
                    why = broken.wait() => Err(why),
                }
            }))
        }));
    }
    drop(tell);
    let ready: Result<Vec<Ready>, _> = (0..3).map(|_| told.recv_timeout(START_TIMEOUT)).collect();
    // Without all of them the others end as well, and say why.
    for node in ready.unwrap_or_default() {
        let _heard = node.send(());
    }
    let mut measured: Option<Measured> = None;
    for thread in threads {
        let one = thread.join().map_err(|_| anyhow!("a node panicked"))??;
        match (&mut measured, one) {
            (Some(all), Some(one)) => all.add(&one)?,
            (None, Some(one)) => measured = Some(one),
            (_, None) => {}
        }
    }
    measured.context("no client")
}

async fn work(node: &Rc<Node>, index: usize, plan: Plan) -> Result<Option<Measured>> {
    let Plan { clients, records, record_bytes, warmup, duration } = plan;
    let write = Bytes::from(vec![7; records * record_bytes]);
    let client =
        |_| Direct { node: Rc::clone(node), write: write.clone(), records: records as u64 };
    let clients: Vec<Direct> = (index..clients).step_by(3).map(client).collect();
    let measured = if clients.is_empty() {
        sleep(warmup + duration).await;
        None
    } else {
        Some(load::measure(clients, &[std::process::id()], warmup, duration).await?)
    };
    sleep(GRACE).await;
    Ok(measured)
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
