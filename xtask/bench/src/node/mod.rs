//! quorum-node: places for its processes on loopback, [`mesh`]es of them, and a [`client`].

mod client;
mod mesh;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) use client::Client;
pub(crate) use mesh::Mesh;

use crate::process::{Server, free_ports};

/// A node's place: its files and its ports.
pub(crate) struct Place {
    program: PathBuf,
    folder: PathBuf,
    members: String,
    peer: String,
    http: String,
}

/// Places for `count` nodes in `folder`, with their certificates; nothing is started.
pub(crate) fn places(program: &Path, folder: &Path, count: usize) -> Result<Vec<Place>> {
    let made = Command::new(program)
        .args(["init", "--nodes", &count.to_string(), "--cluster-dir"])
        .arg(folder)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(made.status.success(), "init: {}", String::from_utf8_lossy(&made.stderr));
    let ports = free_ports(2 * count)?;
    let (peers, https) = ports.split_at(count);
    let name = |index: usize| format!("n{}", index + 1);
    let members: Vec<String> = peers
        .iter()
        .enumerate()
        .map(|(index, port)| format!("{}=127.0.0.1:{port}", name(index)))
        .collect();
    let place = |(index, (peer, http)): (usize, (&u16, &u16))| Place {
        program: program.to_owned(),
        folder: folder.join(name(index)),
        members: members.join(","),
        peer: format!("127.0.0.1:{peer}"),
        http: format!("127.0.0.1:{http}"),
    };
    Ok(peers.iter().zip(https).enumerate().map(place).collect())
}

impl Place {
    /// Starts the node with the defaults.
    pub(crate) fn start(&self) -> Result<Server> {
        Server::start(
            Command::new(&self.program)
                .arg("serve")
                .arg("--config")
                .arg(self.folder.join("quorum.toml"))
                .env("QUORUM_MEMBERS", &self.members)
                .env("QUORUM_PEER_LISTEN", &self.peer)
                .env("QUORUM_HTTP_LISTEN", &self.http),
            self.folder.join("log"),
        )
    }

    /// Where clients connect.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }
}
