//! NATS JetStream: a key-value bucket with three replicas.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use async_nats::jetstream;
use async_nats::jetstream::kv::{Config, Store};
use bytes::Bytes;

use crate::process::{Server, free_ports};

const BUCKET: &str = "bench";

pub(super) fn start(
    program: &Path,
    folder: &Path,
    synced: bool,
) -> Result<(Vec<Server>, Vec<String>)> {
    let ports = free_ports(6)?;
    let routes: Vec<String> =
        ports[..3].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let (mut servers, mut targets) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let (name, client) = (format!("n{index}"), format!("127.0.0.1:{}", ports[3 + index]));
        let store = folder.join(&name);
        let sync = if synced { "sync_interval: always" } else { "" };
        let config = format!(
            "server_name: {name}\nlisten: {client}\n\
             jetstream {{ store_dir: {store:?}\n {sync} }}\n\
             cluster {{ name: bench, listen: 127.0.0.1:{}, routes: [{}] }}\n",
            ports[index],
            routes.join(", ")
        );
        let file = folder.join(format!("{name}.conf"));
        fs::write(&file, config)?;
        let log = folder.join(format!("{name}.log"));
        servers.push(Server::start(Command::new(program).arg("-c").arg(file), log)?);
        targets.push(client);
    }
    Ok((servers, targets))
}

/// One connection.
pub(crate) struct Client {
    store: Store,
}

impl Client {
    pub(super) async fn connect(target: &str) -> Result<Self> {
        let connection = async_nats::connect(target).await.context("no connection")?;
        let jetstream = jetstream::new(connection);
        let store = match jetstream.get_key_value(BUCKET).await {
            Ok(store) => store,
            Err(_) => {
                let bucket = Config {
                    bucket: BUCKET.into(),
                    num_replicas: 3,
                    history: 1,
                    ..Config::default()
                };
                jetstream.create_key_value(bucket).await.context("no bucket")?
            }
        };
        Ok(Self { store })
    }

    pub(super) async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.store.put(key, value).await?;
        Ok(())
    }
}
