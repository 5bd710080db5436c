//! `cargo xtask dist`: the archive that people download, checked by running what is in it.
//!
//! `dist/quorum-node-<version>-<host>.tar.gz` holds the binary and everything an installation
//! needs; `dist/SHA256SUMS` its checksum. Given the same sources and tools, the bytes are the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::release::Release;

const CHECK_FLAG: &str = "--check-reproducible";
const DOCUMENTS: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"];
const COMPLETIONS: &[(&str, &str)] =
    &[("bash", "quorum-node.bash"), ("fish", "quorum-node.fish"), ("zsh", "_quorum-node")];
const PACKAGING: &str = "crates/quorum-node/packaging";
const CONFIG_PAGE: &str = "docs/config.md";
const DEMO_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let twice = match arguments {
        [] => false,
        [flag] if flag == CHECK_FLAG => true,
        _ => bail!("dist takes nothing but {CHECK_FLAG}"),
    };
    let release = Release::of_this_checkout()?;
    let dist = process::root().join("dist");
    fs::create_dir_all(&dist)?;
    let archive = pack(&release, &process::target_directory().join("dist-build"), &dist)?;
    smoke_run(&release, &archive)?;
    let sums = checksum(&archive)?;
    fs::write(dist.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    if twice {
        let again = process::target_directory().join("dist-check");
        remove(&again)?;
        let second = checksum(&pack(&release, &again, &again)?)?;
        if second != sums {
            bail!("a second build gave other bytes: {}", second.trim());
        }
        remove(&again)?;
        println!("a second, clean build gave the same bytes");
    }
    Ok(())
}

/// Builds in `target`, assembles the folder there and writes its archive into `into`.
fn pack(release: &Release, target: &Path, into: &Path) -> Result<PathBuf> {
    let binary = release.build(target)?;
    let stage = target.join("stage");
    remove(&stage)?;
    let folder = stage.join(release.name());
    assemble(&binary, &folder)?;
    let archive = into.join(format!("{}.tar.gz", release.name()));
    compress(release, &stage, &archive)?;
    Ok(archive)
}

fn assemble(binary: &Path, folder: &Path) -> Result<()> {
    let root = process::root();
    copy(binary, &folder.join("quorum-node"))?;
    for name in DOCUMENTS {
        copy(&root.join(name), &folder.join(name))?;
    }
    if root.join(CONFIG_PAGE).exists() {
        copy(&root.join(CONFIG_PAGE), &folder.join(CONFIG_PAGE))?;
    }
    copy_all(&root.join(PACKAGING), &folder.join("packaging"))?;
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for (shell, file) in COMPLETIONS {
        let text = process::output(&mut process::command(binary, &["completions", shell]))?;
        if text.is_empty() {
            bail!("the completions for {shell} are empty");
        }
        fs::write(completions.join(file), text)?;
    }
    let pages = folder.join("man");
    fs::create_dir_all(&pages)?;
    process::run(process::command(binary, &["man", "--out"]).arg(&pages))?;
    if !pages.join("quorum-node.1").exists() {
        bail!("`quorum-node man` wrote no quorum-node.1");
    }
    Ok(())
}

/// One order, one time, one owner and one set of modes, whoever packs.
fn compress(release: &Release, stage: &Path, archive: &Path) -> Result<()> {
    let tar = archive.with_extension("");
    let time = format!("--mtime=@{}", release.epoch);
    let arguments = [
        "--create",
        "--format=ustar",
        "--sort=name",
        &time,
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u=rwX,go=rX",
    ];
    process::run(
        process::command("tar", &arguments)
            .arg("--file")
            .arg(&tar)
            .arg("--directory")
            .arg(stage)
            .arg(release.name()),
    )?;
    process::run(process::command("gzip", &["-n", "-9", "--force"]).arg(&tar))
}

/// `<sha256>  <file name>`, as `sha256sum --check` reads it beside the archive.
fn checksum(archive: &Path) -> Result<String> {
    let folder = archive.parent().context("an archive is in a folder")?;
    let name = archive.file_name().context("an archive has a name")?;
    process::output(process::command("sha256sum", &[]).arg(name).current_dir(folder))
}

/// Unpacks the archive where nothing else is and runs what came out.
fn smoke_run(release: &Release, archive: &Path) -> Result<()> {
    let name = format!("quorum-dist-smoke-{}", std::process::id());
    let place = std::env::temp_dir().join(name);
    fs::create_dir(&place).with_context(|| place.display().to_string())?;
    let ended = smoke_run_in(&place, release, archive);
    remove(&place)?;
    ended.context("the packed binary failed its smoke run")
}

fn smoke_run_in(place: &Path, release: &Release, archive: &Path) -> Result<()> {
    process::run(
        process::command("tar", &["--extract", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(place),
    )?;
    let folder = place.join(release.name());
    let binary = folder.join("quorum-node");
    let version = process::output(process::command(&binary, &["--version"]).current_dir(&folder))?;
    if !version.split_whitespace().any(|word| word == release.version) {
        bail!("`--version` says `{}`, not {}", version.trim(), release.version);
    }
    let mut demo = process::command(&binary, &["demo"]);
    process::run_within(demo.current_dir(&folder).stdin(Stdio::null()), DEMO_LIMIT)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a copied file is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &place)?;
        } else {
            copy(&entry.path(), &place)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}
