//! A disk for every node: an ext4 filesystem on a loop device, which can be filled, cut off from power, and lost.
//!
//! Its image is in memory. What a power cut loses is what the filesystem had not written to the device: exactly what no
//! sync has asked for.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::program::run;

/// Large enough for a life, and takes memory only as it fills.
const IMAGE_BYTES: u64 = 320 << 20;
const BALLAST: &str = "ballast";
/// A filesystem is busy until the last file of a killed program is closed.
const UNMOUNT_ATTEMPTS: u32 = 100;

/// A mounted disk. What is forgotten ends with the sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// A fresh one, below this directory.
    pub(crate) async fn make(directory: &Path) -> Result<Self> {
        let disk = Self { image: directory.join("disk.img"), mount: directory.join("disk") };
        fs::create_dir_all(&disk.mount).with_context(|| disk.mount.display().to_string())?;
        disk.format().await?;
        disk.mount().await?;
        Ok(disk)
    }

    async fn format(&self) -> Result<()> {
        let image = File::create(&self.image).and_then(|image| image.set_len(IMAGE_BYTES));
        image.with_context(|| self.image.display().to_string())?;
        // Without lazy work in the background, and without blocks that only root may use.
        let how = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run("mkfs.ext4", &[&how[..], &[text(&self.image)]].concat()).await.map(drop)
    }

    async fn mount(&self) -> Result<()> {
        run("mount", &["-o", "loop", text(&self.image), text(&self.mount)]).await.map(drop)
    }

    pub(crate) async fn unmount(&self) -> Result<()> {
        let mut attempt = 1;
        loop {
            match run("umount", &[text(&self.mount)]).await {
                Err(_busy) if attempt < UNMOUNT_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                ended => return ended.map(drop),
            }
        }
    }

    /// From now on nothing reaches the device, and what has not reached it never will. The filesystem's log is not
    /// flushed before.
    pub(crate) async fn cut_power(&self) -> Result<()> {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.mount)]).await.map(drop)
    }

    /// What a machine does when power is back: replays the filesystem's log. Nobody may have a file open.
    pub(crate) async fn power_up(&self) -> Result<()> {
        self.unmount().await?;
        self.mount().await
    }

    /// Another disk, with nothing on it. Nobody may have a file open.
    pub(crate) async fn replace(&self) -> Result<()> {
        self.unmount().await?;
        self.format().await?;
        self.mount().await
    }

    /// Takes every byte that is left.
    pub(crate) async fn fill(&self) -> Result<()> {
        let ballast = self.mount.join(BALLAST);
        let free = run("df", &["--output=avail", "-B1", text(&self.mount)]).await?;
        let free = free.lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok());
        let free = free.context("df's figures")?;
        // Others take space meanwhile, so most of it first and then the rest until there is none.
        let most = (free / 100 * 95).max(1).to_string();
        run("fallocate", &["-l", &most, text(&ballast)]).await?;
        let mut rest = File::create(self.mount.join(format!("{BALLAST}-rest")))?;
        for size in [64 << 10, 4 << 10, 1] {
            let block = vec![0; size];
            while rest.write_all(&block).and_then(|()| rest.sync_data()).is_ok() {}
        }
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn relieve(&self) -> Result<()> {
        for name in [BALLAST.to_owned(), format!("{BALLAST}-rest")] {
            let file = self.mount.join(name);
            fs::remove_file(&file).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Where files are.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the sandbox's paths are text")
}
