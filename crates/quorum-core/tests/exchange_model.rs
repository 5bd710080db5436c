//! Anti-entropy, exhaustively on small meshes: the plan against a naive full comparison, and every order in which what is
//! planned can be sent.

use std::collections::{BTreeMap, BTreeSet};

use quorum_core::{
    Epoch, Frontier, Incarnation, Lineage, Origin, PeerId, Reach, SeqSet, owed_to, wants,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn peer(index: usize) -> PeerId {
    PeerId::new(NAMES[index]).expect("a name")
}

/// The lineage in which a member numbers its writes.
fn lineage(index: usize) -> Lineage {
    let incarnation = Incarnation::from_bytes([1 + u8::try_from(index).expect("small"); 8]);
    let origin = Origin { node: peer(index), incarnation };
    Lineage { origin, epoch: Epoch::new(1, 1) }
}

fn frontier_of(dots: impl IntoIterator<Item = (usize, u64)>) -> Frontier {
    let mut frontier = Frontier::new();
    for (origin, seq) in dots {
        frontier.insert_range(&lineage(origin), seq, seq);
    }
    frontier
}

/// The dots of a frontier one by one: what somebody compares who has all the time in the world.
fn dots_of(frontier: &Frontier) -> BTreeSet<(Lineage, u64)> {
    let each = |(lineage, set): (&Lineage, &SeqSet)| {
        let (lineage, set) = (lineage.clone(), set.clone());
        let seqs = set.intervals().flat_map(|(first, last)| first..=last).collect::<Vec<_>>();
        seqs.into_iter().map(move |seq| (lineage.clone(), seq))
    };
    frontier.iter().flat_map(each).collect()
}

/// Every sight that one member can have of two others, over two dots of each of two of them: what it lacks is wanted of
/// exactly one member that has it, or is being sent by its coordinator.
#[test]
fn the_plan_is_what_a_full_comparison_says() {
    const DOTS: [(usize, u64); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];
    let subset = |bits: usize| {
        frontier_of(
            DOTS.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, dot)| *dot),
        )
    };
    let current = lineage(0);
    let mut sights = 0;
    for bits in 0..1 << 12 {
        for pushing in 0..4_usize {
            let (ours, one, other) = (subset(bits), subset(bits >> 4), subset(bits >> 8));
            let holders = BTreeMap::from([(peer(1), one), (peer(2), other)]);
            let pushing: Vec<Lineage> =
                (1..3).filter(|i| pushing >> (i - 1) & 1 == 1).map(lineage).collect();
            let plan = wants(Reach {
                ours: &ours,
                current: &current,
                holders: &holders,
                pushing: &pushing,
                expected: &[],
                slow: &BTreeSet::new(),
            });
            let mut naive = BTreeSet::new();
            for held in holders.values() {
                naive.extend(dots_of(held).difference(&dots_of(&ours)).cloned());
            }
            naive.retain(|(lineage, _)| !pushing.contains(lineage));
            let mut planned = BTreeSet::new();
            for (holder, wanted) in &plan {
                for dot in dots_of(wanted) {
                    assert!(dots_of(&holders[holder]).contains(&dot), "asked of one that lacks it");
                    assert!(planned.insert(dot), "asked of two");
                }
            }
            assert_eq!(planned, naive);
            sights += 1;
        }
    }
    assert_eq!(sights, 1 << 14);
}

/// A write of the model: who numbered it, and the key it is about. A later place in the list is a newer version.
const WRITES: [(usize, u64, char); 4] = [(0, 1, 'x'), (0, 2, 'y'), (1, 1, 'x'), (2, 1, 'y')];

/// Which writes a member covers, and which is current for each key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Member {
    covered: BTreeSet<usize>,
    current: BTreeMap<char, usize>,
}

impl Member {
    fn frontier(&self) -> Frontier {
        frontier_of(self.covered.iter().map(|write| (WRITES[*write].0, WRITES[*write].1)))
    }

    /// Takes a record that stands for itself and for one more write.
    fn take(&mut self, record: usize, also: usize) {
        if self.covered.insert(record) {
            let current = self.current.entry(WRITES[record].2).or_insert(record);
            *current = record.max(*current);
        }
        self.covered.insert(also);
    }

