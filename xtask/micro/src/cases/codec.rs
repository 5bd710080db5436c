//! The wire: a record into the frame that is sent to every peer, and out of it.

use std::hint::black_box;
use std::sync::Arc;

use quorum_core::Incoming;
use quorum_transport::testing::by_hand::{item, read_item};

use super::records::record_of;
use crate::case::{Case, Repeat, each};

pub(crate) const CASES: &[Case] = &[
    Case::counted("codec/encode-300-bytes", 1_000, || encode(300)),
    Case::counted("codec/decode-300-bytes", 1_000, || decode(300)),
    Case::counted("codec/encode-64-kib", 100, || encode(64 << 10)),
    Case::counted("codec/decode-64-kib", 100, || decode(64 << 10)),
];

fn incoming(value_bytes: usize) -> Incoming {
    let record = Some(Arc::new(record_of(1, 1_000_000, value_bytes)));
    Incoming { record, ..Incoming::default() }
}

fn encode(value_bytes: usize) -> Repeat {
    let incoming = incoming(value_bytes);
    each(move || item(black_box(&incoming)))
}

fn decode(value_bytes: usize) -> Repeat {
    let incoming = incoming(value_bytes);
    let frame = item(&incoming);
    assert_eq!(read_item(&frame), Some(incoming), "what was encoded");
    each(move || read_item(black_box(&frame)))
}
