//! Which writes have too few copies, in words. (pure)

use super::table::{Cell, Tone};
use crate::ExposureReport;

/// What people are told of it. It is bad where a write has fewer copies than it needs.
pub(super) fn exposure_cell(exposure: &ExposureReport) -> Cell {
    let tone = if exposure.below_w == 0 { Tone::Good } else { Tone::Bad };
    Cell::new(exposure_text(exposure), tone)
}

fn exposure_text(exposure: &ExposureReport) -> String {
    let part = |count: u64, than: &str, age: Option<f64>| match age {
        Some(seconds) => {
            format!("{count} writes on fewer than {than}, the oldest for {seconds:.1} s")
        }
        None => format!("{count} writes on fewer than {than}"),
    };
    let exactness = if exposure.exact { "" } else { " (not every member has reported)" };
    format!(
        "{}; {}{exactness}",
        part(exposure.below_w, "W", exposure.oldest_below_w_seconds),
        part(exposure.below_n, "all members", exposure.oldest_below_n_seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_copies_are_counted_and_their_age_is_said() {
        let exposure = ExposureReport {
            below_n: 2,
            oldest_below_n_seconds: Some(3.5),
            exact: true,
            ..ExposureReport::default()
        };
        let expected = "0 writes on fewer than W; 2 writes on fewer than all members, \
                        the oldest for 3.5 s";
        assert_eq!(exposure_cell(&exposure), Cell::new(expected, Tone::Good));
        let unknown = ExposureReport { below_w: 1, exact: false, ..exposure };
        let shown = exposure_text(&unknown);
        assert!(shown.ends_with("(not every member has reported)"), "{shown}");
    }
}
