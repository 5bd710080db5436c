//! The promises of the store, a file for each.

mod behind;
mod changes;
mod damage;
mod directories;
mod harness;
mod kill;
mod log;
mod merging;
mod misplaced;
mod promises;
mod reading;
mod speed;
mod tombstones;
mod writes;
