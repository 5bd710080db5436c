//! Builds the released binary so that the same sources give the same bytes.
//!
//! Everything that differs between two machines and could reach the binary is taken out: the
//! paths of checkout, cargo home, toolchain and target directory, and the time.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// What every release on this machine shares.
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) triple: String,
    /// Seconds since 1970 of the last commit: the time that the release claims to be made.
    pub(crate) epoch: u64,
    sysroot: PathBuf,
}

impl Release {
    pub(crate) fn of_this_checkout() -> Result<Self> {
        let manifest = std::fs::read_to_string(process::root().join("Cargo.toml"))?;
        let version = crate::manifest::text_at(&manifest, &["workspace", "package", "version"])
            .context("Cargo.toml states no version")?;
        let rustc = process::output(&mut process::command("rustc", &["-vV"]))?;
        let triple = rustc
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc names no host")?
            .to_owned();
        let sysroot = process::output(&mut process::command("rustc", &["--print", "sysroot"]))?;
        Ok(Self { version, triple, epoch: epoch()?, sysroot: sysroot.trim().into() })
    }

    /// Name of the folder in the archive, and of the archive without its ending.
    pub(crate) fn name(&self) -> String {
        format!("quorum-node-{}-{}", self.version, self.triple)
    }

    /// Builds into `target` and returns where the binary is.
    pub(crate) fn build(&self, target: &Path) -> Result<PathBuf> {
        let maps = path_maps(&[
            (process::root(), "/quorum"),
            (&cargo_home()?, "/cargo"),
            (&self.sysroot, "/rust"),
            // After the checkout, which usually contains it: the last match wins.
            (target, "/target"),
        ]);
        let rust_flags: Vec<String> =
            maps.iter().map(|map| format!("--remap-path-prefix={map}")).collect();
        let mut c_flags: Vec<String> = std::env::var("CFLAGS").into_iter().collect();
        c_flags.extend(maps.iter().map(|map| format!("-ffile-prefix-map={map}")));
        let arguments = ["build", "--release", "--locked", "-p", "quorum-node", "--target-dir"];
        process::run(
            process::cargo(&arguments)
                .arg(target)
                .env("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\u{1f}"))
                .env("CFLAGS", c_flags.join(" "))
                .env("CARGO_INCREMENTAL", "0")
                .env("SOURCE_DATE_EPOCH", self.epoch.to_string()),
        )?;
        Ok(target.join("release/quorum-node"))
    }
}

fn path_maps(pairs: &[(&Path, &str)]) -> Vec<String> {
    pairs.iter().map(|(from, to)| format!("{}={to}", from.display())).collect()
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

/// `SOURCE_DATE_EPOCH` if a packager set it, else the last commit's time, else 0.
fn epoch() -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{given}`"));
    }
    let commit = process::output(&mut process::command("git", &["log", "-1", "--format=%ct"]));
    match commit {
        Ok(seconds) => seconds.trim().parse().context("git gave no time"),
        // A source archive has no history; zero is as good a constant as any.
        Err(_) => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_mapped_after_the_checkout_around_it() {
        let maps = path_maps(&[(Path::new("/a"), "/quorum"), (Path::new("/a/target"), "/target")]);
        assert_eq!(maps, ["/a=/quorum", "/a/target=/target"]);
    }
}
