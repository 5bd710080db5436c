//! Forgets log entries: those that every member has, and the oldest ones beyond the bound.

use quorum_core::{Frontier, SeqSet, trim_floor};
use quorum_transport::PeerStatus;

/// What may be forgotten now: what every member that counts has said it holds, and whatever makes the log longer than
/// `entries_max`; 0 is unlimited. `trimmed` is forgotten already.
pub(crate) fn floor(
    ours: &Frontier,
    trimmed: &Frontier,
    peers: &[PeerStatus],
    entries_max: u64,
) -> Frontier {
    let reported: Option<Vec<&Frontier>> =
        peers.iter().map(|peer| peer.frontier.as_ref()).collect();
    let mut floor =
        reported.map(|reported| trim_floor(reported.into_iter().chain([ours]))).unwrap_or_default();
    floor.merge(trimmed);
    if entries_max > 0 {
        floor.merge(&overdue(ours, &floor, entries_max));
    }
    floor
}

/// What must go so that at most `entries_max` entries above `floor` are left: earlier starts first, from their beginnings
/// on. A member that lacks what went is brought up by comparing ranges of keys.
fn overdue(ours: &Frontier, floor: &Frontier, entries_max: u64) -> Frontier {
    let mut excess = ours.minus(floor).len().saturating_sub(entries_max);
    let mut overdue = Frontier::new();
    let mut lineages: Vec<_> = ours.iter().collect();
    lineages.sort_by_key(|(lineage, _)| lineage.epoch);
    for (lineage, held) in lineages {
        let from = floor.of(lineage).map_or(0, SeqSet::contiguous);
        let (up_to, gone) = first_beyond(held, from, excess);
        if gone > 0 {
            overdue.insert_range(lineage, 1, up_to);
            excess -= gone;
        }
    }
    overdue
}

/// The place up to which at most `count` numbers of `held` lie beyond `from`, and how many do. Gaps have no entries.
fn first_beyond(held: &SeqSet, from: u64, count: u64) -> (u64, u64) {
    let (mut up_to, mut passed) = (from, 0);
    for (first, last) in held.intervals().filter(|(_, last)| *last > from) {
        if passed == count {
            break;
        }
        let first = first.max(from + 1);
        let step = (last - first + 1).min(count - passed);
        (up_to, passed) = (first + step - 1, passed + step);
    }
    (up_to, passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorum_core::{Epoch, Incarnation, Lineage, Origin, PeerId};

    fn lineage(node: &str, start: u64) -> Lineage {
        let node = PeerId::new(node).expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        Lineage { origin, epoch: Epoch::new(start, 1) }
    }

    #[test]
    fn the_oldest_entries_beyond_the_bound_go_and_no_others() {
        let (early, late) = (lineage("n1", 1), lineage("n1", 2));
        let ours: Frontier =
            [(early.clone(), SeqSet::up_to(10)), (late.clone(), SeqSet::up_to(100))]
                .into_iter()
                .collect();
        assert_eq!(overdue(&ours, &Frontier::new(), 110), Frontier::new());
        let gone = overdue(&ours, &Frontier::new(), 50);
        assert_eq!(gone.of(&early), Some(&SeqSet::up_to(10)));
        assert_eq!(gone.of(&late), Some(&SeqSet::up_to(50)));
        // What every member has is no entry any more.
        let floor: Frontier = [(late, SeqSet::up_to(90))].into_iter().collect();
        assert_eq!(overdue(&ours, &floor, 20), Frontier::new());
        assert_eq!(overdue(&ours, &floor, 15).of(&early), Some(&SeqSet::up_to(5)));
    }

    /// A record that is refused here for good must not make the log grow for ever.
    #[test]
    fn what_lies_behind_a_gap_goes_as_well() {
        let of = lineage("n1", 1);
        let ours: Frontier =
            [(of.clone(), SeqSet::from(vec![(1, 5), (7, 20)]))].into_iter().collect();
        assert_eq!(overdue(&ours, &Frontier::new(), 9).of(&of), Some(&SeqSet::up_to(11)));
        assert_eq!(overdue(&ours, &Frontier::new(), 14).of(&of), Some(&SeqSet::up_to(5)));
    }

    #[test]
    fn without_a_bound_a_member_that_is_away_keeps_everything() {
        let ours: Frontier = [(lineage("n1", 1), SeqSet::up_to(10))].into_iter().collect();
        assert_eq!(floor(&ours, &Frontier::new(), &[], 0), ours, "alone, nobody is waited for");
        assert_eq!(overdue(&ours, &Frontier::new(), u64::MAX), Frontier::new());
    }
}
