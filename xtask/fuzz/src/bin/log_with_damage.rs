//! Recovery of a log after a power cut or damage.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::log_with_damage, bytes: 1 << 20, per_byte: 1024);
