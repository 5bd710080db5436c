//! Links that lead through this program: what the kernel cannot do to datagrams is done here, by lots drawn from a seed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use quorum_transport::testing::{Faults, Relay};

/// A relay for every connection that one node may dial to another; both directions pass through it.
#[derive(Debug)]
pub(crate) struct Relays(BTreeMap<(usize, usize), Relay>);

impl Relays {
    /// Relays at `hub` between nodes that listen at these addresses.
    pub(crate) async fn between(hub: Ipv4Addr, nodes: &[SocketAddr], seed: u64) -> Result<Self> {
        let mut relays = BTreeMap::new();
        for from in 0..nodes.len() {
            for to in (0..nodes.len()).filter(|to| *to != from) {
                let seed = seed.wrapping_add((from * nodes.len() + to) as u64);
                let relay = Relay::start_at(hub.into(), nodes[to], seed).await;
                relays.insert((from, to), relay.context("cannot start a relay")?);
            }
        }
        Ok(Self(relays))
    }

    /// Where `from` should believe `to` to be.
    pub(crate) fn address(&self, from: usize, to: usize) -> SocketAddr {
        self.0[&(from, to)].address()
    }

    /// What happens to datagrams of all links from now on.
    pub(crate) fn set(&self, faults: Faults) {
        self.0.values().for_each(|relay| relay.set(faults));
    }

    /// How many datagrams something was done to so far.
    pub(crate) fn harmed(&self) -> u64 {
        self.0.values().map(Relay::harmed).sum()
    }
}
