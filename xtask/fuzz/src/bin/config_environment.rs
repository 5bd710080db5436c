//! Environment variables over a sound file.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::config_environment, bytes: 16 << 20, per_byte: 16 << 10);
