//! Recovery of a log whose files hold anything.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::log_of_any_bytes, bytes: 64 << 10, per_byte: 1024);
