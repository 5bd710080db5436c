//! Gives every local write its place: the next dot of the lineage and a version above all before it.
//!
//! A plain value. The store calls it under the lock under which it also enqueues the write, so that the order of
//! dots, of versions and of the log is one order.

use std::time::Duration;

use quorum_core::{Dot, Hlc, HlcClock, HlcError, Lineage};

/// The place of the next write.
#[derive(Debug)]
pub(crate) struct Sequencer {
    clock: HlcClock,
    headroom: Duration,
    lineage: Lineage,
    issued: u64,
}

impl Sequencer {
    /// Continues above `floor`, with nothing reserved: whoever has a faulty clock at its start must not have moved the
    /// durable ceiling by that.
    pub(crate) fn new(lineage: Lineage, floor: Hlc, headroom: Duration) -> Self {
        Self { clock: HlcClock::resume(floor), headroom, lineage, issued: 0 }
    }

    /// The lineage that writes are numbered in.
    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The last number given out; zero before the first.
    pub(crate) fn issued(&self) -> u64 {
        self.issued
    }

    /// Gives out the next dot and a version above everything issued or seen, and above `floor`.
    pub(crate) fn next(&mut self, floor: Hlc, wall_millis: u64) -> Result<(Dot, Hlc), HlcError> {
        let hlc = self.clock.tick_above(floor, wall_millis)?;
        self.issued += 1;
        Ok((Dot { lineage: self.lineage.clone(), seq: self.issued }, hlc))
    }

    /// The ceiling to reserve now so that nobody has to wait for one: something once half of what it gives is used.
    pub(crate) fn renewal(&self, wall_millis: u64) -> Option<Hlc> {
        let next = self.ceiling_above(Hlc::ZERO, wall_millis);
        let from = self.clock.last().millis().max(wall_millis);
        (self.clock.ceiling().ahead_of(from) < next.ahead_of(from) / 2).then_some(next)
    }

    /// The ceiling that admits a version above `floor`, and the headroom on top.
    pub(crate) fn ceiling_above(&self, floor: Hlc, wall_millis: u64) -> Hlc {
        let mut clock = self.clock;
        clock.observe(floor);
        clock.ceiling_for(wall_millis, self.headroom)
    }

    /// A higher ceiling is durable now.
    pub(crate) fn raise_ceiling(&mut self, durable: Hlc) {
        self.clock.raise_ceiling(durable);
    }

    /// A version from elsewhere: later ones lie above it.
    pub(crate) fn observe(&mut self, seen: Hlc) {
        self.clock.observe(seen);
    }

    /// Goes on in another lineage, from its first dot.
    pub(crate) fn switch(&mut self, lineage: Lineage) {
        self.lineage = lineage;
        self.issued = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorum_core::{Epoch, Incarnation, Origin, PeerId};

    fn sequencer() -> Sequencer {
        let node = PeerId::new("n1").expect("a valid name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        let lineage = Lineage { origin, epoch: Epoch::new(1, 1) };
        Sequencer::new(lineage, Hlc::from_millis(1_000), Duration::from_secs(10))
    }

    #[test]
    fn nothing_is_issued_before_a_ceiling_is_durable() {
        let mut sequencer = sequencer();
        assert!(sequencer.next(Hlc::ZERO, 2_000).is_err());
        assert_eq!(sequencer.issued(), 0, "a refused write leaves no hole");
        let ceiling = sequencer.renewal(2_000).expect("nothing is reserved");
        sequencer.raise_ceiling(ceiling);
        let (dot, hlc) = sequencer.next(Hlc::ZERO, 2_000).expect("reserved");
        assert_eq!((dot.seq, hlc), (1, Hlc::from_millis(2_000)));
        assert_eq!(sequencer.renewal(2_000), None);
        assert!(sequencer.renewal(7_001).is_some(), "half of ten seconds is used");
    }

    /// A node that crashes again and again must not drive the clocks of all.
    #[test]
    fn restarts_do_not_add_up() {
        let (mut floor, headroom) = (Hlc::ZERO, Duration::from_secs(10));
        let lineage = sequencer().lineage().clone();
        for start in 0..100 {
            let wall = 1_000_000 + start * 500;
            let mut sequencer = Sequencer::new(lineage.clone(), floor, headroom);
            for _ in 0..3 {
                if let Some(ceiling) = sequencer.renewal(wall) {
                    sequencer.raise_ceiling(ceiling);
                    floor = ceiling;
                }
                let (_, hlc) = sequencer.next(Hlc::ZERO, wall).expect("reserved");
                assert!(hlc.ahead_of(wall) <= headroom, "start {start}: {hlc:?}");
            }
            assert_eq!(sequencer.renewal(wall), None, "nothing is reserved for nothing");
        }
    }

    #[test]
    fn dots_are_dense_and_versions_rise_whatever_the_clock_does() {
        let mut sequencer = sequencer();
        sequencer.raise_ceiling(Hlc::from_millis(1_000_000));
        let mut last = Hlc::ZERO;
        for (seq, wall) in (1..).zip([2_000, 1_500, 1_500, 9_000, 10]) {
            let (dot, hlc) = sequencer.next(Hlc::ZERO, wall).expect("reserved");
            assert_eq!(dot.seq, seq);
            assert!(hlc > last);
            last = hlc;
        }
        sequencer.observe(Hlc::from_millis(20_000));
        let (_, hlc) = sequencer.next(Hlc::from_millis(30_000), 1).expect("reserved");
        assert_eq!(hlc, Hlc::from_millis(30_000).next());
    }

    #[test]
    fn a_version_above_a_floor_far_ahead_gets_its_ceiling() {
        let mut sequencer = sequencer();
        let floor = Hlc::from_millis(500_000);
        let ceiling = sequencer.ceiling_above(floor, 2_000);
        sequencer.raise_ceiling(ceiling);
        assert!(sequencer.next(floor, 2_000).is_ok());
    }
}
