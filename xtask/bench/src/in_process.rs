//! Three nodes in this process, each on a thread of its own, whose clients call it there: what is left when nothing
//! goes through HTTP.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::load::{self, Measured, Work};

/// How long all nodes may take until they reach each other.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node is there for the others after its own clients have gone.
const GRACE: Duration = Duration::from_millis(500);

/// How many clients work, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Clients in all, spread over the nodes.
    pub(crate) clients: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// What it takes to start one node on its thread.
pub(crate) trait Start: Send + 'static {
    type Node: Node;

    /// Returns once it reaches the others.
    async fn start(self) -> Result<Self::Node>;
}

/// One node, on its thread.
pub(crate) trait Node {
    type Client: Work + 'static;

    /// A client of it, by the client's number.
    fn client(&self, index: usize) -> Self::Client;
    /// Returns if it can go on no longer.
    async fn broken(&mut self) -> Error;
    async fn stop(self);
}

/// A node's thread says that it is ready, and is told to go on.
type Ready = oneshot::Sender<()>;

/// Measures. What the whole process uses counts.
pub(crate) fn measure<S: Start, const N: usize>(nodes: [S; N], plan: Plan) -> Result<Measured> {
    let (tell, told) = mpsc::channel::<Ready>();
    let mut threads = Vec::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let tell = tell.clone();
        let clients = (index..plan.clients).step_by(N);
        threads.push(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(async {
                let mut node = node.start().await?;
                let (go, gone) = oneshot::channel();
                tell.send(go).ok().context("nobody measures")?;
                gone.await.context("another node did not start")?;
                let clients = clients.map(|index| node.client(index)).collect();
                let measured = tokio::select! {
                    measured = work(clients, plan) => measured,
                    why = node.broken() => Err(why),
                };
                node.stop().await;
                measured
            }))
        }));
    }
    drop(tell);
    let ready: Result<Vec<Ready>, _> = (0..N).map(|_| told.recv_timeout(START_TIMEOUT)).collect();
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

async fn work<W: Work + 'static>(clients: Vec<W>, plan: Plan) -> Result<Option<Measured>> {
    let Plan { warmup, duration, .. } = plan;
    let measured = if clients.is_empty() {
        sleep(warmup + duration).await;
        None
    } else {
        Some(load::measure(clients, &[std::process::id()], warmup, duration).await?)
    };
    sleep(GRACE).await;
    Ok(measured)
}
