//! Redis: a primary that syncs its log at every write, two replicas, and a wait for one of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;

use crate::process::{Server, free_ports};

pub(super) fn start(program: &Path, folder: &Path) -> Result<(Vec<Server>, Vec<String>)> {
    let ports = free_ports(3)?;
    let mut servers = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let data = folder.join(format!("r{index}"));
        std::fs::create_dir(&data)?;
        let mut command = Command::new(program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(["--dir"])
            .arg(&data);
        if index > 0 {
            command.args(["--replicaof", "127.0.0.1", &ports[0].to_string()]);
        }
        servers.push(Server::start(&mut command, folder.join(format!("r{index}.log")))?);
    }
    Ok((servers, vec![format!("127.0.0.1:{}", ports[0])]))
}

/// One connection.
pub(crate) struct Client {
    connection: MultiplexedConnection,
}

impl Client {
    pub(super) async fn connect(target: &str) -> Result<Self> {
        let client = redis::Client::open(format!("redis://{target}"))?;
        let connection = client.get_multiplexed_async_connection().await;
        Ok(Self { connection: connection.context("no connection")? })
    }

    pub(super) async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        let (replicas,): (u64,) = redis::pipe()
            .cmd("SET")
            .arg(key)
            .arg(value.as_ref())
            .ignore()
            .cmd("WAIT")
            .arg(1)
            .arg(10_000)
            .query_async(&mut self.connection)
            .await?;
        ensure!(replicas >= 1, "no replica has it");
        Ok(())
    }
}
