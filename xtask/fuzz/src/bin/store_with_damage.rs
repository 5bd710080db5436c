//! A start on entries that went bad.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::store_with_damage, bytes: 16 << 20, per_byte: 64 << 10);
