//! A UDP relay between two nodes that misbehaves on purpose.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorum_core::Random;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

use crate::testing::SeededRandom;

/// Largest datagram on loopback.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// What a [`Relay`] does to datagrams, in both directions. Shares are percentages; nothing happens by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Faults {
    /// Share that is lost.
    pub lost_percent: u8,
    /// Share that arrives twice.
    pub duplicated_percent: u8,
    /// Share of which one byte is changed.
    pub corrupted_percent: u8,
    /// Share that is held back for up to [`late_by`](Self::late_by), behind those that follow.
    pub late_percent: u8,
    /// How long late ones are held back, at most.
    pub late_by: Duration,
    /// Delay of every datagram.
    pub delay: Duration,
    /// Nothing gets from the dialling side to the target.
    pub cut_forth: bool,
    /// Nothing gets back.
    pub cut_back: bool,
}

impl Faults {
    /// Both ways cut.
    pub const CUT: Self = Self { cut_forth: true, cut_back: true, ..Self::NONE };
    /// A perfect network.
    pub const NONE: Self = Self {
        lost_percent: 0,
        duplicated_percent: 0,
        corrupted_percent: 0,
        late_percent: 0,
        late_by: Duration::ZERO,
        delay: Duration::ZERO,
        cut_forth: false,
        cut_back: false,
    };
}

/// Stands where one node believes another to be. Ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    wire: Arc<Wire>,
    task: AbortHandle,
}

/// What both directions share.
#[derive(Debug)]
struct Wire {
    faults: Mutex<Faults>,
    random: SeededRandom,
    harmed: AtomicU64,
}

impl Relay {
    /// A relay on loopback to `target`. The same seed draws the same lots, in the order in which datagrams come.
    ///
    /// # Errors
    ///
    /// If no socket can be bound.
    pub async fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), target, seed).await
    }

    /// The same with an address of its own, from which both sides can be reached.
    ///
    /// # Errors
    ///
    /// If no socket can be bound there.
    pub async fn start_at(at: IpAddr, target: SocketAddr, seed: u64) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind((at, 0)).await?);
        let address = front.local_addr()?;
        let wire = Arc::new(Wire {
            faults: Mutex::new(Faults::NONE),
            random: SeededRandom::new(seed),
            harmed: AtomicU64::new(0),
        });
        let task = tokio::spawn(forth(front, target, Arc::clone(&wire))).abort_handle();
        Ok(Self { address, wire, task })
    }

    /// Where the dialling node should believe its peer to be.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to datagrams from now on.
    pub fn set(&self, faults: Faults) {
        *self.wire.faults.lock() = faults;
    }

    /// How many datagrams were lost, held back, doubled, changed or cut off so far.
    #[must_use]
    pub fn harmed(&self) -> u64 {
        self.wire.harmed.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From the dialling side to the target, each source through a socket of its own.
async fn forth(front: Arc<UdpSocket>, target: SocketAddr, wire: Arc<Wire>) {
    let mut sources: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut backs = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, source)) = front.recv_from(&mut datagram).await else { continue };
        let upstream = match sources.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let Ok(own) = front.local_addr() else { continue };
                let bound = UdpSocket::bind((own.ip(), 0)).await;
                let Ok(upstream) = bound.map(Arc::new) else { continue };
                let to_source =
                    back(Arc::clone(&upstream), Arc::clone(&front), source, Arc::clone(&wire));
                backs.spawn(to_source);
                new.insert(upstream)
            }
        };
        let faults = *wire.faults.lock();
        if faults.cut_forth {
            wire.harm();
        } else {
            wire.pass(&faults, &datagram[..length], upstream, target);
        }
    }
}

async fn back(
    upstream: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    source: SocketAddr,
    wire: Arc<Wire>,
) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, _)) = upstream.recv_from(&mut datagram).await else { continue };
        let faults = *wire.faults.lock();
        if faults.cut_back {
            wire.harm();
        } else {
            wire.pass(&faults, &datagram[..length], &front, source);
        }
    }
}

impl Wire {
    fn hits(&self, percent: u8) -> bool {
        percent > 0 && self.random.next_u64() % 100 < u64::from(percent)
    }

    fn harm(&self) {
        self.harmed.fetch_add(1, Ordering::Relaxed);
    }

    fn pass(&self, faults: &Faults, datagram: &[u8], out: &Arc<UdpSocket>, to: SocketAddr) {
        if self.hits(faults.lost_percent) {
            self.harm();
            return;
        }
        let copies = if self.hits(faults.duplicated_percent) {
            self.harm();
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut datagram = datagram.to_vec();
            if self.hits(faults.corrupted_percent) {
                let at = self.random.next_u64() as usize % datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= 1 << (self.random.next_u64() % 8);
                    self.harm();
                }
            }
            let mut delay = faults.delay;
            if self.hits(faults.late_percent) {
                let late_nanos = u64::try_from(faults.late_by.as_nanos()).unwrap_or(u64::MAX);
                delay += Duration::from_nanos(self.random.next_u64() % late_nanos.max(1));
            }
            if delay.is_zero() {
                // A full socket buffer loses the datagram, as networks do.
                let _lost = out.try_send_to(&datagram, to);
            } else {
                self.harm();
                let out = Arc::clone(out);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _lost = out.try_send_to(&datagram, to);
                });
            }
        }
    }
}
