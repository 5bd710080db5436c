//! Sizes, quorums, tokens and addresses by themselves.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::config_value, bytes: 16 << 10, per_byte: 64);
