//! A member's first word, and whether it is let in.
#![no_main]

quorum_fuzz::target!(quorum_transport::testing::fuzzing::hello, bytes: 64 << 10, per_byte: 512);
