//! Entries of the store, one by one.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::store_bytes, bytes: 16 << 10, per_byte: 64);
