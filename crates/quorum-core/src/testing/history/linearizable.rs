//! Whether there is one order of all operations, each between its beginning and its end, in which every read returns the
//! value written last.
//!
//! The search is that of Wing and Gong (1993) with the memory of Lowe (2017): a set of operations done so far together
//! with the value they leave behind is tried once only.

use std::collections::HashSet;

use super::{History, Kind, Operation, Stats, Violation, neighbourhood};

/// States after which the search for one key is given up.
const STATES_MAX: usize = 5_000_000;

/// Whether the history is linearizable, key by key.
///
/// A write of which nobody knows whether it took effect may do so at any time after its beginning, or never.
///
/// # Errors
///
/// [`Violation`] names the first operation for which no order was found; or says that the search was given up.
pub fn linearizable(history: &History) -> Result<Stats, Violation> {
    let mut stats = Stats::default();
    for (key, operations) in history.by_key() {
        stats.count(&operations);
        let mut search = Search::new(needed(&operations));
        let outcome = search.run();
        stats.states += search.tried.len();
        outcome.map_err(|failed| failed.told(key, &operations, &search))?;
    }
    Ok(stats)
}

/// Without the pending writes whose value nobody read: an order with such a write is an order without it, since nobody
/// looked before the next write.
fn needed<'a>(operations: &[&'a Operation]) -> Vec<&'a Operation> {
    let read: HashSet<Option<u64>> = operations
        .iter()
        .filter_map(|operation| match operation.kind {
            Kind::Read { value } => Some(value),
            Kind::Write { .. } => None,
        })
        .collect();
    let is_needed = |operation: &&&Operation| match operation.kind {
        Kind::Write { value } => operation.returned.is_some() || read.contains(&value),
        Kind::Read { .. } => true,
    };
    operations.iter().filter(is_needed).copied().collect()
}

/// Which operations are done, one bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn none_of(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    fn flip(&mut self, operation: usize) {
        self.0[operation / 64] ^= 1 << (operation % 64);
    }
}

enum Failed {
    /// No order exists; this operation could not be placed where the search came furthest.
    At(usize),
    GivenUp,
}

impl Failed {
    fn told(self, key: &str, operations: &[&Operation], search: &Search<'_>) -> Violation {
        let (is_undecided, detail) = match self {
            Self::GivenUp => (true, format!("undecided after {STATES_MAX} states")),
            Self::At(operation) => {
                let stuck = search.operations[operation];
                let around = neighbourhood(operations, stuck);
                (false, format!("no order allows: {stuck}; around it:{around}"))
            }
        };
        Violation { key: key.to_owned(), detail, is_undecided }
    }
}

/// The beginnings and ends of all operations that are not done, in order of time, as a linked list. Place 0 is its head.
struct Search<'a> {
    operations: Vec<&'a Operation>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The operation that each place belongs to, and whether it is the beginning.
    places: Vec<(usize, bool)>,
    /// Where the end of each operation is.
    ends: Vec<usize>,
    tried: HashSet<(Done, Option<u64>)>,
}

impl<'a> Search<'a> {
    fn new(operations: Vec<&'a Operation>) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * operations.len());
        for (index, operation) in operations.iter().enumerate() {
            events.push((operation.invoked, false, index));
            events.push((operation.end(), true, index));
        }
        // At the same moment beginnings come first: the two operations then are concurrent.
        events.sort_unstable();
        let mut places = vec![(usize::MAX, false)];
        let mut ends = vec![0; operations.len()];
        for (_, is_end, operation) in events {
            if is_end {
                ends[operation] = places.len();
            }
            places.push((operation, !is_end));
        }
        let next = (1..=places.len()).map(|place| place % places.len()).collect();
        let previous =
            (0..places.len()).map(|place| place.checked_sub(1).unwrap_or(places.len() - 1));
        let previous = previous.collect();
        Self { operations, next, previous, places, ends, tried: HashSet::new() }
    }

    /// Tries operations in every order that time allows, deepest first.
    fn run(&mut self) -> Result<(), Failed> {
        let mut done = Done::none_of(self.operations.len());
        let mut value = None;
        let mut path: Vec<(usize, Option<u64>)> = Vec::new();
        let (mut furthest, mut stuck) = (0, 0);
        let mut place = self.next[0];
        while self.next[0] != 0 {
            let (operation, is_beginning) = self.places[place];
            if is_beginning {
                if let Some(after) = effect(self.operations[operation], value) {
                    done.flip(operation);
                    if self.tried.insert((done.clone(), after)) {
                        if self.tried.len() > STATES_MAX {
                            return Err(Failed::GivenUp);
                        }
                        path.push((place, value));
                        value = after;
                        self.take_out(place);
                        place = self.next[0];
                        continue;
                    }
                    done.flip(operation);
                }
                place = self.next[place];
                continue;
            }
            // An operation has ended and is not done: what was done last must be taken back.
            if path.len() >= furthest {
                (furthest, stuck) = (path.len(), operation);
            }
            let Some((last, before)) = path.pop() else { return Err(Failed::At(stuck)) };
            value = before;
            done.flip(self.places[last].0);
            self.put_back(last);
            place = self.next[last];
        }
        Ok(())
    }

    fn take_out(&mut self, beginning: usize) {
        for place in [beginning, self.ends[self.places[beginning].0]] {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = after;
            self.previous[after] = before;
        }
    }

    fn put_back(&mut self, beginning: usize) {
        for place in [self.ends[self.places[beginning].0], beginning] {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = place;
            self.previous[after] = place;
        }
    }
}

/// The value that an operation leaves behind, or `None` if it cannot happen on this one.
fn effect(operation: &Operation, value: Option<u64>) -> Option<Option<u64>> {
    match operation.kind {
        Kind::Write { value: written } => Some(written),
        Kind::Read { value: seen } => (seen == value).then_some(value),
    }
}
