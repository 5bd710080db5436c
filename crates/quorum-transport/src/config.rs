//! Every timeout, size and count limit of the transport, with its default.

use std::time::Duration;

use crate::wire::codec::MESSAGE_BYTES_MAX;

/// The knobs of an [`Endpoint`](crate::Endpoint). The defaults suit a local network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// Longest first attempt at reaching a peer, from name lookup to its welcome; later ones in a row may take up to four times
    /// as long.
    pub dial_timeout: Duration,
    /// First delay before dialling again.
    pub redial_min: Duration,
    /// Longest delay before dialling again.
    pub redial_max: Duration,
    /// How long an inbound connection may take to finish its handshake and say Hello.
    pub handshake_timeout: Duration,
    /// Inbound handshakes under way at once; half of it unvalidated. Further attempts are refused.
    pub handshakes_max: usize,
    /// A connection on which nothing arrives for so long is dead.
    pub idle_timeout: Duration,
    /// How often the dialling side of an idle connection asks whether the other one is alive; well below `idle_timeout`.
    pub keep_alive: Duration,
    /// How often a link asks its peer for its clock and its frontier. With more than 12 peers less often, so that no more
    /// than 12 are asked in that time, down to a quarter.
    pub probe_interval: Duration,
    /// Largest frame taken from a peer, in bytes; 16 MiB is the most that is possible. Alike on all members: a record
    /// that does not fit into a frame here is not sent, and reported as refused by the peer, as too large.
    pub frame_bytes_max: usize,
    /// Largest batch handed to the store at once, in bytes.
    pub batch_bytes_max: usize,
    /// Live records queued for one peer, in bytes. Beyond it a peer is served from the log.
    pub live_queue_bytes_max: usize,
    /// Size of one read from the log for catch-up, in bytes.
    pub catch_up_chunk_bytes: usize,
    /// Catch-up traffic to one peer, in bytes a second; zero is unlimited.
    pub catch_up_bytes_per_second: u64,
    /// How often what peers hold is compared with what is held here; also done when a peer says something new.
    pub exchange_interval: Duration,
    /// Questions that may wait for one peer's answers.
    pub questions_max: usize,
    /// First delay before a record that a busy peer has put off is sent again.
    pub retry_min: Duration,
    /// Longest such delay.
    pub retry_max: Duration,
    /// Records that one peer may have put off at once before it is served in order only.
    pub retries_max: usize,
    /// Flow-control window of one stream, in bytes.
    pub stream_window_bytes: u32,
    /// Flow-control window of one connection, in bytes.
    pub connection_window_bytes: u32,
}

impl TransportConfig {
    /// How long after an answer a link asks again, on a node with so many peers.
    pub(crate) fn probe_pause(&self, peers: usize) -> Duration {
        const PEERS_PER_INTERVAL: u32 = 12;
        const LONGEST: u32 = 4;
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        let pause = self.probe_interval.saturating_mul(peers) / PEERS_PER_INTERVAL;
        pause.clamp(self.probe_interval, self.probe_interval.saturating_mul(LONGEST))
    }

    pub(crate) fn frame_limit(&self) -> usize {
        self.frame_bytes_max.min(MESSAGE_BYTES_MAX)
    }
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_millis(500),
            redial_min: Duration::from_millis(20),
            redial_max: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(3),
            handshakes_max: 64,
            idle_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_millis(2_500),
            probe_interval: Duration::from_secs(1),
            frame_bytes_max: 4 << 20,
            batch_bytes_max: 1 << 20,
            live_queue_bytes_max: 8 << 20,
            catch_up_chunk_bytes: 256 << 10,
            catch_up_bytes_per_second: 0,
            exchange_interval: Duration::from_secs(1),
            questions_max: 1024,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            retries_max: 1024,
            stream_window_bytes: 2 << 20,
            connection_window_bytes: 4 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_meshes_are_probed_less_often_within_limits() {
        let config = TransportConfig::default();
        let pauses = [1, 2, 12, 24, 36, 49, usize::MAX].map(|peers| config.probe_pause(peers));
        assert_eq!(pauses.map(|pause| pause.as_secs()), [1, 1, 1, 2, 3, 4, 4]);
    }
}
