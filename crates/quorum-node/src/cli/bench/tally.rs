//! What clients of a benchmark saw, and the figures that follow from it. (pure)

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{ClientError, Receipt};

/// Longest time that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// Outcomes and latencies of writes.
#[derive(Debug)]
pub(super) struct Tally {
    committed: u64,
    indeterminate: u64,
    not_applied: u64,
    errors: u64,
    first_error: Option<String>,
    /// Microseconds that committed writes took.
    latencies: Histogram<u64>,
}

/// The figures of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) seconds: f64,
    pub(super) committed: u64,
    pub(super) indeterminate: u64,
    pub(super) not_applied: u64,
    pub(super) errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_error: Option<String>,
    pub(super) committed_per_second: f64,
    pub(super) mean_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
}

impl Tally {
    pub(super) fn new() -> Self {
        const SIGNIFICANT_DIGITS: u8 = 3;
        let latencies = Histogram::new_with_bounds(1, micros(LATENCY_MAX), SIGNIFICANT_DIGITS)
            .expect("the bounds are constant and in order");
        Self {
            committed: 0,
            indeterminate: 0,
            not_applied: 0,
            errors: 0,
            first_error: None,
            latencies,
        }
    }

    pub(super) fn record(&mut self, result: &Result<Receipt, ClientError>, took: Duration) {
        let error = match result {
            Ok(_receipt) => {
                self.committed += 1;
                self.latencies.saturating_record(micros(took).max(1));
                return;
            }
            Err(error) => error,
        };
        match error {
            ClientError::Indeterminate(_) => self.indeterminate += 1,
            ClientError::NotApplied { .. } => self.not_applied += 1,
            _ => self.errors += 1,
        }
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// The figures of a measurement that lasted so long.
    pub(super) fn figures(&self, lasted: Duration) -> Figures {
        let seconds = lasted.as_secs_f64();
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let at = |quantile| millis(self.latencies.value_at_quantile(quantile));
        Figures {
            seconds,
            committed: self.committed,
            indeterminate: self.indeterminate,
            not_applied: self.not_applied,
            errors: self.errors,
            first_error: self.first_error.clone(),
            committed_per_second: if seconds > 0.0 { self.committed as f64 / seconds } else { 0.0 },
            mean_ms: self.latencies.mean() / 1_000.0,
            p50_ms: at(0.50),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: millis(self.latencies.max()),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Result<Receipt, ClientError> {
        let receipt = serde_json::json!({
            "outcome": "committed", "write_id": "w", "version": "v", "digest": "d",
            "durability": "fsync", "needed": 2, "acked": [], "missing": [],
        });
        Ok(serde_json::from_value(receipt).expect("a receipt"))
    }

    #[test]
    fn only_committed_writes_count_towards_speed() {
        let mut tally = Tally::new();
        for millis in 1..=100 {
            tally.record(&committed(), Duration::from_millis(millis));
        }
        let busy = ClientError::NotApplied { detail: "overloaded".into(), retry_after: None };
        tally.record(&Err(busy), Duration::from_micros(1));
        let figures = tally.figures(Duration::from_secs(10));
        assert_eq!((figures.committed, figures.not_applied, figures.errors), (100, 1, 0));
        assert_eq!(figures.first_error.as_deref(), Some("not applied: overloaded"));
        let near = |figure: f64, expected: f64| (figure - expected).abs() < expected / 100.0;
        assert!(near(figures.committed_per_second, 10.0), "{figures:?}");
        assert!(near(figures.p50_ms, 50.0) && near(figures.p99_ms, 99.0), "{figures:?}");
        assert!(near(figures.max_ms, 100.0), "{figures:?}");
    }

    #[test]
    fn a_benchmark_in_which_nothing_commits_has_figures_all_the_same() {
        let figures = Tally::new().figures(Duration::ZERO);
        assert_eq!((figures.committed_per_second, figures.max_ms), (0.0, 0.0));
    }
}
