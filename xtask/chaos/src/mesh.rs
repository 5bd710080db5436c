//! A mesh of real nodes from its first start to its last check.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, try_join_all};
use quorum_node::client::{Client, ClientSettings, ListQuery};
use quorum_node::record::Namespace;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::checker::{Finding, FindingKind, Held};
use crate::class::Wiring;
use crate::clients::{InHand, STRICT_PREFIX, Shared, Timeline, number};
use crate::life::Ground;
use crate::network::Network;
use crate::process::{Node, NodeParts, Under};
use crate::program::run;
use crate::relay::Relays;
use crate::schedule::Life;

const PEER_PORT: u16 = 7400;
const HTTP_PORT: u16 = 7480;
/// Beyond loopback a node wants one.
const TOKEN: &str = "chaos-chaos-chaos-chaos";
/// Longer than any verdict takes, so that only a node that is gone or held leaves a client without an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often it is looked whether all nodes hold the same.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Until a mesh meets for the first time.
const FIRST_MEETING: Duration = Duration::from_secs(60);

/// What every node of every mesh is set to beside its addresses: small, so that tables are written within a life. Tombstones
/// stay: each node purges them at a moment of its own, and its digest is another one until the others have done so, which is
/// minutes where a clock was ahead by minutes when a key was deleted.
const SETTINGS: &[&str] = &["store.memtable_bytes=1MiB", "repair.tombstone_grace=1h"];

#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) network: Network,
    pub(crate) relays: Option<Relays>,
    pub(crate) nodes: Vec<Mutex<Node>>,
    pub(crate) shared: Shared,
    program: PathBuf,
    directory: PathBuf,
}

impl Mesh {
    /// Network, disks and configurations. No node runs yet. [`end`](Self::end) it.
    pub(crate) async fn make(
        slot: u8,
        life: &Life,
        ground: &Ground,
        directory: PathBuf,
    ) -> Result<Self> {
        let program = ground.program.as_path();
        let network = Network::make(slot, life.nodes).await?;
        let listen = |port: u16| {
            let at = |node| SocketAddr::new(network.address(node).into(), port);
            (0..life.nodes).map(at).collect::<Vec<_>>()
        };
        let (peers, http) = (listen(PEER_PORT), listen(HTTP_PORT));
        let relays = match life.wiring {
            Wiring::Direct => None,
            Wiring::Relayed => Some(Relays::between(network.hub(), &peers, life.seed).await?),
        };
        let mut nodes = Vec::new();
        let mut authority = None;
        for (node, http) in http.iter().enumerate() {
            let members: Vec<SocketAddr> = (0..life.nodes)
                .map(|other| match &relays {
                    Some(relays) if other != node => relays.address(node, other),
                    _ => peers[other],
                })
                .collect();
            let home = directory.join(format!("n{}", node + 1));
            configure(program, &home, node, &members, authority.as_deref()).await?;
            authority.get_or_insert_with(|| home.join("ca"));
            let parts = NodeParts {
                name: format!("n{}", node + 1),
                program: program.to_owned(),
                entrance: network.entrance(node),
                settings: settings(&home, *http, &ground.settings),
                directory: home,
            };
            nodes.push(Mutex::new(Node::new(parts).await?));
        }
        let shared = Shared {
            client: client(&http)?,
            nodes: life.nodes,
            timeline: Timeline::begin(),
            in_hand: InHand::of(life.nodes),
            values: Arc::default(),
        };
        Ok(Self { network, relays, nodes, shared, program: program.to_owned(), directory })
    }

    /// Starts all nodes, and returns once they have met.
    pub(crate) async fn meet(&self) -> Result<()> {
        self.start_nodes(&(0..self.nodes.len()).collect::<Vec<_>>()).await?;
        match self.converged(FIRST_MEETING).await {
            Ok(_) => Ok(()),
            Err(finding) => bail!("the nodes do not meet: {finding}"),
        }
    }

    /// Starts these nodes at once.
    pub(crate) async fn start_nodes(&self, nodes: &[usize]) -> Result<()> {
        let starts = nodes
            .iter()
            .map(|node| async { self.nodes[*node].lock().await.start(&Under::Nothing).await });
        try_join_all(starts).await.map(drop)
    }

    /// Kills these nodes at once.
    pub(crate) async fn kill_nodes(&self, nodes: &[usize]) -> Result<()> {
        let kills = nodes.iter().map(|node| async { self.nodes[*node].lock().await.kill().await });
        try_join_all(kills).await.map(drop)
    }

