//! What `import` reads.
#![no_main]

quorum_fuzz::target!(quorum_node::fuzzing::import_lines, bytes: 64 << 10, per_byte: 4096);
