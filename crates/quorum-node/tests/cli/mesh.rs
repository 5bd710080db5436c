//! Three nodes, each a process of its own on free ports, and the program run against them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// How long the mesh may take for what it does by itself, such as catching up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.stderr, String::from_utf8_lossy(&self.stdout));
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code().expect("an exit"), stdout: output.stdout, stderr }
    }
}

/// The program with nothing of ours in its environment.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorum-node"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("QUORUM_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    program(arguments).output().expect("the program runs").into()
}

/// Runs the program to its end, with this on its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = program(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that stops reading early is not at fault.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = child.wait_with_output().expect("it ends").into();
    writing.join().expect("written");
    ended
}

/// A node that runs, and is killed when it is dropped.
struct Running {
    process: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A mesh of three.
pub(crate) struct Mesh {
    directory: TempDir,
    nodes: [Option<Running>; 3],
}

impl Mesh {
    /// Three nodes that see each other.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let cluster = directory.path().join("cluster");
        run(&["init", "--cluster-dir", text(&cluster)]).ok();
        // Held together, so that they are three different ones.
        let sockets = NAMES.map(|_| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        let ports = sockets.each_ref().map(|socket| socket.local_addr().expect("bound").port());
        for name in NAMES {
            let path = cluster.join(name).join("quorum.toml");
            let mut config = fs::read_to_string(&path).expect("written by init");
            for (index, port) in ports.iter().enumerate() {
                let placeholder = format!("127.0.0.1:{}", 7400 + index);
                config = config.replace(&placeholder, &format!("127.0.0.1:{port}"));
            }
            fs::write(&path, config).expect("written");
        }
        drop(sockets);
        let mut mesh = Self { directory, nodes: [None, None, None] };
        for node in 0..NAMES.len() {
            mesh.start_node(node);
        }
        mesh.until("all see each other", |mesh| {
            (0..NAMES.len())
                .all(|node| mesh.on(node, &["--json", "status"]).json()["reachable"] == 3)
        });
        mesh
    }

    pub(crate) fn start_node(&mut self, node: usize) {
        let home = self.home(node);
        let log = File::options().create(true).append(true).open(home.join("log")).expect("a log");
        let config = home.join("quorum.toml");
        let serve =
            ["--json", "serve", "--config", text(&config), "--set", "http.listen=127.0.0.1:0"];
        let mut command = program(&serve);
        let mut process =
            command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program runs");
        let stdout = process.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = fs::read_to_string(home.join("log")).unwrap_or_default();
            panic!("{} is not ready but says {line:?}\n{log}", NAMES[node])
        });
        let url = ready["http"].as_str().expect("an address").to_owned();
        self.nodes[node] = Some(Running { process, url });
    }

    /// Kills a node as a crash would.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    pub(crate) fn home(&self, node: usize) -> PathBuf {
        self.directory.path().join("cluster").join(NAMES[node])
    }

    /// A file that goes with the mesh.
    pub(crate) fn file(&self, name: &str) -> String {
        text(&self.directory.path().join(name)).to_owned()
    }

    pub(crate) fn url(&self, node: usize) -> &str {
        &self.nodes[node].as_ref().expect("it runs").url
    }

    pub(crate) fn pid(&self, node: usize) -> u32 {
        self.nodes[node].as_ref().expect("it runs").process.id()
    }

    /// Runs a command that talks to a node.
    pub(crate) fn on(&self, node: usize, arguments: &[&str]) -> Ended {
        run(&[arguments, &["--url", self.url(node)]].concat())
    }

    /// Waits until something holds that comes by itself.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        }
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
