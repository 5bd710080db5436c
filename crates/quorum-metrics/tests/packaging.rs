//! The packaged dashboard and alert rules ask only for metrics that exist, and the dashboard shows every one.

use std::collections::BTreeSet;
use std::fs;

use quorum_metrics::names;

fn packaged(file: &str) -> String {
    let path = format!("{}/../quorum-node/packaging/{file}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The metric names in a text; a histogram's parts count as the histogram.
fn asked_for(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics =
        words.filter(|word| word.starts_with("replication_") || word.starts_with("quorum_"));
    let whole = |name: &'_ str| {
        let part = ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part));
        part.filter(|family| names::METRICS.contains(family)).map_or(name.len(), str::len)
    };
    metrics.map(|name| &name[..whole(name)]).collect()
}

#[test]
fn alerts_and_dashboard_ask_only_for_metrics_that_exist() {
    for file in ["alerts.yml", "dashboard.json"] {
        let text = packaged(file);
        let unknown: Vec<_> =
            asked_for(&text).into_iter().filter(|name| !names::METRICS.contains(name)).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let text = packaged("dashboard.json");
    let shown = asked_for(&text);
    let hidden: Vec<_> = names::METRICS.into_iter().filter(|name| !shown.contains(name)).collect();
    assert!(hidden.is_empty(), "the dashboard does not show {hidden:?}");
}