    /// For every write it covers, it holds that one or a newer one of the key.
    fn keeps_its_promise(&self) -> bool {
        self.covered.iter().all(|write| self.current.get(&WRITES[*write].2) >= Some(write))
    }
}

type Mesh = Vec<Member>;

/// What could be sent next, if `links` says who can reach whom: the plans are those of the real code.
fn sendings(mesh: &Mesh, links: &dyn Fn(usize, usize) -> bool) -> Vec<(usize, usize, usize)> {
    let mut sendings = Vec::new();
    for to in 0..mesh.len() {
        let reachable: Vec<usize> =
            (0..mesh.len()).filter(|from| *from != to && links(*from, to)).collect();
        let holders: BTreeMap<PeerId, Frontier> =
            reachable.iter().map(|from| (peer(*from), mesh[*from].frontier())).collect();
        let pushing: Vec<Lineage> = reachable.iter().map(|from| lineage(*from)).collect();
        let (ours, current) = (mesh[to].frontier(), lineage(to));
        let plan = wants(Reach {
            ours: &ours,
            current: &current,
            holders: &holders,
            pushing: &pushing,
            expected: &[],
            slow: &BTreeSet::new(),
        });
        let mut due = Frontier::new();
        for from in reachable {
            let wanted = plan.get(&peer(from)).cloned().unwrap_or_default();
            let owed = owed_to(&lineage(from).origin, &holders[&peer(from)], &ours, &wanted);
            due.merge(&owed);
            for (write, (origin, seq, _)) in WRITES.iter().enumerate() {
                if owed.of(&lineage(*origin)).is_some_and(|set| set.contains(*seq)) {
                    sendings.push((from, to, write));
                }
            }
        }
        let mut reach = Frontier::new();
        holders.values().for_each(|held| reach.merge(held));
        assert_eq!(dots_of(&due), dots_of(&reach.minus(&ours)), "all that is in reach is due");
    }
    sendings
}

/// Every mesh in which each write is with its coordinator and any of the others, and every order in which what is owed
/// can arrive: no member ever claims what it lacks, and whoever can reach each other ends up with the same. Also without
/// the first member, which is dead with whatever only it has.
#[test]
#[expect(clippy::print_stdout, reason = "how many states were seen belongs to the result")]
fn whoever_can_reach_each_other_ends_up_with_the_same_in_every_order() {
    let mut states = 0;
    for (dead, alive) in [(None, vec![0, 1, 2]), (Some(0), vec![1, 2])] {
        let links = |one: usize, other: usize| dead != Some(one) && dead != Some(other);
        for bits in 0..1_u32 << (2 * WRITES.len()) {
            let mut mesh = vec![Member::default(); 3];
            for (write, (origin, _, _)) in WRITES.iter().enumerate() {
                let others = (0..3).filter(|member| member != origin);
                let delivered =
                    others.enumerate().filter(|(i, _)| bits >> (2 * write + i) & 1 == 1);
                for member in delivered.map(|(_, member)| member).chain([*origin]) {
                    mesh[member].take(write, write);
                }
            }
            let all: BTreeSet<usize> =
                alive.iter().flat_map(|member| mesh[*member].covered.clone()).collect();
            let (mut seen, mut open) = (BTreeSet::new(), vec![mesh]);
            while let Some(mesh) = open.pop() {
                if !seen.insert(mesh.clone()) {
                    continue;
                }
                assert!(mesh.iter().all(Member::keeps_its_promise), "{mesh:?}");
                let sendings = sendings(&mesh, &links);
                if sendings.is_empty() {
                    for member in &alive {
                        assert_eq!(mesh[*member], mesh[alive[0]]);
                        assert_eq!(mesh[*member].covered, all);
                    }
                }
                for (from, to, write) in sendings {
                    let mut next = mesh.clone();
                    // In the place of an overwritten record goes the one that is current.
                    let record = mesh[from].current[&WRITES[write].2];
                    next[to].take(record, write);
                    assert_ne!(next, mesh, "everything sent is of use");
                    open.push(next);
                }
            }
            states += seen.len();
        }
    }
    println!("{states} states");
    assert!(states > 2_000, "{states} states");
}
