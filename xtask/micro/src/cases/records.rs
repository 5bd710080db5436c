//! Records as clients write them: 300 bytes under one of a thousand keys.

use bytes::Bytes;
use quorum_core::{
    Digest, Dot, Durability, Epoch, Hlc, Incarnation, Lineage, Origin, PeerId, Record, WriteId,
};
use quorum_node::record::{Content, Key, Namespace, WriteOp};

/// Bytes of a value.
const VALUE_BYTES: usize = 300;
const KEYS: u64 = 1_000;
/// Coprime to [`KEYS`], so that all keys come up, none after its neighbour.
const STRIDE: u64 = 387;
/// The wall clock of everything here, in milliseconds since the Unix epoch: that of the core's manual clock.
const WALL_MILLIS: u64 = 1_700_000_000_000;

/// The lineage of a member's first start.
pub(crate) fn lineage(node: u64) -> Lineage {
    let origin = Origin { node: member(node), incarnation: Incarnation::from_bytes([9; 8]) };
    Lineage { origin, epoch: Epoch::new(1, 1) }
}

/// A member's name: `n1` and so on.
pub(crate) fn member(number: u64) -> PeerId {
    PeerId::new(format!("n{number}")).expect("a plain name")
}

/// The record that a member numbers `seq`.
pub(crate) fn record(node: u64, seq: u64) -> Record {
    record_of(node, seq, VALUE_BYTES)
}

/// The same with a value of so many bytes.
pub(crate) fn record_of(node: u64, seq: u64, value_bytes: usize) -> Record {
    let (namespace, key) = (namespace(), key(seq));
    let payload = Content { namespace, key, value: Some(value(seq, value_bytes)) }.encode();
    let dot = Dot { lineage: lineage(node), seq };
    let hlc = Hlc::from_u64(Hlc::from_millis(WALL_MILLIS).as_u64() + seq);
    Record::new(write_id(seq), dot, hlc, Durability::Fsync, payload)
}

/// The write of a client, the `number`th of all.
pub(crate) fn write(number: u64) -> WriteOp {
    WriteOp {
        namespace: namespace(),
        key: key(number),
        value: Some(value(number, VALUE_BYTES)),
        write_id: write_id(number),
        durability: Durability::Fsync,
        above: None,
        deadline: None,
    }
}

fn namespace() -> Namespace {
    Namespace::new("micro").expect("a plain name")
}

fn key(number: u64) -> Key {
    Key::new(format!("key-{:04}", number * STRIDE % KEYS)).expect("a short key")
}

/// Another one for every number.
fn value(number: u64, bytes: usize) -> Bytes {
    let mut value = vec![b'v'; bytes];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value.into()
}

/// Spread like random ones, and none that says when it was made.
fn write_id(number: u64) -> WriteId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::of(&number.to_be_bytes()).as_bytes()[..16]);
    bytes[6] = 0;
    WriteId::from_bytes(bytes)
}
