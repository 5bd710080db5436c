//! Dots that were given out and that nobody holds: they will never be seen again.
//!
//! A coordinator that dies between fan-out and local sync may leave holes in its lineage. Once every member has said,
//! after acknowledging the next epoch, what it holds of the closed one, what nobody holds cannot appear any more: the
//! old connections are fenced and the coordinator has forgotten the records.

use crate::frontier::{Frontier, SeqSet};
use crate::planted::{self, Bug};
use crate::version::Lineage;

/// The void dots of a closed lineage of ours, or `None` while that cannot be said: a member's report is missing, or
/// members still hold dots that we have not taken back.
///
/// `reports` has one entry for each other member: its frontier as reported *after* it acknowledged a later epoch of
/// ours, or `None` if it has not yet.
#[must_use]
pub fn void_dots<'a>(
    closed: &Lineage,
    ours: &Frontier,
    reports: impl IntoIterator<Item = Option<&'a Frontier>>,
) -> Option<SeqSet> {
    let nothing = SeqSet::new();
    let mine = ours.of(closed).unwrap_or(&nothing);
    for report in reports {
        if report.is_none() && planted::is(Bug::VoidTooEarly) {
            continue;
        }
        if !mine.covers(report?.of(closed).unwrap_or(&nothing)) {
            return None;
        }
    }
    Some(mine.gaps())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;

    fn holding(set: impl Into<SeqSet>) -> Frontier {
        [(lineage("a", 1), set.into())].into_iter().collect()
    }

    #[test]
    fn what_nobody_holds_is_void_once_everybody_has_said_so() {
        let (ours, peer) = (holding(vec![(1, 4), (7, 8)]), holding(vec![(1, 3), (7, 8)]));
        let void = void_dots(&lineage("a", 1), &ours, [Some(&peer), Some(&Frontier::new())]);
        assert_eq!(void, Some(SeqSet::from(vec![(5, 6)])));
    }

    #[test]
    fn nothing_is_void_while_a_member_is_silent_or_holds_more() {
        let ours = holding(vec![(1, 4)]);
        assert_eq!(void_dots(&lineage("a", 1), &ours, [Some(&ours), None]), None);
        let ahead = holding(vec![(1, 2), (6, 6)]);
        assert_eq!(void_dots(&lineage("a", 1), &ours, [Some(&ahead)]), None);
    }
}
