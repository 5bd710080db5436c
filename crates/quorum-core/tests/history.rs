//! The judges of recorded histories, judged themselves: by histories that are known to be good or bad, and by a checker
//! too simple to be wrong.

use quorum_core::testing::history::{History, Kind, Operation, Violation, linearizable, regular};

/// Client, what it did, from when to when.
fn history(operations: &[(Kind, u64, Option<u64>)]) -> History {
    let operation = |(client, (kind, invoked, returned)): (u32, &(Kind, u64, Option<u64>))| {
        Operation { client, key: "k".into(), kind: *kind, invoked: *invoked, returned: *returned }
    };
    History::new((0..).zip(operations).map(operation).collect())
}

const fn wrote(value: u64) -> Kind {
    Kind::Write { value: Some(value) }
}

const fn saw(value: u64) -> Kind {
    Kind::Read { value: Some(value) }
}

const DELETED: Kind = Kind::Write { value: None };
const SAW_NOTHING: Kind = Kind::Read { value: None };

#[track_caller]
fn both_accept(operations: &[(Kind, u64, Option<u64>)]) {
    let history = history(operations);
    assert!(linearizable(&history).is_ok(), "{:?}", linearizable(&history));
    assert!(regular(&history).is_ok(), "{:?}", regular(&history));
}

#[track_caller]
fn both_refuse(operations: &[(Kind, u64, Option<u64>)]) -> Violation {
    let history = history(operations);
    assert!(regular(&history).is_err(), "regular: {history:?}");
    let violation = linearizable(&history).expect_err("not linearizable");
    assert!(!violation.is_undecided);
    violation
}

#[test]
fn reads_of_the_last_or_of_a_concurrent_write_are_accepted() {
    both_accept(&[]);
    both_accept(&[(SAW_NOTHING, 0, Some(1)), (wrote(1), 2, Some(3)), (saw(1), 4, Some(5))]);
    both_accept(&[(wrote(1), 0, Some(9)), (SAW_NOTHING, 1, Some(2)), (saw(1), 3, Some(4))]);
    both_accept(&[(wrote(1), 0, Some(1)), (DELETED, 2, Some(3)), (SAW_NOTHING, 4, Some(5))]);
}

#[test]
fn a_stale_read_is_refused_with_the_operations_around_it() {
    let stale = [(wrote(1), 0, Some(1)), (wrote(2), 2, Some(3)), (saw(1), 4, Some(5))];
    let violation = both_refuse(&stale);
    assert!(violation.to_string().contains("client 2 read 1"), "{violation}");
    assert!(violation.to_string().contains("client 1 wrote 2"), "{violation}");
}

#[test]
fn a_lost_write_and_a_value_that_nobody_wrote_are_refused() {
    both_refuse(&[(wrote(1), 0, Some(1)), (SAW_NOTHING, 2, Some(3))]);
    both_refuse(&[(wrote(1), 0, Some(1)), (saw(7), 2, Some(3))]);
    both_refuse(&[(saw(1), 0, Some(1)), (wrote(1), 2, Some(3))]);
}

#[test]
fn a_write_of_unknown_end_may_take_effect_late_or_never() {
    both_accept(&[(wrote(1), 0, None), (SAW_NOTHING, 5, Some(6)), (SAW_NOTHING, 7, Some(8))]);
    both_accept(&[(wrote(1), 0, None), (SAW_NOTHING, 5, Some(6)), (saw(1), 7, Some(8))]);
}

#[test]
fn a_new_value_and_then_an_old_one_is_regular_and_not_linearizable() {
    let inversion = history(&[
        (wrote(1), 0, Some(1)),
        (wrote(2), 2, Some(9)),
        (saw(2), 3, Some(4)),
        (saw(1), 5, Some(6)),
    ]);
    assert!(regular(&inversion).is_ok());
    assert!(linearizable(&inversion).is_err());
    // A pending write that was seen once stays.
    let unseen = history(&[(wrote(1), 0, None), (saw(1), 1, Some(2)), (SAW_NOTHING, 3, Some(4))]);
    assert!(linearizable(&unseen).is_err());
}

