//! One node: its log, a link to each of the others, and one from each. Everything but the syncing happens on the
//! thread that starts it, which must run a `LocalSet`.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use bytes::Bytes;
use quinn::{Connection, Endpoint};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::credentials::{Credentials, NAME};
use super::link;
use super::log::Log;
use super::progress::Progress;

/// The logs of all nodes together.
const LOG_BYTES: u64 = 192 << 20;
/// How long the others may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an attempt at reaching one may take, and the pause before the next.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
const DIAL_AGAIN: Duration = Duration::from_millis(20);

/// A node that takes writes.
pub(super) struct Node {
    log: Rc<Log>,
    links: Vec<mpsc::UnboundedSender<Bytes>>,
    progress: Rc<RefCell<Progress<oneshot::Sender<()>>>>,
}

/// Says why a node has come to its end.
pub(super) struct Broken(mpsc::UnboundedReceiver<Error>);

impl Broken {
    pub(super) async fn wait(&mut self) -> Error {
        self.0.recv().await.unwrap_or_else(|| Error::msg("the node has ended"))
    }
}

impl Node {
    /// Returns once it reaches all others.
    pub(super) async fn start(
        log: &Path,
        listen: SocketAddr,
        others: &[SocketAddr],
        credentials: &Credentials,
    ) -> Result<(Rc<Self>, Broken)> {
        let log = Rc::new(Log::open(log, LOG_BYTES / (others.len() as u64 + 1))?);
        let endpoint = Endpoint::server(credentials.server()?, listen)
            .with_context(|| format!("{listen} cannot be listened on"))?;
        let client = credentials.client()?;
        let (tell, broken) = mpsc::unbounded_channel();
        let watched = Watched(tell);
        watched.spawn(accept(endpoint.clone(), Rc::clone(&log), watched.clone()));
        let progress = Rc::new(RefCell::new(Progress::new(others.len())));
        let mut links = Vec::new();
        for (index, &other) in others.iter().enumerate() {
            let connection = dial(&endpoint, client.clone(), other).await?;
            let (frames, acks) = connection.open_bi().await?;
            let (link, writes) = mpsc::unbounded_channel();
            watched.spawn(link::send(writes, frames));
            let heard = Rc::clone(&progress);
            let heard = move |acked| advance(&heard, |progress| progress.ack(index, acked));
            watched.spawn(link::hear_acks(acks, heard));
            links.push(link);
        }
        let mut synced = log.synced();
        let advancing = Rc::clone(&progress);
        watched.spawn(async move {
            loop {
                synced.changed().await.context("the log has failed")?;
                let synced = *synced.borrow_and_update();
                advance(&advancing, |progress| progress.sync(synced));
            }
        });
        Ok((Rc::new(Self { log, links, progress }), Broken(broken)))
    }

    /// Returns once a majority has synced it, this node among them.
    pub(super) async fn write(&self, write: Bytes) -> Result<()> {
        let (tell, told) = oneshot::channel();
        for link in &self.links {
            link.send(write.clone()).ok().context("a link is down")?;
        }
        let place = self.log.append(write)?;
        self.progress.borrow_mut().begin(place, tell);
        told.await.context("the node has ended")
    }
}

/// Notes something, and answers everybody whose write a majority has now.
fn advance(
    progress: &RefCell<Progress<oneshot::Sender<()>>>,
    note: impl FnOnce(&mut Progress<oneshot::Sender<()>>),
) {
    let mut progress = progress.borrow_mut();
    note(&mut progress);
    while let Some(waiting) = progress.done() {
        // Whoever has gone away meanwhile need not know.
        let _told = waiting.send(());
    }
}

/// Tasks that tell when they fail.
#[derive(Clone)]
struct Watched(mpsc::UnboundedSender<Error>);

impl Watched {
    fn spawn(&self, task: impl Future<Output = Result<()>> + 'static) {
        let tell = self.0.clone();
        spawn_local(async move {
            if let Err(error) = task.await {
                let _heard = tell.send(error);
            }
        });
    }
}

async fn dial(
    endpoint: &Endpoint,
    config: quinn::ClientConfig,
    other: SocketAddr,
) -> Result<Connection> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let connecting = endpoint.connect_with(config.clone(), other, NAME)?;
        match timeout(DIAL_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("{other} cannot be reached"));
            }
            Err(_) if Instant::now() >= deadline => {
                return Err(Error::msg(format!("{other} cannot be reached")));
            }
            _ => sleep(DIAL_AGAIN).await,
        }
    }
}

/// Takes the records of whoever connects.
async fn accept(endpoint: Endpoint, log: Rc<Log>, watched: Watched) -> Result<()> {
    while let Some(incoming) = endpoint.accept().await {
        let (log, inner) = (Rc::clone(&log), watched.clone());
        watched.spawn(async move {
            // An attempt that its maker has given up is made again.
            let Ok(connection) = incoming.await else { return Ok(()) };
            let (acks, frames) = connection.accept_bi().await?;
            let (appended, to_ack) = mpsc::unbounded_channel();
            inner.spawn(link::ack(to_ack, log.synced(), acks));
            link::take(frames, log, appended).await
        });
    }
    Ok(())
}
