//! Where two members differ in a range of keys. (pure)

use std::cmp::Ordering;

use bytes::Bytes;
use quorum_core::{Digest, Hlc, RangeEntry, Version};

/// What a peer holds that this member does not, or not so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// It holds a record of a key of which this member holds none, or an older one.
    Newer(Bytes),
    /// It holds the same version with other content.
    Drift {
        /// Of which key.
        key: Bytes,
        /// Whether its content has the larger digest, which all members take.
        theirs_wins: bool,
    },
}

/// Compares ranges in the order of their keys. Tombstones up to `ignored` count as not there: one side may have purged
/// them. What is newer here is for the peer to find.
pub(crate) fn differences(
    ours: &[RangeEntry],
    theirs: &[RangeEntry],
    ignored: Hlc,
) -> Vec<Difference> {
    let mut ours = ours.iter().peekable();
    let mut found = Vec::new();
    for their in theirs {
        while ours.next_if(|our| our.key < their.key).is_some() {}
        if their.is_tombstone && their.version.hlc <= ignored {
            continue;
        }
        let our = ours.next_if(|our| our.key == their.key);
        let rank =
            |entry: &RangeEntry| -> (Version, Digest) { (entry.version.clone(), entry.digest) };
        let difference = match our
            .map(|our| (our.version.cmp(&their.version), rank(our).cmp(&rank(their))))
        {
            None | Some((Ordering::Less, _)) => Difference::Newer(their.key.clone()),
            Some((Ordering::Equal, digests)) if digests != Ordering::Equal => {
                Difference::Drift { key: their.key.clone(), theirs_wins: digests == Ordering::Less }
            }
            Some(_) => continue,
        };
        found.push(difference);
    }
    found
}

/// Where to go on behind an answer for a range that is not all of it, and ends at `last`; nowhere if that leads no further.
pub(crate) fn further(after: Option<&Bytes>, last: Option<Bytes>) -> Option<Bytes> {
    last.filter(|last| Some(last) > after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorum_core::{Incarnation, Origin, PeerId};

    fn entry(key: &'static str, millis: u64, digest: u8) -> RangeEntry {
        let node = PeerId::new("n1").expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        let version = Version { hlc: Hlc::from_millis(millis), origin };
        let digest = Digest::from_bytes([digest; 32]);
        RangeEntry { key: Bytes::from_static(key.as_bytes()), version, digest, is_tombstone: false }
    }

    fn tombstone(key: &'static str, millis: u64) -> RangeEntry {
        RangeEntry { is_tombstone: true, ..entry(key, millis, 0) }
    }

    fn newer(key: &'static str) -> Difference {
        Difference::Newer(Bytes::from_static(key.as_bytes()))
    }

    #[test]
    fn what_the_peer_has_and_we_lack_is_found_and_nothing_else() {
        let ours = [entry("a", 1, 1), entry("b", 1, 1), entry("d", 5, 1), entry("e", 1, 1)];
        let theirs = [entry("b", 1, 1), entry("c", 1, 1), entry("d", 4, 1), entry("e", 2, 1)];
        assert_eq!(differences(&ours, &theirs, Hlc::ZERO), [newer("c"), newer("e")]);
        assert_eq!(differences(&theirs, &ours, Hlc::ZERO), [newer("a"), newer("d")]);
        assert_eq!(differences(&ours, &ours, Hlc::ZERO), []);
    }

    #[test]
    fn of_two_contents_of_one_version_the_larger_digest_wins_on_both_sides() {
        let (ours, theirs) = ([entry("a", 1, 1)], [entry("a", 1, 2)]);
        let drift = |theirs_wins| Difference::Drift { key: Bytes::from_static(b"a"), theirs_wins };
        assert_eq!(differences(&ours, &theirs, Hlc::ZERO), [drift(true)]);
        assert_eq!(differences(&theirs, &ours, Hlc::ZERO), [drift(false)]);
    }

    #[test]
    fn a_tombstone_that_may_be_purged_is_no_difference() {
        let (ours, theirs) = ([], [tombstone("a", 5), tombstone("b", 7)]);
        assert_eq!(differences(&ours, &theirs, Hlc::from_millis(5)), [newer("b")]);
    }

    /// A peer that tells of the same keys again would be asked for ever.
    #[test]
    fn an_answer_that_leads_no_further_is_the_last_one() {
        let key = |key: &'static [u8]| Bytes::from_static(key);
        assert_eq!(further(None, Some(key(b"a"))), Some(key(b"a")));
        assert_eq!(further(Some(&key(b"a")), Some(key(b"b"))), Some(key(b"b")));
        for last in [None, Some(key(b"a")), Some(key(b"b"))] {
            assert_eq!(further(Some(&key(b"b")), last), None);
        }
    }
}
