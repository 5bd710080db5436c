//! Whether every read returns a value that may be current at some time of the read.
//!
//! The register is regular with many writers, in the sense of Lamport (1986) as Shao, Welch, Pierce and Lee (2011) carry
//! it over (their weakest form): a read returns the value of a write that began before the read ended and that was not
//! overwritten before the read began, that is, with no other write entirely between the two. Unlike in a linearizable
//! history, two reads may see two concurrent writes in different orders.

use super::{History, Kind, Operation, Stats, Violation, neighbourhood};

/// Whether the history is that of a regular register, key by key.
///
/// A write of which nobody knows whether it took effect is concurrent with everything after its beginning.
///
/// # Errors
///
/// [`Violation`] names the first read that returned what no write could have left.
pub fn regular(history: &History) -> Result<Stats, Violation> {
    let mut stats = Stats::default();
    for (key, operations) in history.by_key() {
        stats.count(&operations);
        let writes: Vec<Written<'_>> = operations.iter().filter_map(|it| Written::of(it)).collect();
        for read in operations.iter().filter(|operation| operation.is_read()) {
            if !is_allowed(read, &writes) {
                let around = neighbourhood(&operations, read);
                let detail = format!("no write allows: {read}; around it:{around}");
                return Err(Violation { key: key.to_owned(), detail, is_undecided: false });
            }
        }
    }
    Ok(stats)
}

struct Written<'a> {
    operation: &'a Operation,
    value: Option<u64>,
}

impl<'a> Written<'a> {
    const fn of(operation: &'a Operation) -> Option<Self> {
        match operation.kind {
            Kind::Write { value } => Some(Self { operation, value }),
            Kind::Read { .. } => None,
        }
    }
}

fn is_allowed(read: &Operation, writes: &[Written<'_>]) -> bool {
    let Kind::Read { value } = read.kind else { return true };
    // The latest beginning of a write that was over before the read began: whatever ended before that is overwritten.
    let over = writes.iter().filter(|write| write.operation.end() < read.invoked);
    let overwritten_before = over.map(|write| write.operation.invoked).max();
    let is_current = |write: &Written<'_>| {
        write.value == value
            && write.operation.invoked <= read.end()
            && overwritten_before.is_none_or(|begun| write.operation.end() >= begun)
    };
    // Before every write there was nothing.
    (value.is_none() && overwritten_before.is_none()) || writes.iter().any(is_current)
}
