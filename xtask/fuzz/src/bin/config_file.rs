//! A configuration file, and the policies in it.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::config_file, bytes: 16 << 20, per_byte: 16 << 10);
