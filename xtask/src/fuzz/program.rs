//! The programs that libFuzzer is linked into, one for each target: how they are built, run, and what their output means.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::refuted;
use super::targets::Target;
use crate::process;

pub(crate) const MANIFEST: &str = "xtask/fuzz/Cargo.toml";

/// Inputs that are kept in the repository, a folder for each target.
const CORPUS: &str = "xtask/fuzz/corpus";

/// What the names of inputs begin with that once refuted a claim: they stay, whatever they cover.
const ONCE_REFUTED: &str = "once-refuted";

/// What makes LLVM count edges and compare operands for libFuzzer. All of it is in stable Rust.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// One input may not take longer. By the clock on the wall, so that a busy machine must not be mistaken for a slow reader.
const INPUT_SECONDS_MAX: u32 = 60;

/// Memory of a program.
const MEMORY_MEBIBYTES_MAX: u32 = 2_048;

/// The built programs.
#[derive(Debug)]
pub(super) struct Programs {
    folder: PathBuf,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) executions: u64,
    pub(super) seconds: u64,
    /// Edges that were reached.
    pub(super) coverage: u64,
    /// The input that refuted a claim.
    pub(super) refuted_by: Option<PathBuf>,
    pub(super) log: PathBuf,
}

impl Outcome {
    pub(super) fn rate(&self) -> u64 {
        self.executions / self.seconds.max(1)
    }
}

impl Programs {
    pub(super) fn build(targets: &[&Target]) -> Result<Self> {
        let host = host()?;
        let folder = folder("build");
        let arguments =
            ["build", "--release", "--locked", "--manifest-path", MANIFEST, "--target", &host];
        let mut build = process::cargo(&arguments);
        build.args(targets.iter().flat_map(|target| ["--bin", target.name]));
        build.env("RUSTFLAGS", INSTRUMENTATION.join(" ")).env("CARGO_TARGET_DIR", &folder);
        // Named for the target alone, so that build scripts and macros are spared the instrumentation.
        process::run(build.env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
        Ok(Self { folder: folder.join(host).join("release") })
    }

    /// Runs each of these files, or all that is kept. Tells how many.
    pub(super) fn replay(&self, target: &Target, files: &[String]) -> Result<usize> {
        let inputs = if files.is_empty() {
            files_in(&kept(target))?
        } else {
            // The person who names a file stands somewhere else than the root, perhaps.
            files.iter().map(fs::canonicalize).collect::<Result<_, _>>()?
        };
        let mut command = self.command(target);
        let log = log_of(target, "replay")?;
        command.args(&inputs).stderr(File::create(&log)?).stdout(Stdio::null());
        let status = command.status().with_context(|| target.name)?;
        if !status.success() {
            let output = fs::read_to_string(&log).unwrap_or_default();
            let running = output.lines().rfind(|line| line.starts_with("Running: "));
            let input = running.map_or_else(PathBuf::new, |line| line[9..].trim().into());
            eprintln!("{}", told(&output));
            let outcome =
                Outcome { executions: 0, seconds: 0, coverage: 0, refuted_by: Some(input), log };
            refuted(target, &outcome)?;
        }
        Ok(inputs.len())
    }

    /// Makes up inputs until so many were executed, or for so long.
    pub(super) fn run(
        &self,
        target: &Target,
        executions: Option<u64>,
        duration: Option<Duration>,
    ) -> Result<Outcome> {
        let (found, crashes) =
            (folder("corpus").join(target.name), folder("refuted").join(target.name));
        for folder in [&found, &crashes, &kept(target)] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let log = log_of(target, "run")?;
        let mut command = self.command(target);
        command.args([&found, &kept(target)]).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", crashes.display()));
        if let Some(executions) = executions {
            command.arg(format!("-runs={executions}"));
        }
        if let Some(duration) = duration {
            command.arg(format!("-max_total_time={}", duration.as_secs().max(1)));
        }
        command.stderr(File::create(&log)?).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status().with_context(|| target.name)?;
        let seconds = begun.elapsed().as_secs();
        let output = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
        let outcome = Outcome {
            executions: statistic(&output, "stat::number_of_executed_units:").unwrap_or_default(),
            seconds,
            coverage: statistic_within(&output, " cov: ").unwrap_or_default(),
            refuted_by: written_input(&output),
            log,
        };
        if !status.success() {
            eprintln!("{}", told(&output));
            refuted(target, &outcome)?;
            bail!("`{}` ended with {status}, see {}", target.name, outcome.log.display());
        }
        println!(
            "{:18} {:>11} executions in {seconds} s, {}/s, {} edges",
            target.name,
            outcome.executions,
            outcome.rate(),
            outcome.coverage
        );
        Ok(outcome)
    }

    /// As [`run`](Self::run) for several targets, as many at once as there are cores.
    pub(super) fn run_side_by_side<'a>(
        &self,
        targets: &[&'a Target],
        executions: Option<u64>,
        duration: Option<Duration>,
    ) -> Result<Vec<(&'a Target, Outcome)>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (left, outcomes) = (Mutex::new(targets.iter()), Mutex::new(Vec::new()));
        let take_turns = || {
            loop {
                let Some(target) = left.lock().ok().and_then(|mut left| left.next()) else {
                    return;
                };
                let outcome = self.run(target, executions, duration);
                let outcome = outcome.map(|outcome| (*target, outcome));
                if let Ok(mut outcomes) = outcomes.lock() {
                    outcomes.push(outcome);
                }
            }
        };
        std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(take_turns))));
        outcomes.into_inner().map_err(|_| anyhow!("a thread panicked"))?.into_iter().collect()
    }

    /// Keeps what adds coverage, of what is kept and what was found, and what once refuted a claim. Tells how many inputs
    /// add coverage.
    pub(super) fn minimise(&self, target: &Target) -> Result<usize> {
        let (kept, found) = (kept(target), folder("corpus").join(target.name));
        let small = folder("minimised").join(target.name);
        if small.exists() {
            fs::remove_dir_all(&small)?;
        }
        for folder in [&kept, &found, &small] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let log = log_of(target, "minimise")?;
        let mut command = self.command(target);
        // As few inputs as reach every edge: how often each one is passed is for the next run to find out.
        command.args(["-set_cover_merge=1", "-use_counters=0"]).args([&small, &kept, &found]);
        command.stderr(File::create(&log)?).stdout(Stdio::null());
        process::run(&mut command).with_context(|| log.display().to_string())?;
        let refutes_nothing = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with(ONCE_REFUTED)
        };
        for file in files_in(&kept)?.iter().filter(refutes_nothing) {
            fs::remove_file(file)?;
        }
        let files = files_in(&small)?;
        for file in &files {
            fs::copy(file, kept.join(file.file_name().context("a name")?))?;
        }
        Ok(files.len())
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = process::command(self.folder.join(target.name), &[]);
        command.arg(format!("-max_len={}", target.bytes_max));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MEBIBYTES_MAX}"));
        command
    }
}

