//! The network of a mesh: a namespace for every node, a bridge between them, and faults on its links.
//!
//! The bridge is in the namespace of this program, where the clients are: links between nodes are forwarded by it, and
//! can be cut one by one and one way by one way; what clients send is not, so they always reach every node. All names
//! carry a slot, so several meshes live side by side.

use std::fmt::Write;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::program::{run, run_with};

/// A network without nodes in it. [`remove`](Self::remove) it; what is forgotten ends with the sandbox.
#[derive(Debug)]
pub(crate) struct Network {
    slot: u8,
    nodes: usize,
}

impl Network {
    /// Namespaces and links that are up.
    pub(crate) async fn make(slot: u8, nodes: usize) -> Result<Self> {
        let network = Self { slot, nodes };
        let bridge = network.bridge();
        let mut lines = format!(
            "link add {bridge} type bridge\naddr add {}/24 dev {bridge}\nlink set {bridge} up\n",
            network.hub()
        );
        for node in 0..nodes {
            let (space, port) = (network.namespace(node), network.port(node));
            writeln!(lines, "netns add {space}")?;
            writeln!(lines, "link add {port} type veth peer name eth0 netns {space}")?;
            writeln!(lines, "link set {port} master {bridge} up")?;
        }
        run_with("ip", &["-batch", "-"], &lines).await?;
        for node in 0..nodes {
            let address = network.address(node);
            let lines =
                format!("addr add {address}/24 dev eth0\nlink set eth0 up\nlink set lo up\n");
            network.inside(node, &["ip", "-batch", "-"], &lines).await?;
            // Or a whole batch of packets would be one to the filters, and vanish at once.
            let offload = ["ethtool", "-K", "eth0", "tx-udp-segmentation", "off"];
            network.inside(node, &offload, "").await?;
        }
        let table = network.table();
        let rules = format!(
            "add table bridge {table}\n\
             add chain bridge {table} links {{ type filter hook forward priority 0; }}\n"
        );
        run_with("nft", &["-f", "-"], &rules).await?;
        Ok(network)
    }

    pub(crate) async fn remove(self) -> Result<()> {
        run("nft", &["delete", "table", "bridge", &self.table()]).await?;
        let mut lines = format!("link del {}\n", self.bridge());
        for node in 0..self.nodes {
            // With its namespace it would go as well, but only some time later.
            writeln!(lines, "link del {}", self.port(node))?;
            writeln!(lines, "netns del {}", self.namespace(node))?;
        }
        run_with("ip", &["-batch", "-"], &lines).await?;
        Ok(())
    }

    /// Runs a program in a node's namespace. Unlike `ip netns exec` and `ip -n`, nsenter leaves the mounts alone: a
    /// second namespace of mounts would keep the disks of all nodes mounted while it is there.
    async fn inside(&self, node: usize, program: &[&str], input: &str) -> Result<String> {
        let entrance = self.entrance(node);
        run_with("nsenter", &[&[entrance.as_str(), "--"], program].concat(), input).await
    }

    /// How nsenter is told the namespace of a node.
    pub(crate) fn entrance(&self, node: usize) -> String {
        format!("--net=/run/netns/{}", self.namespace(node))
    }

    /// Where this program is.
    pub(crate) const fn hub(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.slot, 254)
    }

    pub(crate) fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.slot, u8::try_from(node + 1).expect("a few nodes"))
    }

    fn namespace(&self, node: usize) -> String {
        format!("m{}n{}", self.slot, node + 1)
    }

    fn port(&self, node: usize) -> String {
        format!("v{}n{}", self.slot, node + 1)
    }

    fn bridge(&self) -> String {
        format!("br{}", self.slot)
    }

    fn table(&self) -> String {
        format!("m{}", self.slot)
    }

    /// Drops everything from the first to the second of each pair.
    pub(crate) async fn cut(&self, pairs: &[(usize, usize)]) -> Result<()> {
        let mut rules = String::new();
        for (from, to) in pairs {
            let (from, to) = (self.port(*from), self.port(*to));
            writeln!(
                rules,
                "add rule bridge {} links iifname {from} oifname {to} counter drop",
                self.table()
            )?;
        }
        run_with("nft", &["-f", "-"], &rules).await.map(drop)
    }

    /// Drops a random share of everything. The kernel draws these lots; no seed repeats them.
    pub(crate) async fn lose(&self, percent: u64) -> Result<()> {
        let rule = format!(
            "add rule bridge {} links numgen random mod 100 < {percent} counter drop\n",
            self.table()
        );
        run_with("nft", &["-f", "-"], &rule).await.map(drop)
    }

    /// Lets everything pass again, and tells how many packets did not.
    pub(crate) async fn mend(&self) -> Result<u64> {
        let table = self.table();
        let listed = run("nft", &["-j", "list", "chain", "bridge", &table, "links"]).await?;
        run("nft", &["flush", "chain", "bridge", &table, "links"]).await?;
        dropped(&listed)
    }

    /// What a node sends goes through a bucket of so many kbit/s.
    pub(crate) async fn throttle(&self, node: usize, kbit: u64) -> Result<()> {
        let rate = format!("{kbit}kbit");
        let bucket = [
            "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "4kb",
            "latency", "100ms",
        ];
        self.inside(node, &bucket, "").await.map(drop)
    }

    /// Takes the bucket away, and tells how many packets were kept waiting in it or dropped by it.
    pub(crate) async fn unthrottle(&self, node: usize) -> Result<u64> {
        let show = ["tc", "-s", "-j", "qdisc", "show", "dev", "eth0"];
        let shown = self.inside(node, &show, "").await?;
        self.inside(node, &["tc", "qdisc", "del", "dev", "eth0", "root"], "").await?;
        let shown: Value = serde_json::from_str(&shown).context("tc's figures")?;
        let count = |field: &str| shown[0][field].as_u64().unwrap_or(0);
        Ok(count("overlimits") + count("drops"))
    }
}

/// The sum of all counters in a chain.
fn dropped(listed: &str) -> Result<u64> {
    let listed: Value = serde_json::from_str(listed).context("nft's list")?;
    let items = listed["nftables"].as_array().context("nft's list")?;
    let expressions = items.iter().filter_map(|item| item["rule"]["expr"].as_array()).flatten();
    Ok(expressions.filter_map(|it| it["counter"]["packets"].as_u64()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_rules_add_up() {
        let listed = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"chain": {"name": "links"}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 3, "bytes": 9}}, {"drop": null}]}},
            {"rule": {"expr": [{"counter": {"packets": 4, "bytes": 9}}, {"drop": null}]}}]}"#;
        assert_eq!(dropped(listed).expect("readable"), 7);
        assert!(dropped("{}").is_err());
    }
}
