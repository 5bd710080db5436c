//! Every message of the wire but the first.
#![no_main]

quorum_fuzz::target!(quorum_transport::testing::fuzzing::frame, bytes: 64 << 10, per_byte: 512);
