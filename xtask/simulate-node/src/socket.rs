//! A node's UDP socket on the simulated network, which loses, repeats and damages packets.
//!
//! Delay, and with it reordering, and partitions are the simulated network's own; see `nemesis`.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use turmoil::net::UdpSocket;

use crate::trace::Trace;

/// Where every node listens.
pub(crate) const PORT: u16 = 7400;

/// Packets that a socket keeps for a node that is slow to take them; the kernel's buffer would be as full.
const INBOX_MAX: usize = 4096;
const PACKET_BYTES_MAX: usize = 65_535;

/// How the network treats packets, in thousandths of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) lost: u32,
    pub(crate) repeated: u32,
    pub(crate) damaged: u32,
}

/// What has been done to packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) damaged: u64,
}

/// The network that all sockets of a run share. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Network {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

struct State {
    random: StdRng,
    rates: Rates,
    done: Done,
}

impl Network {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let state = State { random, rates: Rates::default(), done: Done::default() };
        Self { state: Arc::new(Mutex::new(state)), trace }
    }

    pub(crate) fn set(&self, rates: Rates) {
        self.state.lock().rates = rates;
    }

    pub(crate) fn done(&self) -> Done {
        self.state.lock().done
    }

    /// What becomes of a packet: nothing, itself, itself twice, with a bit turned in any of them.
    fn treat(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        let State { random, rates, done } = &mut *self.state.lock();
        let mut hit = |rate: u32| rate > 0 && random.random_range(0..1000) < rate;
        if hit(rates.lost) {
            done.lost += 1;
            return Vec::new();
        }
        let (repeated, damaged) = (hit(rates.repeated), hit(rates.damaged));
        let mut packets = vec![packet.to_vec(); 1 + usize::from(repeated)];
        done.repeated += u64::from(repeated);
        if damaged && !packet.is_empty() {
            done.damaged += 1;
            let (which, bit) = (random.random_range(0..packets.len()), random.next_u32());
            let at = bit as usize / 8 % packet.len();
            packets[which][at] ^= 1 << (bit % 8);
        }
        packets
    }
}

/// One node's socket.
pub(crate) struct SimulatedSocket {
    socket: UdpSocket,
    address: SocketAddr,
    network: Network,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    packets: VecDeque<(Vec<u8>, SocketAddr)>,
    reader: Option<Waker>,
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimulatedSocket").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SimulatedSocket {
    /// Binds the socket of the host that this runs on, and starts the task that takes packets in; it ends with the host.
    pub(crate) async fn bind(address: SocketAddr, network: Network) -> io::Result<Arc<Self>> {
        let socket = UdpSocket::bind(("0.0.0.0", address.port())).await?;
        let socket = Arc::new(Self { socket, address, network, inbox: Mutex::default() });
        drop(tokio::spawn(Arc::clone(&socket).take_in()));
        Ok(socket)
    }

    async fn take_in(self: Arc<Self>) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer).await {
            let mut inbox = self.inbox.lock();
            if inbox.packets.len() < INBOX_MAX {
                inbox.packets.push_back((buffer[..length].to_vec(), from));
            }
            if let Some(reader) = inbox.reader.take() {
                reader.wake();
            }
        }
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for packet in transmit.contents.chunks(size) {
            self.network.trace.packet(self.address, transmit.destination, packet);
            for packet in self.network.treat(packet) {
                // Whoever cannot be reached does not get it: that is all a sender of UDP knows.
                let _unreachable = self.socket.try_send_to(&packet, transmit.destination);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.lock();
        let mut taken = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Some((packet, from)) = inbox.packets.pop_front() else { break };
            let length = packet.len().min(buffer.len());
            buffer[..length].copy_from_slice(&packet[..length]);
            *meta = RecvMeta {
                addr: from,
                len: length,
                stride: length,
                ecn: None,
                dst_ip: Some(self.address.ip()),
            };
            taken += 1;
        }
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        inbox.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
