//! How long one operation takes: criterion finds how many repetitions make a sample, warms up, and estimates the median.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use criterion::Criterion;
use serde::Deserialize;

use crate::case::Case;

const WARM_UP: Duration = Duration::from_millis(300);
/// About how long one measurement of a case takes. Short ones in many rounds tell more on a machine that others use too.
const MEASUREMENT: Duration = Duration::from_millis(700);
const SAMPLES: usize = 20;
/// Criterion's name for the case: it becomes a folder.
const ID: &str = "case";

/// The median in nanoseconds, measured in a process of its own.
pub(crate) fn measure(case: &Case) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["time", case.name]).arg(folder.path());
    let output = child.output().context("cannot start this program again")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", case.name, output.status, said.trim());
    }
    let estimates = folder.path().join(ID).join("new/estimates.json");
    let text = fs::read_to_string(&estimates).with_context(|| estimates.display().to_string())?;
    median(&text)
}

/// Measures in this process; the estimates are left in `folder`.
pub(crate) fn measure_here(case: Case, folder: &Path) {
    let mut repeat = (case.prepare)();
    Criterion::default()
        .without_plots()
        .output_directory(folder)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .sample_size(SAMPLES)
        // Only for confidence intervals, which the rounds stand in for.
        .nresamples(1_000)
        .bench_function(ID, |bencher| bencher.iter_custom(&mut repeat));
}

/// The part that is read of what criterion writes.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

fn median(estimates: &str) -> Result<f64> {
    let estimates: Estimates = serde_json::from_str(estimates)?;
    Ok(estimates.median.point_estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_found_among_the_estimates() {
        let estimates = r#"{"mean":{"point_estimate":9.0},"median":{"confidence_interval":
            {"confidence_level":0.95},"point_estimate":7.5,"standard_error":0.1},"slope":null}"#;
        assert_eq!(median(estimates).expect("readable"), 7.5);
        assert!(median("{}").is_err(), "no median");
    }
}
