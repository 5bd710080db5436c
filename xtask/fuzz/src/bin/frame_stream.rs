//! Frames out of a stream that comes in pieces.
#![no_main]

quorum_fuzz::target!(quorum_transport::testing::fuzzing::frame_stream, bytes: 4 << 10, per_byte: 64);
