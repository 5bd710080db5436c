//! Path, parameters and headers of a request.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::http_request, bytes: 64 << 10, per_byte: 64);
