//! Where everything happens: namespaces of our own for processes, mounts and the network.
//!
//! This program starts itself again inside of them. When it ends there, for whatever reason, the kernel takes every
//! process, mount, loop device and network interface away that was made: nothing has to be cleaned up, and nothing can
//! be forgotten. `SIGKILL` to the outermost process ends it just as well.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::run;

/// Set inside.
const INSIDE: &str = "QUORUM_CHAOS_SANDBOX";
/// In memory, and only seen from inside.
const SCRATCH: &str = "/run/quorum-chaos";

pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Becomes this program inside of a sandbox; returns only if that does not work.
pub(crate) fn enter() -> Result<Infallible> {
    let own = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--ipc",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
    ]);
    // The first process of a namespace takes in orphans, and a shell also buries them.
    command.args(["--", "sh", "-c", "\"$0\" \"$@\"; exit $?"]);
    command.arg(own).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Err(command.exec()).context("cannot start `unshare`")
}

/// Makes the inside habitable, and tells where files may lie.
pub(crate) async fn furnish() -> Result<PathBuf> {
    // Names of network namespaces and everything that nodes write; none of it is seen outside.
    for place in ["/run", "/dev/shm"] {
        run("mount", &["-t", "tmpfs", "-o", "size=16g", "tmpfs", place]).await?;
    }
    fs::create_dir_all(SCRATCH)?;
    run("ip", &["link", "set", "lo", "up"]).await?;
    Ok(SCRATCH.into())
}
