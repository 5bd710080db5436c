//! The rules that one number or duration can break alone. (pure)

use std::time::Duration;

use super::error::ConfigError;
use super::sections::Config;

/// Longest deadline of a write.
pub const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Longest wait of any other kind between two things that a node does.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Longest time for which something is kept or put off. What is to be kept for ever has no horizon.
const HORIZON_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Shortest time for which a write id is kept: below it, no retry would find what it repeats.
const WRITE_ID_HORIZON_MIN: Duration = Duration::from_secs(1);

/// Checks every single number and duration.
///
/// # Errors
///
/// [`ConfigError::Zero`], [`ConfigError::TooLong`] or [`ConfigError::TooShort`], naming the key.
pub(super) fn check_bounds(config: &Config) -> Result<(), ConfigError> {
    check_nothing_is_zero(config)?;
    check_nothing_is_endless(config)?;
    let (value, min) = (config.quorum.write_id_horizon, WRITE_ID_HORIZON_MIN);
    if value < min {
        return Err(ConfigError::TooShort { key: "quorum.write_id_horizon".into(), value, min });
    }
    Ok(())
}

fn check_nothing_is_zero(config: &Config) -> Result<(), ConfigError> {
    let Config { node, quorum, peer, http, store, repair, watch, clock, otlp, .. } = config;
    let zero = [
        ("node.shutdown_grace", node.shutdown_grace.is_zero()),
        ("quorum.ack_timeout", quorum.ack_timeout.is_zero()),
        ("quorum.read_timeout", quorum.read_timeout.is_zero()),
        ("quorum.in_flight_writes_max", quorum.in_flight_writes_max == 0),
        ("quorum.in_flight_bytes_max", quorum.in_flight_bytes_max.bytes() == 0),
        ("peer.live_queue_bytes", peer.live_queue_bytes.bytes() == 0),
        ("peer.redial_max", peer.redial_max.is_zero()),
        ("peer.idle_timeout", peer.idle_timeout.is_zero()),
        ("http.body_bytes_max", http.body_bytes_max.bytes() == 0),
        ("store.cache_bytes", store.cache_bytes.bytes() == 0),
        ("store.memtable_bytes", store.memtable_bytes.bytes() == 0),
        ("repair.interval", repair.interval.is_zero()),
        ("watch.history_max", watch.history_max == 0),
        ("watch.streams_max", watch.streams_max == 0),
        ("watch.stall_timeout", watch.stall_timeout.is_zero()),
        ("clock.skew_warn", clock.skew_warn.is_zero()),
        ("clock.skew_max", clock.skew_max.is_zero()),
        ("otlp.metrics_interval", otlp.metrics_interval.is_zero()),
    ];
    match zero.into_iter().find(|(_, is_zero)| *is_zero) {
        Some((key, _)) => Err(ConfigError::Zero { key: key.into() }),
        None => Ok(()),
    }
}