    /// Names of nodes, for people.
    pub(crate) fn names(nodes: &[usize]) -> String {
        nodes.iter().map(|node| format!("n{}", node + 1)).collect::<Vec<_>>().join(" ")
    }

    pub(crate) async fn status(&self, node: usize, digest: bool) -> Option<Value> {
        self.shared.client.only(node).status(digest).await.ok()
    }

    /// Waits until every node is ready and all hold the same. If that takes longer than a bit, what was in the way comes
    /// along, in order.
    pub(crate) async fn converged(&self, limit: Duration) -> Result<Vec<String>, Finding> {
        let begun = Instant::now();
        let mut reasons: Vec<String> = Vec::new();
        loop {
            let asked = (0..self.nodes.len()).map(|node| self.status(node, true));
            let Some(reason) = differs(&join_all(asked).await) else { return Ok(reasons) };
            let after = begun.elapsed();
            if after > limit {
                let detail = format!("after {:.1} s: {reason}", after.as_secs_f64());
                return Err(Finding::new(FindingKind::Diverged, detail));
            }
            if reasons.last().is_none_or(|last| !last.ends_with(&reason)) {
                reasons.push(format!("{:.1} s: {reason}", after.as_secs_f64()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What every node holds of these namespaces.
    pub(crate) async fn held(&self, spaces: &[Namespace]) -> Result<Vec<Held>> {
        let asked = (0..self.nodes.len()).map(|node| async move {
            let client = self.shared.client.only(node);
            let mut held = Held::new();
            for space in spaces {
                let mut export = client.export(Some(space)).await?;
                let mut bytes = Vec::new();
                while let Some(chunk) = export.next().await? {
                    bytes.extend_from_slice(&chunk);
                }
                held.extend(exported(&bytes)?);
            }
            anyhow::Ok(held)
        });
        try_join_all(asked).await
    }

    /// Ends every node, looks into what each has left on its disk, and takes everything away.
    pub(crate) async fn end(self, verify: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for node in &self.nodes {
            let mut node = node.lock().await;
            node.kill().await?;
            if verify {
                let data = node.data_directory();
                let data = data.to_str().context("the sandbox's paths are text")?;
                let program = self.program.to_str().context("the program's path is no text")?;
                if let Err(error) = run(program, &["verify", "--data-dir", data]).await {
                    findings.push(Finding::new(FindingKind::Node, format!("{error:#}")));
                }
            }
            node.disk.unmount().await?;
        }
        self.network.remove().await?;
        fs::remove_dir_all(&self.directory)
            .with_context(|| self.directory.display().to_string())?;
        Ok(findings)
    }

    /// The version of every value in these namespaces, as each node has it: replicas may differ in nothing else.
    pub(crate) async fn versions(&self, spaces: &[Namespace]) -> Result<Vec<Value>> {
        let mut nodes = Vec::new();
        for node in 0..self.nodes.len() {
            let mut versions = Map::new();
            for space in spaces {
                let mut query = ListQuery::default();
                loop {
                    let page = self.shared.client.only(node).list(space, &query).await?;
                    for item in &page.items {
                        let key = item.key.as_deref().unwrap_or("?");
                        versions.insert(format!("{space}/{key}"), item.version.clone().into());
                    }
                    query.after = page.next.map(String::into_bytes);
                    if query.after.is_none() {
                        break;
                    }
                }
            }
            nodes.push(Value::Object(versions));
        }
        Ok(nodes)
    }

    /// Copies the logs to where they outlive the sandbox, and what the nodes say of themselves and of each other.
    pub(crate) async fn keep_logs(&self, to: &Path) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            node.lock().await.keep_log(to)?;
            let client = self.shared.client.only(index);
            let said = json!({
                "status": client.status(true).await.ok(),
                "peers": client.peers().await.ok(),
            });
            let file = to.join(format!("n{}.json", index + 1));
            fs::write(&file, serde_json::to_string_pretty(&said)?)
                .with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}

/// Why these are not the words of nodes that all hold the same, if they are not.
fn differs(statuses: &[Option<Value>]) -> Option<String> {
    let mut digests: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (node, status) in statuses.iter().enumerate() {
        let Some(status) = status else { return Some(format!("n{} does not answer", node + 1)) };
        if status["ready"] != Value::Bool(true) {
            return Some(format!("n{} is not ready: {}", node + 1, status["not_ready"]));
        }
        digests.entry(status["content_digest"].to_string()).or_default().push(node);
    }
    (digests.len() != 1).then(|| {
        let groups: Vec<String> = digests.values().map(|nodes| Mesh::names(nodes)).collect();
        format!("these hold different things: {}", groups.join(" | "))
    })
}

/// Records in lines of JSON.
fn exported(bytes: &[u8]) -> Result<Held> {
    let mut held = Held::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line)?;
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        let name =
            text("namespace").zip(text("key")).context("a record without text as its key")?;
        let value = match &record["value"] {
            Value::Null if record.get("value").is_some() => None,
            Value::String(value) => {
                Some(number(value.as_bytes()).with_context(|| format!("{name:?} is {value:?}"))?)
            }
            _ => bail!("{name:?} holds no text"),
        };
        held.insert(name, value);
    }
    Ok(held)
}

/// Writes a node's configuration and certificates.
async fn configure(
    program: &Path,
    home: &Path,
    node: usize,
    members: &[SocketAddr],
    authority: Option<&Path>,
) -> Result<()> {
    let mut arguments =
        vec!["init".to_owned(), "--config-dir".to_owned(), home.display().to_string()];
    arguments.extend(["--name".to_owned(), format!("n{}", node + 1)]);
    for (other, address) in members.iter().enumerate() {
        arguments.extend(["--member".to_owned(), format!("n{}={address}", other + 1)]);
    }
    if let Some(authority) = authority {
        arguments.extend(["--ca".to_owned(), authority.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(program.to_str().context("the program's path is no text")?, &arguments).await?;
    let file = home.join("quorum.toml");
    let strict = format!(
        "\n[[namespaces]]\nprefix = \"{STRICT_PREFIX}\"\nconsistency = \"linearizable\"\ndurability = \"fsync\"\n"
    );
    let text = fs::read_to_string(&file)? + &strict;
    fs::write(&file, text)?;
    let tokens = home.join("tokens");
    fs::write(&tokens, format!("{TOKEN}\n"))?;
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn settings(home: &Path, http: SocketAddr, more: &[&str]) -> Vec<String> {
    let path = |name: &str| home.join(name).display().to_string();
    let mut settings = vec![
        format!("http.listen={http}"),
        format!("http.tokens_file={}", path("tokens")),
        format!("node.data_dir={}", path("disk/data")),
    ];
    settings.extend(SETTINGS.iter().chain(more).map(|setting| (*setting).to_owned()));
    settings
}

fn client(http: &[SocketAddr]) -> Result<Client> {
    let urls: Vec<String> = http.iter().map(|address| format!("http://{address}")).collect();
    let settings = ClientSettings {
        urls: urls.join(",").parse()?,
        token: Some(TOKEN.to_owned()),
        ca: None,
        timeout: ANSWER_TIMEOUT,
    };
    Ok(Client::new(&settings)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(ready: bool, digest: &str) -> Option<Value> {
        Some(json!({ "ready": ready, "not_ready": ["disk"], "content_digest": digest }))
    }

    #[test]
    fn nodes_are_alike_once_all_are_ready_with_one_digest() {
        assert_eq!(differs(&[status(true, "a"), status(true, "a")]), None);
        let silent = differs(&[status(true, "a"), None]).expect("one is silent");
        assert!(silent.contains("n2 does not answer"), "{silent}");
        let disk = differs(&[status(false, "a"), status(true, "a")]).expect("one is not ready");
        assert!(disk.contains("n1 is not ready"), "{disk}");
        let split = differs(&[status(true, "a"), status(true, "b"), status(true, "a")]);
        assert!(split.expect("two groups").contains("n1 n3 | n2"));
    }

    #[test]
    fn an_export_is_read_with_its_tombstones_and_nothing_else() {
        let lines = b"{\"namespace\":\"a\",\"key\":\"k\",\"value\":\"7\"}\n{\"namespace\":\"a\",\"key\":\"l\",\"value\":null}\n";
        let held = exported(lines).expect("readable");
        let name = |key: &str| ("a".to_owned(), key.to_owned());
        assert_eq!(held, Held::from([(name("k"), Some(7)), (name("l"), None)]));
        assert!(exported(b"{\"namespace\":\"a\",\"key\":\"k\"}\n").is_err());
        assert!(exported(b"{\"namespace\":\"a\",\"key\":\"k\",\"value\":\"x\"}\n").is_err());
    }
}
