//! Which of two records of one key stays: the one rule by which all replicas end up equal.
//!
//! The larger version wins; on equal versions the larger digest does. Both orders are total, so the result depends
//! neither on the order in which records arrive nor on how often they do.

use std::cmp::Ordering;

use quorum_core::planted::{self, Bug};
use quorum_core::{Digest, Hlc, Origin};

/// What the rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender<'a> {
    /// The time of the version.
    pub(crate) hlc: Hlc,
    /// The origin of the version.
    pub(crate) origin: &'a Origin,
    /// The digest of the payload.
    pub(crate) digest: &'a Digest,
}

/// What becomes of a record that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merged {
    /// It is the newest: it replaces what was there, if anything was.
    Newest,
    /// It is there already.
    Duplicate,
    /// A newer version is there.
    Superseded,
    /// The same version is there with another digest.
    Drift {
        /// Whether the arriving record has the larger digest and replaces the other.
        replaces: bool,
    },
}

/// Compares the record that is there with the one that arrives.
pub(crate) fn merge(current: Option<Contender<'_>>, incoming: Contender<'_>) -> Merged {
    let Some(current) = current else {
        return Merged::Newest;
    };
    let versions = incoming.hlc.cmp(&current.hlc).then_with(|| incoming.origin.cmp(current.origin));
    match (versions, incoming.digest.cmp(current.digest)) {
        (Ordering::Less, _) if planted::is(Bug::LastComerWins) => Merged::Newest,
        (Ordering::Greater, _) => Merged::Newest,
        (Ordering::Less, _) => Merged::Superseded,
        (Ordering::Equal, Ordering::Equal) => Merged::Duplicate,
        (Ordering::Equal, digests) => Merged::Drift { replaces: digests == Ordering::Greater },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quorum_core::{Incarnation, PeerId};

    type Owned = (Hlc, Origin, Digest);

    fn owned(hlc: u64, node: u8, digest: u8) -> Owned {
        let node = PeerId::new(format!("n{node}")).expect("a valid name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        (Hlc::from_u64(hlc), origin, Digest::from_bytes([digest; 32]))
    }

    fn contender((hlc, origin, digest): &Owned) -> Contender<'_> {
        Contender { hlc: *hlc, origin, digest }
    }

    /// What a replica holds after the records arrived in this order.
    fn replica(arrivals: &[Owned]) -> Option<&Owned> {
        arrivals.iter().fold(None, |held, incoming| {
            match merge(held.map(contender), contender(incoming)) {
                Merged::Newest | Merged::Drift { replaces: true } => Some(incoming),
                Merged::Duplicate | Merged::Superseded | Merged::Drift { replaces: false } => held,
            }
        })
    }

    #[test]
    fn the_first_record_of_a_key_is_the_newest() {
        assert_eq!(merge(None, contender(&owned(1, 1, 1))), Merged::Newest);
    }

    #[test]
    fn time_decides_before_the_origin_and_the_origin_before_the_digest() {
        let current = owned(5, 5, 5);
        let outcome = |hlc, node, digest| {
            merge(Some(contender(&current)), contender(&owned(hlc, node, digest)))
        };
        assert_eq!(outcome(6, 1, 1), Merged::Newest);
        assert_eq!(outcome(4, 9, 9), Merged::Superseded);
        assert_eq!(outcome(5, 6, 1), Merged::Newest);
        assert_eq!(outcome(5, 4, 9), Merged::Superseded);
        assert_eq!(outcome(5, 5, 5), Merged::Duplicate);
        assert_eq!(outcome(5, 5, 6), Merged::Drift { replaces: true });
        assert_eq!(outcome(5, 5, 4), Merged::Drift { replaces: false });
    }

    proptest! {
        #[test]
        fn replicas_agree_whatever_the_order_and_number_of_arrivals(
            records in prop::collection::vec((0_u64..4, 0_u8..3, 0_u8..3), 1..8),
            order in any::<prop::sample::Index>(),
        ) {
            let arrivals: Vec<Owned> =
                records.into_iter().map(|(hlc, node, digest)| owned(hlc, node, digest)).collect();
            let mut others = arrivals.clone();
            others.rotate_left(order.index(arrivals.len()));
            others.reverse();
            others.extend(arrivals.iter().cloned());
            prop_assert_eq!(replica(&arrivals), replica(&others));
        }
    }
}