#[test]
fn keys_are_registers_of_their_own() {
    let mut operations = Vec::new();
    for (client, key, kind, at) in
        [(0, "a", wrote(1), 0), (1, "b", SAW_NOTHING, 2), (2, "a", saw(1), 4)]
    {
        let key = key.to_owned();
        operations.push(Operation { client, key, kind, invoked: at, returned: Some(at + 1) });
    }
    let stats = linearizable(&History::new(operations)).expect("linearizable");
    assert_eq!((stats.keys, stats.operations, stats.reads), (2, 3, 2));
}

/// Numbers from a seed, by SplitMix64.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Clients one operation at a time each; every operation takes effect at one moment between its two ends.
    fn atomic(&mut self, clients: u32, rounds: u64) -> Vec<(Kind, u64, Option<u64>)> {
        let mut spans = Vec::new();
        for _ in 0..clients {
            let mut now = self.below(10);
            for _ in 0..rounds {
                let invoked = now + self.below(10);
                let effect = invoked + self.below(10);
                let returned = effect + self.below(10);
                // Twice, so that two effects never fall together.
                spans.push((2 * invoked, 2 * effect, 2 * returned + 1));
                now = returned + 1;
            }
        }
        spans.sort_by_key(|(_, effect, _)| *effect);
        let (mut value, mut operations) = (None, Vec::new());
        for (number, (invoked, _, returned)) in (1..).zip(spans) {
            let kind = match self.below(5) {
                0 => DELETED,
                1 | 2 => wrote(number),
                _ => Kind::Read { value },
            };
            if let Kind::Write { value: written } = kind {
                value = written;
            }
            let is_write = matches!(kind, Kind::Write { .. });
            let is_unknown = is_write && self.below(8) == 0;
            operations.push((kind, invoked, (!is_unknown).then_some(returned)));
        }
        operations
    }
}

/// Tries all orders, one by one. Pending writes may be placed or not.
fn any_order_fits(left: &mut Vec<(Kind, u64, Option<u64>)>, value: Option<u64>) -> bool {
    let earliest_end = left.iter().filter_map(|(_, _, returned)| *returned).min();
    let Some(earliest_end) = earliest_end else { return true };
    for at in 0..left.len() {
        let (kind, invoked, _) = left[at];
        if invoked > earliest_end {
            continue;
        }
        let after = match kind {
            Kind::Write { value: written } => written,
            Kind::Read { value: seen } if seen == value => value,
            Kind::Read { .. } => continue,
        };
        let operation = left.remove(at);
        let fits = any_order_fits(left, after);
        left.insert(at, operation);
        if fits {
            return true;
        }
    }
    false
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..4_000 {
        let mut random = Seeded(seed);
        let mut operations = random.atomic(3, 2);
        assert!(linearizable(&history(&operations)).is_ok(), "seed {seed}: {operations:?}");
        assert!(regular(&history(&operations)).is_ok(), "seed {seed}: {operations:?}");
        // One read sees something else.
        let reads: Vec<usize> = (0..operations.len())
            .filter(|at| matches!(operations[*at].0, Kind::Read { .. }))
            .collect();
        if reads.is_empty() {
            continue;
        }
        let at = reads[usize::try_from(random.below(reads.len() as u64)).expect("small")];
        let value = random.below(7);
        operations[at].0 = Kind::Read { value: (value > 0).then_some(value) };
        let expected = any_order_fits(&mut operations.clone(), None);
        let judged = linearizable(&history(&operations));
        assert_eq!(judged.is_ok(), expected, "seed {seed}: {judged:?}: {operations:?}");
        if expected {
            good += 1;
            assert!(regular(&history(&operations)).is_ok(), "seed {seed}: {operations:?}");
        } else {
            bad += 1;
        }
    }
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad: both kinds must be met");
}

#[test]
fn long_histories_of_many_clients_are_judged() {
    for seed in 0..5 {
        let operations = Seeded(seed).atomic(12, 200);
        let stats = linearizable(&history(&operations)).unwrap_or_else(|violation| {
            panic!("seed {seed}: {violation}");
        });
        assert!(stats.states > 1_000, "seed {seed}: {stats:?}");
    }
}
