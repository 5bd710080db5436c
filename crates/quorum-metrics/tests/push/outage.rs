//! A collector that fails for many intervals costs two log lines: one when it goes, one when it comes back.
//!
//! The log belongs to a process, so the test runs itself once more as a child and reads what that says.

use std::process::Command;
use std::time::Duration;

use quorum_core::PeerId;
use quorum_metrics::{LogConfig, Metrics, Otlp, OtlpConfig, init_logging};

use crate::collector::Collector;

const CHILD: &str = "QUORUM_METRICS_OUTAGE_CHILD";

#[test]
fn an_outage_is_logged_once_and_so_is_its_end() {
    if std::env::var_os(CHILD).is_some() {
        return live_through_an_outage();
    }
    let name = "outage::an_outage_is_logged_once_and_so_is_its_end";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let log = String::from_utf8(child.stderr).unwrap();
    assert!(child.status.success(), "{log}");
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("does not take telemetry"), 1, "{log}");
    assert_eq!(lines("takes telemetry again"), 1, "{log}");
    assert_eq!(lines("WARN") + lines("ERROR"), 1, "{log}");
}

fn live_through_an_outage() {
    init_logging(&LogConfig::default(), None).unwrap();
    let collector = Collector::answering(400);
    let config = OtlpConfig {
        endpoint: Some(collector.endpoint()),
        interval: Some(Duration::from_millis(1)),
        ..OtlpConfig::default()
    };
    let otlp = Otlp::new(config, |_| None).unwrap().unwrap();
    let metrics = Metrics::new(&PeerId::new("n1").unwrap(), &[], Some(&otlp)).unwrap();
    collector.wait_for(5);
    collector.answer(200);
    metrics.shutdown(Duration::from_secs(30)).unwrap();
}
