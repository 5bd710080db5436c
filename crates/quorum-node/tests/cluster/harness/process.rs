//! A mesh of real processes, made with `init` and run with `serve`, that ends with the test.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::ports::free_ports;
use super::{PATIENCE, http, until};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_quorum-node");

/// Members `n1`, `n2`, …, addressed by their place from 0.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    directory: TempDir,
}

/// One member, running or not.
#[derive(Debug)]
pub(crate) struct Process {
    /// Configuration, certificates, data and log.
    pub(crate) directory: PathBuf,
    pub(crate) http: SocketAddr,
    /// Where its peers reach it.
    pub(crate) peer: SocketAddr,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Cluster {
    /// Writes everything a cluster needs, and starts nothing.
    pub(crate) fn init(count: u16, settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (peers, http) = (free_ports(count), free_ports(count));
        let made = Command::new(PROGRAM)
            .args(["init", "--nodes", &count.to_string(), "--base-port", &peers.to_string()])
            .args(["--http-base-port", &http.to_string(), "--cluster-dir"])
            .arg(directory.path())
            .output()
            .expect("the program runs");
        assert!(made.status.success(), "init: {}", String::from_utf8_lossy(&made.stderr));
        let node = |index: u16| Process {
            directory: directory.path().join(format!("n{}", index + 1)),
            http: (Ipv4Addr::LOCALHOST, http + index).into(),
            peer: (Ipv4Addr::LOCALHOST, peers + index).into(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            child: None,
        };
        let nodes = (0..count).map(node).collect();
        Self { nodes, directory }
    }

    /// A cluster whose links are all up.
    pub(crate) async fn start(count: u16, settings: &[&str]) -> Self {
        let mut cluster = Self::init(count, settings);
        cluster.nodes.iter_mut().for_each(Process::start);
        cluster.linked().await;
        cluster
    }

    /// Returns once every member has a link to every other, whose acks count.
    pub(crate) async fn linked(&self) {
        for node in &self.nodes {
            until("all links are up", async || {
                node.json("/v1/peers").await.as_array().is_some_and(|peers| {
                    let is = |peer: &Value, field: &str| peer[field] == Value::Bool(true);
                    peers.iter().all(|peer| is(peer, "connected") && is(peer, "counts"))
                })
            })
            .await;
        }
    }

    /// Returns once all members hold the same.
    pub(crate) async fn converged(&self) {
        until("all members hold the same", async || {
            let mut digests = Vec::new();
            for node in &self.nodes {
                digests.push(node.json("/v1/status?digest=true").await["content_digest"].clone());
            }
            digests.windows(2).all(|pair| pair[0].is_string() && pair[0] == pair[1])
        })
        .await;
    }

    /// The directory of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.path().join("ca")
    }
}

impl Process {
    /// Starts the node and returns once it says that it is ready.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "already running");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file());
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file"))
            .spawn()
            .expect("the program runs");
        let stdout = child.stdout.take().expect("a pipe");
        self.child = Some(child);
        let (say, heard) = mpsc::channel();
        // A pipe cannot be read with a deadline, a channel can.
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            let _gave_up = say.send(lines.next());
            // Whatever else it says is read, so that it never waits for us.
            lines.for_each(drop);
        });
        let line = heard.recv_timeout(PATIENCE).ok().flatten().and_then(Result::ok);
        drop(reader);
        assert!(
            line.as_ref().is_some_and(|line| line.contains("ready")),
            "expected a ready line, not {line:?}; log:\n{}",
            self.log()
        );
    }

    /// Runs the node expecting that it refuses to, and returns how.
    pub(crate) fn refuses(&self) -> Output {
        let mut child = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let ended = wait(&mut child);
        if ended.is_none() {
            child.kill().expect("a running child");
        }
        let output = child.wait_with_output().expect("its output");
        assert!(ended.is_some(), "it runs: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Adds text to the configuration file, for what is no single key.
    pub(crate) fn configure(&self, text: &str) {
        let file = self.config_file();
        let before = std::fs::read_to_string(&file).expect("a configuration");
        std::fs::write(&file, format!("{before}\n{text}\n")).expect("a configuration");
    }

    /// Sets a configuration key from the next start on.
    pub(crate) fn set(&mut self, setting: impl Into<String>) {
        self.settings.push(setting.into());
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--config").arg(self.config_file()).stdin(Stdio::null());
        self.settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        command
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("a running node");
        child.kill().expect("a running child");
        child.wait().expect("its end");
    }

    /// Sends a signal: TERM, HUP, STOP, CONT.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("a running node").id();
        let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
        assert!(sent.expect("kill runs").success(), "{name} to {pid}");
    }

    /// Returns how the node ended, once it has.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running node");
        let status = wait(&mut child);
        status.unwrap_or_else(|| {
            child.kill().expect("a running child");
            panic!("it did not end; log:\n{}", self.log())
        })
    }

    /// Stops the node in order.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "{status}; log:\n{}", self.log());
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        http::get(self.http, path).await.answer().json()
    }

    pub(crate) async fn metrics(&self) -> String {
        http::get(self.http, "/metrics").await.answer().text().to_owned()
    }

    /// Everything the node holds: key to value.
    pub(crate) async fn export(&self) -> BTreeMap<String, String> {
        export(self.http).await
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.join("quorum.toml")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the node has logged in all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Also ends one that is stopped.
            let _already_ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Everything that the node behind this address holds: key to value.
pub(crate) async fn export(from: SocketAddr) -> BTreeMap<String, String> {
    let export = http::get(from, "/v1/export").await.answer();
    let records = export.text().lines().map(|line| {
        let record: Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        let line = || panic!("a record with text in it, not {line}");
        (text("key").unwrap_or_else(line), text("value").unwrap_or_else(line))
    });
    records.collect()
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => return Some(status),
            None if Instant::now() >= deadline => return None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Copies a directory with everything in it.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory to copy to");
    for entry in std::fs::read_dir(from).expect("a directory to copy") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
            File::open(&target).expect("the copy is there");
        }
    }
}
