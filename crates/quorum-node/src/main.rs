//! The `quorum-node` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorum_node::cli::main()
}
