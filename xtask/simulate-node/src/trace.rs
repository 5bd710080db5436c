//! What a run has done, as one number: every packet with its time, its ends and its bytes, and every answer to a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The trace of one run. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    hash: Arc<Mutex<blake3::Hasher>>,
    packets: Arc<AtomicU64>,
    events: Arc<AtomicU64>,
}

impl Trace {
    /// A node has handed a packet to the network.
    pub(crate) fn packet(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.add(format_args!("{from}>{to}"), bytes);
    }

    /// Something else has happened. Returns its number: events are in the order of their numbers.
    pub(crate) fn event(&self, what: std::fmt::Arguments<'_>) -> u64 {
        tracing::debug!(target: "trace", "{what}");
        self.add(what, &[]);
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    fn add(&self, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        let at = turmoil::sim_elapsed().unwrap_or_default().as_nanos();
        let mut hash = self.hash.lock();
        hash.update(format!("{at} {what} {}\n", bytes.len()).as_bytes());
        hash.update(bytes);
    }

    /// Packets so far.
    pub(crate) fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// The number that stands for everything so far.
    pub(crate) fn digest(&self) -> String {
        self.hash.lock().finalize().to_hex()[..32].to_owned()
    }
}