fn host() -> Result<String> {
    let version = process::output(&mut process::command("rustc", &["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say which host this is")
}

fn folder(name: &str) -> PathBuf {
    process::target_directory().join("fuzz").join(name)
}

fn kept(target: &Target) -> PathBuf {
    process::root().join(CORPUS).join(target.name)
}

fn log_of(target: &Target, doing: &str) -> Result<PathBuf> {
    let folder = folder("logs");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder.join(format!("{}-{doing}.txt", target.name)))
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// The number behind `name` on a line of its own.
fn statistic(output: &str, name: &str) -> Option<u64> {
    output.lines().rev().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The number behind `name`, wherever it stands last.
fn statistic_within(output: &str, name: &str) -> Option<u64> {
    let (_, rest) = output.rsplit_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The file into which libFuzzer has written the input that ended it.
fn written_input(output: &str) -> Option<PathBuf> {
    let (_, rest) = output.rsplit_once("Test unit written to ")?;
    rest.lines().next().map(|path| path.trim().into())
}

/// What the program said when it ended: the panic, if there was one.
fn told(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.iter().rposition(|line| line.contains("panicked at"));
    let from = from.unwrap_or_else(|| lines.len().saturating_sub(12));
    lines[from..].iter().take(12).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "#2\tINITED cov: 12 ft: 13\n#5\tDONE   cov: 99 ft: 120 corp: 3/3b\n\
        Done 5 runs in 0 second(s)\nstat::number_of_executed_units: 5\nstat::peak_rss_mb: 40\n";

    #[test]
    fn the_output_says_how_much_was_done() {
        assert_eq!(statistic(OUTPUT, "stat::number_of_executed_units:"), Some(5));
        assert_eq!(statistic_within(OUTPUT, " cov: "), Some(99));
        assert_eq!(written_input(OUTPUT), None);
    }

    #[test]
    fn the_output_says_which_input_refutes_a_claim() {
        let output = "thread 'main' panicked at src/x.rs:1:\nno\nartifact_prefix='a/'; \
            Test unit written to a/crash-1\nBase64: AA==\n";
        assert_eq!(written_input(output), Some("a/crash-1".into()));
        assert!(told(output).starts_with("thread 'main' panicked"));
    }
}