fn check_nothing_is_endless(config: &Config) -> Result<(), ConfigError> {
    let Config { quorum, repair, watch, .. } = config;
    let bounded = [
        ("quorum.ack_timeout", quorum.ack_timeout, ACK_TIMEOUT_MAX),
        ("quorum.read_timeout", quorum.read_timeout, WAIT_MAX),
        ("quorum.write_id_horizon", quorum.write_id_horizon, HORIZON_MAX),
        ("repair.interval", repair.interval, WAIT_MAX),
        ("repair.scrub_interval", repair.scrub_interval, HORIZON_MAX),
        ("repair.tombstone_grace", repair.tombstone_grace, HORIZON_MAX),
        ("watch.stall_timeout", watch.stall_timeout, WAIT_MAX),
    ];
    match bounded.into_iter().find(|(_, value, max)| value > max) {
        Some((key, value, max)) => Err(ConfigError::TooLong { key: key.into(), value, max }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use quorum_core::PeerId;

    use super::super::{ByteSize, Member};
    use super::*;

    /// Breaks one thing and expects a message that starts with the key to look at.
    #[track_caller]
    fn refused(start: &str, break_it: impl FnOnce(&mut Config)) {
        let name = PeerId::new("n1").expect("a name");
        let mut config = Config::new(name.clone(), vec![Member::new(name, "h:1")]);
        assert!(check_bounds(&config).is_ok());
        break_it(&mut config);
        let message = check_bounds(&config).expect_err("a broken rule").to_string();
        assert!(message.starts_with(start), "{message:?} should start with {start:?}");
    }

    #[test]
    fn no_size_count_or_duration_is_zero() {
        let none = ByteSize::new(0);
        let never = Duration::ZERO;
        refused("node.shutdown_grace must not be zero", |c| c.node.shutdown_grace = never);
        refused("quorum.ack_timeout must not be zero", |c| c.quorum.ack_timeout = never);
        refused("quorum.in_flight_writes_max must", |c| c.quorum.in_flight_writes_max = 0);
        refused("quorum.in_flight_bytes_max must", |c| c.quorum.in_flight_bytes_max = none);
        refused("peer.live_queue_bytes must not be zero", |c| c.peer.live_queue_bytes = none);
        refused("peer.redial_max must not be zero", |c| c.peer.redial_max = never);
        refused("peer.idle_timeout must not be zero", |c| c.peer.idle_timeout = never);
        refused("http.body_bytes_max must not be zero", |c| c.http.body_bytes_max = none);
        refused("store.cache_bytes must not be zero", |c| c.store.cache_bytes = none);
        refused("store.memtable_bytes must not be zero", |c| c.store.memtable_bytes = none);
        refused("quorum.read_timeout must not be zero", |c| c.quorum.read_timeout = never);
        refused("repair.interval must not be zero", |c| c.repair.interval = never);
        refused("watch.history_max must not be zero", |c| c.watch.history_max = 0);
        refused("watch.streams_max must not be zero", |c| c.watch.streams_max = 0);
        refused("watch.stall_timeout must not be zero", |c| c.watch.stall_timeout = never);
        refused("clock.skew_warn must not be zero", |c| c.clock.skew_warn = never);
        refused("clock.skew_max must not be zero", |c| c.clock.skew_max = never);
        refused("otlp.metrics_interval must not be zero", |c| c.otlp.metrics_interval = never);
    }

    #[test]
    fn no_wait_is_endless() {
        let long = Duration::from_secs(3601);
        let years = Duration::from_secs(400 * 86_400);
        refused("quorum.ack_timeout = 1h 1s is longer than 1h", |c| c.quorum.ack_timeout = long);
        refused("quorum.read_timeout = 1h 1s is longer", |c| c.quorum.read_timeout = long);
        refused("quorum.write_id_horizon =", |c| c.quorum.write_id_horizon = years);
        refused("repair.interval = 1h 1s is longer", |c| c.repair.interval = long);
        refused("repair.scrub_interval =", |c| c.repair.scrub_interval = years);
        refused("repair.tombstone_grace =", |c| c.repair.tombstone_grace = years);
        refused("watch.stall_timeout = 1h 1s is longer", |c| c.watch.stall_timeout = long);
    }

    #[test]
    fn a_write_id_is_kept_long_enough_for_a_retry() {
        refused("quorum.write_id_horizon = 999ms is shorter than 1s", |config| {
            config.quorum.write_id_horizon = Duration::from_millis(999);
        });
    }

    #[test]
    fn zero_turns_off_what_can_be_turned_off() {
        let name = PeerId::new("n1").expect("a name");
        let mut config = Config::new(name.clone(), vec![Member::new(name, "h:1")]);
        config.repair.scrub_interval = Duration::ZERO;
        config.repair.scrub_bytes_per_second = ByteSize::new(0);
        config.repair.tombstone_grace = Duration::ZERO;
        config.repair.log_entries_max = 0;
        assert!(check_bounds(&config).is_ok());
    }
}
