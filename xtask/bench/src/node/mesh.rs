//! A mesh of running nodes, of any size, of which single ones can be stopped and started again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::{Place, places};
use crate::process::{self, Server};

/// How long a mesh may take to come up, and for each node more.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_TIMEOUT_EACH: Duration = Duration::from_secs(6);
/// How long one that holds much may take to start again.
const RESTART_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a node may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Running nodes. Dropping it kills them and removes their data.
pub(crate) struct Mesh {
    nodes: Vec<Node>,
    pub(crate) version: String,
    _directory: TempDir,
}

struct Node {
    place: Place,
    server: Option<Server>,
}

impl Mesh {
    /// Starts `count` nodes with their data below `parent`, and returns once all of them are ready and reach each other.
    pub(crate) async fn start(program: &Path, parent: &Path, count: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(parent)
            .with_context(|| format!("no directory can be made in {}", parent.display()))?;
        let mut mesh =
            Self { nodes: Vec::new(), version: process::version(program)?, _directory: directory };
        for place in places(program, mesh._directory.path(), count)? {
            let server = Some(place.start()?);
            mesh.nodes.push(Node { place, server });
        }
        let deadline = Instant::now() + START_TIMEOUT + START_TIMEOUT_EACH * count.try_into()?;
        for index in 0..count {
            mesh.until_reached(index, count, deadline).await?;
        }
        Ok(mesh)
    }

    pub(crate) const fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.server.as_ref()).map(Server::pid).collect()
    }

    /// One node's process.
    pub(crate) fn pid(&self, index: usize) -> Result<u32> {
        Ok(self.nodes[index].server.as_ref().context("the node is stopped")?.pid())
    }

    /// A client of its own connection.
    pub(crate) async fn client(&self, index: usize) -> Result<Client> {
        Client::connect(&self.nodes[index % self.nodes.len()].place.http).await
    }

    /// Bytes of a node's data directory.
    pub(crate) fn data_bytes(&self, index: usize) -> Result<u64> {
        bytes_below(&self.nodes[index].place.folder.join("data"))
    }

    /// Stops a node as an operator does.
    pub(crate) async fn stop(&mut self, index: usize) -> Result<()> {
        let server = self.nodes[index].server.take().context("the node is stopped")?;
        let status = server.stop(STOP_TIMEOUT).await?;
        ensure!(status.success(), "a node that was asked to stop ended with {status}");
        Ok(())
    }

    /// Kills a node.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].server = None;
    }

    /// Starts a node that was stopped, and tells how long it took until it was ready for writes.
    pub(crate) async fn start_again(&mut self, index: usize) -> Result<Duration> {
        let began = Instant::now();
        let node = &mut self.nodes[index];
        node.server = Some(node.place.start()?);
        self.until_ready(index, began + RESTART_TIMEOUT).await?;
        Ok(began.elapsed())
    }

    /// Returns once every node holds at least so many records. It is asked for much less than [`Mesh::converged`], and
    /// sees a record as soon as it is there.
    pub(crate) async fn hold(&mut self, records: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        for index in 0..self.nodes.len() {
            let mut client = self.client(index).await?;
            loop {
                let held = client.status().await?.records;
                if held >= records {
                    break;
                }
                let name = index + 1;
                ensure!(
                    Instant::now() < deadline,
                    "after {patience:?} n{name} holds {held} of {records} records"
                );
                self.check()?;
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Returns once every node holds what any other holds, and knows so from what the others have told it; tells when
    /// they began to say so.
    pub(crate) async fn converged(&mut self, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut clients = Vec::with_capacity(self.nodes.len());
        for index in 0..self.nodes.len() {
            clients.push(self.client(index).await?);
        }
        let mut asked = Instant::now();
        // What a node holds grows while others are asked: only a whole turn without a gap counts.
        let mut index = 0;
        while index < clients.len() {
            let peers = clients[index].peers().await?;
            match peers.iter().find(|peer| peer.missing_writes != Some(0)) {
                None => index += 1,
                Some(behind) if Instant::now() >= deadline => bail!(
                    "after {patience:?} n{} still says that {} lacks {:?} writes",
                    index + 1,
                    behind.node,
                    behind.missing_writes
                ),
                Some(_) => {
                    self.check()?;
                    sleep(LOOK_EVERY).await;
                    (asked, index) = (Instant::now(), 0);
                }
            }
        }
        Ok(asked)
    }

    /// An error if a node that should run has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.nodes.iter_mut().filter_map(|node| node.server.as_mut()).try_for_each(Server::check)
    }

    async fn until_reached(&mut self, index: usize, count: usize, deadline: Instant) -> Result<()> {
        self.until_ready(index, deadline).await?;
        let mut client = self.client(index).await?;
        loop {
            let reachable = client.status().await?.reachable;
            if reachable == count {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "n{} reaches {reachable} of {count} nodes only",
                index + 1
            );
            self.check()?;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn until_ready(&mut self, index: usize, deadline: Instant) -> Result<()> {
        loop {
            self.check()?;
            let ready = async { self.client(index).await?.ready().await };
            match ready.await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(format!("n{} does not become ready", index + 1)));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// Bytes of all files below a folder; one that goes away meanwhile does not count.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_below(&entry.path()).unwrap_or(0),
            Ok(metadata) => bytes += metadata.len(),
            Err(_) => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_folders_count_too() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("inner")).expect("a folder in it");
        fs::write(folder.path().join("one"), [0; 3]).expect("written");
        fs::write(folder.path().join("inner/two"), [0; 4]).expect("written");
        assert_eq!(bytes_below(folder.path()).expect("readable"), 7);
    }
}
