//! The `quorum-node` program; everything it does is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Writes are many small allocations on several threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    quorum_node::cli::main()
}
