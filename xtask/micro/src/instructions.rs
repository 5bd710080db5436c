//! How many instructions one operation takes, by valgrind's callgrind: the same number on a busy machine as on an idle one.
//!
//! The program is run twice, with few repetitions and with many. What it does before the first one is in both counts, so
//! the difference is that of the repetitions alone.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Whether valgrind is there.
pub(crate) fn is_possible() -> bool {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    valgrind.status().is_ok_and(|status| status.success())
}

/// Instructions of one operation of the case, over so many repetitions.
pub(crate) fn count(name: &str, over: u64) -> Result<f64> {
    // As many before them, so that allocator and tables have grown.
    let (few, many) = (collected(name, over)?, collected(name, 2 * over)?);
    Ok(of_one(few, many, over))
}

/// All threads' instructions of a whole run.
fn collected(name: &str, repetitions: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe()?).args(["repeat", name, &repetitions.to_string()]);
    let output = valgrind.output().context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} under valgrind ended with {}: {}", output.status, said.trim());
    }
    parse(&said).with_context(|| format!("callgrind has counted nothing: {}", said.trim()))
}

/// The count in callgrind's last words.
fn parse(said: &str) -> Option<u64> {
    let (_, count) = said.lines().find_map(|line| line.split_once("Collected :"))?;
    count.trim().parse().ok()
}

fn of_one(few: u64, many: u64, more: u64) -> f64 {
    many.saturating_sub(few) as f64 / more as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==7== Callgrind, a call-graph generating cache profiler\n==7== \n\
                    ==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n";
        assert_eq!(parse(said), Some(1_234_567));
        assert_eq!(parse("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn what_comes_before_the_first_repetition_does_not_count() {
        assert_eq!(of_one(5_000 + 10 * 7, 5_000 + 20 * 7, 10), 7.0);
    }
}
