//! The promises of the store, a file for each.

mod harness;

mod writes;
