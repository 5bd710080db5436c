//! The network between real processes: every direction of every pair has a relay of its own, which can be cut.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use quorum_transport::testing::{Faults, Relay};

use super::process::Cluster;

/// A relay for every connection that one member may dial to another. A link carries both directions of what its dialler
/// began, so a pair is cut by cutting both of its links.
#[derive(Debug)]
pub(crate) struct Wires {
    links: BTreeMap<(usize, usize), Relay>,
    members: usize,
}

impl Wires {
    /// Puts relays between the members of a cluster that has not been started yet.
    pub(crate) async fn between(cluster: &Cluster, seed: u64) -> Self {
        let members = cluster.nodes.len();
        let addresses: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.peer).collect();
        let mut links = BTreeMap::new();
        for from in 0..members {
            let file = cluster.nodes[from].config_file();
            let mut text = fs::read_to_string(&file).expect("a configuration");
            for to in (0..members).filter(|to| *to != from) {
                let relay = Relay::start(addresses[to], seed).await.expect("a relay");
                let (there, over) = (addresses[to], relay.address());
                text = text
                    .replace(&format!("address = \"{there}\""), &format!("address = \"{over}\""));
                links.insert((from, to), relay);
            }
            fs::write(&file, text).expect("a configuration");
        }
        Self { links, members }
    }

    /// Nothing passes between these two any more.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        for pair in [(one, other), (other, one)] {
            self.links[&pair].set(Faults::CUT);
        }
    }

    /// Nothing passes between this member and all others.
    pub(crate) fn isolate(&self, member: usize) {
        (0..self.members)
            .filter(|other| *other != member)
            .for_each(|other| self.cut(member, other));
    }

    /// Everything passes again.
    pub(crate) fn heal(&self) {
        self.links.values().for_each(|relay| relay.set(Faults::NONE));
    }
}
