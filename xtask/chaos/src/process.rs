//! One node of a mesh: the real program in a network namespace of its own, started, stopped, killed and held.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::clock::WallClock;
use crate::disk::Disk;
use crate::program::run;

/// How long a start may take before the node counts as one that does not start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long an orderly stop may take: more than the grace that a node gives itself.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Of a log that is shown in a message.
const TAIL_LINES: usize = 15;

/// What stands between the kernel and the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Under {
    Nothing,
    /// The so manyth call of a thread is never made: the process is killed on entering it.
    KillAt {
        call: &'static str,
        nth: u64,
    },
    /// The so manyth call of a thread returns EIO.
    FailAt {
        call: &'static str,
        nth: u64,
    },
    FakeClock,
}

/// Running or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) disk: Disk,
    pub(crate) clock: WallClock,
    program: PathBuf,
    entrance: String,
    directory: PathBuf,
    settings: Vec<String>,
    running: Option<(Child, JoinHandle<()>)>,
}

/// What a node is made of.
#[derive(Debug)]
pub(crate) struct NodeParts {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// How nsenter is told its network namespace.
    pub(crate) entrance: String,
    /// With its configuration, certificates, disk and log.
    pub(crate) directory: PathBuf,
    pub(crate) settings: Vec<String>,
}

/// The tracer is a grandchild: what we start is the node itself.
fn strace(call: &str, injection: &str) -> Vec<String> {
    let fixed = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e"].map(str::to_owned);
    let ours = [format!("trace={call}"), "-e".to_owned(), format!("inject={call}:{injection}")];
    [&fixed[..], &ours].concat()
}

impl Node {
    /// A node with a fresh disk. It does not run yet.
    pub(crate) async fn new(parts: NodeParts) -> Result<Self> {
        let NodeParts { name, program, entrance, directory, settings } = parts;
        let disk = Disk::make(&directory).await?;
        let clock = WallClock::right(&directory)?;
        Ok(Self { name, disk, clock, program, entrance, directory, settings, running: None })
    }

    /// Starts the node, and returns once it says that it is ready to be asked.
    pub(crate) async fn start(&mut self, under: &Under) -> Result<()> {
        let said = self.spawn(under)?;
        match tokio::time::timeout(START_LIMIT, said).await {
            Ok(Ok(line)) if line.contains("ready") => Ok(()),
            Ok(_) => {
                let status = self.ended(STOP_LIMIT).await;
                bail!("{} ended while it started ({status:?}): {}", self.name, self.log_tail())
            }
            Err(_elapsed) => {
                bail!("{} is not ready after {START_LIMIT:?}: {}", self.name, self.log_tail())
            }
        }
    }

    /// Starts the node without waiting; what comes is the first line that it says.
    pub(crate) fn spawn(
        &mut self,
        under: &Under,
    ) -> Result<tokio::sync::oneshot::Receiver<String>> {
        if self.running.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut child = self
            .command(under)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // A Ctrl-C is for this program alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        let stdout = child.stdout.take().context("a pipe")?;
        let (say, heard) = tokio::sync::oneshot::channel();
        // Whatever else it says is read, so that it never waits for us. Ends with the node.
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            if let Ok(Some(line)) = lines.next_line().await {
                let _nobody_waits = say.send(line);
            }
            while let Ok(Some(_)) = lines.next_line().await {}
        });
        self.running = Some((child, reader));
        Ok(heard)
    }

    fn command(&self, under: &Under) -> Command {
        let mut command = Command::new("nsenter");
        command.args([self.entrance.as_str(), "--"]);
        match under {
            Under::Nothing => {}
            // A signal is only delivered at the stops of a tracer that sees every call.
            Under::KillAt { call, nth } => {
                command.args(strace(call, &format!("signal=SIGKILL:when={nth}")));
            }
            Under::FailAt { call, nth } => {
                command.args(strace(call, &format!("error=EIO:when={nth}"))).arg("--seccomp-bpf");
            }
            Under::FakeClock => {
                command.envs(self.clock.environment());
            }
        }
        command
            .arg(&self.program)
            .arg("serve")
            .arg("--config")
            .arg(self.directory.join("quorum.toml"));
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// `kill -9`. Does nothing to one that does not run.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let Some((mut child, _reader)) = self.running.take() else { return Ok(()) };
        child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Sends a signal: TERM, STOP, CONT.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.running.as_ref().and_then(|(child, _)| child.id());
        let pid =
            pid.with_context(|| format!("{} does not run: {}", self.name, self.log_tail()))?;
        run("kill", &["-s", name, &pid.to_string()]).await.map(drop)
    }

    /// Whether the running node has loaded a library. One that is linked statically ignores what is preloaded.
    pub(crate) fn has_loaded(&self, library: &str) -> bool {
        let pid = self.running.as_ref().and_then(|(child, _)| child.id());
        let maps = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).ok());
        maps.is_some_and(|maps| maps.contains(library))
    }

    /// How the node ended, if it has within the limit.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        let (child, _) = self.running.as_mut()?;
        let status = tokio::time::timeout(limit, child.wait()).await.ok()?.ok()?;
        self.running = None;
        Some(status)
    }

    /// Stops the node in order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.signal("TERM").await?;
        match self.ended(STOP_LIMIT).await {
            Some(status) if status.success() => Ok(()),
            status => {
                bail!("{} did not stop in order ({status:?}): {}", self.name, self.log_tail())
            }
        }
    }

    /// Whether the process is still there, as far as anybody has noticed.
    pub(crate) fn is_running(&mut self) -> bool {
        let ended =
            self.running.as_mut().is_none_or(|(child, _)| !matches!(child.try_wait(), Ok(None)));
        if ended {
            self.running = None;
        }
        !ended
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// How long the log is: from here on [`log_since`](Self::log_since) reads.
    pub(crate) fn log_len(&self) -> usize {
        fs::metadata(self.log_file()).map_or(0, |about| usize::try_from(about.len()).unwrap_or(0))
    }

    /// What was logged behind the first so many bytes.
    pub(crate) fn log_since(&self, from: usize) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = self.log_since(0);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Copies log and configuration to where they outlive the sandbox.
    pub(crate) fn keep_log(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let log = to.join(format!("{}.log", self.name));
        fs::copy(self.log_file(), &log).with_context(|| log.display().to_string())?;
        let config = to.join(format!("{}.toml", self.name));
        fs::copy(self.directory.join("quorum.toml"), &config)
            .with_context(|| config.display().to_string())?;
        Ok(())
    }

    pub(crate) fn data_directory(&self) -> PathBuf {
        self.disk.path().join("data")
    }
}
