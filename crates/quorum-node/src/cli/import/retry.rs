//! Writes one record again and again, under one name, until it is committed or time is up.

use std::time::Duration;

use quorum_core::WriteId;
use tokio::time::Instant;

use super::line::Entry;
use crate::cli::write_options::WriteArguments;
use crate::client::{Client, ClientError};

/// What became of a record.
#[derive(Debug)]
pub(super) enum Fate {
    Committed,
    /// It may or may not survive, and time is up.
    Indeterminate(ClientError),
    /// It was not written, and time is up.
    NotApplied(ClientError),
    /// It will never be taken.
    Refused(ClientError),
}

/// How every record is written.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) write: WriteArguments,
    pub(super) timeout: Option<Duration>,
    pub(super) give_up_after: Duration,
    /// Whether an earlier run of the import may have sent the same writes.
    pub(super) is_rerun: bool,
}

impl Writer {
    /// Writes `entry`, through the node at `first` to begin with.
    pub(super) async fn write(&self, entry: Entry, write_id: WriteId, first: usize) -> Fate {
        let deadline = Instant::now() + self.give_up_after;
        let mut options = self.write.options(write_id, self.timeout);
        options.is_retry = self.is_rerun;
        let (mut attempt, mut node, mut may_have_happened) = (0_u32, first, false);
        loop {
            let client = self.client.starting_at(node);
            let Entry { namespace, key, value } = &entry;
            let result = match value {
                Some(value) => client.put(namespace, key, value.clone(), &options).await,
                None => client.delete(namespace, key, &options).await,
            };
            let error = match result {
                Ok(_receipt) => return Fate::Committed,
                Err(error) => error,
            };
            may_have_happened |= error.may_have_happened();
            // What may have happened is looked for everywhere before it is done again.
            options.is_retry = self.is_rerun || may_have_happened;
            let pause = pause(attempt, asked_for(&error), rand::random());
            let is_over = Instant::now() + pause >= deadline;
            match error {
                error if is_over && may_have_happened => return Fate::Indeterminate(error),
                error if !error.is_worth_a_retry() => return Fate::Refused(error),
                error if is_over => return Fate::NotApplied(error),
                // The node that has the write drives it to completion.
                ClientError::Indeterminate(_) => {}
                // Another node may be better off.
                _ => node = node.wrapping_add(1),
            }
            tokio::time::sleep(pause).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

/// The pause that the node asked for.
const fn asked_for(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::NotApplied { retry_after, .. } => *retry_after,
        _ => None,
    }
}

/// The pause after the failed attempt with this number, counted from zero: it doubles up to a
/// limit, is at least half of what the node asked for, and `jitter` spreads it so that all the
/// records that failed together do not come back together.
fn pause(attempt: u32, asked_for: Option<Duration>, jitter: u8) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);
    let doubled = FIRST.saturating_mul(1 << attempt.min(10)).min(LONGEST);
    let whole = doubled.max(asked_for.unwrap_or_default().min(LONGEST));
    whole.mul_f64(0.5 + f64::from(jitter) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_spread() {
        assert_eq!(pause(0, None, 0), Duration::from_millis(25));
        assert!(pause(3, None, 0) > pause(2, None, 0));
        assert!(pause(u32::MAX, None, 255) <= Duration::from_secs(2));
        assert!(pause(4, None, 255) > pause(4, None, 0));
    }

    #[test]
    fn a_node_is_given_the_time_it_asks_for_within_reason() {
        assert_eq!(pause(0, Some(Duration::from_secs(1)), 0), Duration::from_millis(500));
        assert!(pause(0, Some(Duration::from_secs(3_600)), 255) <= Duration::from_secs(2));
    }
}
