//! The randomness of QUIC itself, drawn from a seam: connection ids, keys of resets and tokens, and the jitter of the
//! protocol.
//!
//! Only a simulation uses it. Without it, quinn takes all of this from the machine.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hkdf;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, ServerConfig};
use quorum_core::{Clock, Random};

/// Length of the connection ids that a node gives itself: as long as quinn's own.
const ID_BYTES: usize = 8;
/// Length of the id that a dialling node makes up for the other side.
const FIRST_ID_BYTES: usize = 20;
const TAG_BYTES: usize = 32;

/// How the endpoint numbers connections and answers packets of unknown ones.
pub(crate) fn endpoint(random: &Arc<dyn Random>) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey(bytes(&**random))));
    config.rng_seed(Some(bytes(&**random)));
    let random = Arc::clone(random);
    config.cid_generator(move || Box::new(Ids { random: Arc::clone(&random) }));
    config
}

/// How tokens are sealed, and by which clock they age.
pub(crate) fn server(config: &mut ServerConfig, random: &dyn Random, clock: &Arc<dyn Clock>) {
    let master = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&bytes::<TAG_BYTES>(random));
    config.token_key(Arc::new(master)).time_source(Arc::new(Wall(Arc::clone(clock))));
}

/// Which id a dialling node makes up for the other side.
pub(crate) fn client(config: &mut ClientConfig, random: &Arc<dyn Random>) {
    let random = Arc::clone(random);
    let first = move || ConnectionId::new(&bytes::<FIRST_ID_BYTES>(&*random));
    config.initial_dst_cid_provider(Arc::new(first));
}

fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next_u64().to_le_bytes()[..chunk.len()]);
    }
    bytes
}

struct Ids {
    random: Arc<dyn Random>,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&bytes::<ID_BYTES>(&*self.random))
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Signs what tells a peer that a connection is unknown here.
struct ResetKey([u8; TAG_BYTES]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        TAG_BYTES
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let is_ours = blake3::keyed_hash(&self.0, data).as_bytes() == signature;
        is_ours.then_some(()).ok_or(CryptoError)
    }
}

struct Wall(Arc<dyn Clock>);

impl quinn::TimeSource for Wall {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0.wall()
    }
}
