//! The body of a batch of writes.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::http_batch, bytes: 64 << 10, per_byte: 1024);
