//! Judges a cycle by what its clients were told and what every node holds at its end. (pure)
//!
//! What a node holds at the end is one more read of every key, after everything else: so the checkers of histories also
//! decide whether an acknowledged write is lost and whether a value is there that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorum_core::testing::history::{self, History, Kind, Operation, Violation};
use serde::{Deserialize, Serialize};

use crate::clients::{Once, Recorded, Spaces, Told};

/// What a node holds: value by namespace and key; a deleted key has none.
pub(crate) type Held = BTreeMap<(String, String), Option<u64>>;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) kind: FindingKind,
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FindingKind {
    /// An acknowledged write is not there.
    Lost,
    /// A value is there that nobody wrote, or whose write was said not to have been applied.
    Phantom,
    NotLinearizable,
    NotRegular,
    /// The search for an order was given up.
    Undecided,
    /// Nodes hold different things, or do so for too long.
    Diverged,
    /// A node ended, did not start, or could not be asked.
    Node,
    /// A node's answer makes no sense.
    Answer,
}

impl FindingKind {
    /// Whether a client was told what is not so, rather than that something is slow or down.
    pub(crate) const fn is_a_broken_promise(self) -> bool {
        matches!(self, Self::Lost | Self::Phantom | Self::NotLinearizable | Self::NotRegular)
    }
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.kind, self.detail)
    }
}

/// Everything that is wrong with a cycle; `ended` is the moment at which all of them were asked what they hold.
pub(crate) fn judge(
    spaces: &Spaces,
    recorded: &Recorded,
    held: &[Held],
    ended: u64,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = recorded
        .odd
        .iter()
        .map(|detail| Finding::new(FindingKind::Answer, detail.clone()))
        .collect();
    for (node, other) in held.iter().enumerate().skip(1) {
        if *other != held[0] {
            let detail = format!(
                "n1 and n{} hold different things: {}",
                node + 1,
                differences(&held[0], other)
            );
            findings.push(Finding::new(FindingKind::Diverged, detail));
        }
    }
    let strict = with_last_reads(&recorded.strict, spaces.strict.as_str(), held, ended);
    if let Err(violation) = history::linearizable(&strict) {
        findings.push(told(FindingKind::NotLinearizable, &violation));
    }
    let plain = with_last_reads(&recorded.plain, spaces.plain.as_str(), held, ended);
    if let Err(violation) = history::regular(&plain) {
        findings.push(told(FindingKind::NotRegular, &violation));
    }
    for (node, held) in held.iter().enumerate() {
        findings.extend(judge_once(node, spaces.once.as_str(), &recorded.once, held));
    }
    findings
}

/// What two nodes do not agree about; a few of many.
fn differences(one: &Held, other: &Held) -> String {
    const SHOWN_MAX: usize = 5;
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differ = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    let shown = differ.take(SHOWN_MAX).map(|name| {
        format!("{}/{} is {:?} and {:?}", name.0, name.1, one.get(name), other.get(name))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn told(kind: FindingKind, violation: &Violation) -> Finding {
    let kind = if violation.is_undecided { FindingKind::Undecided } else { kind };
    Finding::new(kind, violation.to_string())
}

/// The history, and after it a read of every key at every node.
fn with_last_reads(operations: &[Operation], space: &str, held: &[Held], ended: u64) -> History {
    let mut all = operations.to_vec();
    let mut keys: BTreeSet<&str> = operations.iter().map(|it| it.key.as_str()).collect();
    for held in held {
        keys.extend(held.keys().filter(|(name, _)| name == space).map(|(_, key)| key.as_str()));
    }
    for (node, held) in held.iter().enumerate() {
        for key in &keys {
            let value = held.get(&(space.to_owned(), (*key).to_owned())).copied().flatten();
            all.push(Operation {
                client: 1_000 + u32::try_from(node).expect("a few nodes"),
                key: (*key).to_owned(),
                kind: Kind::Read { value },
                invoked: ended,
                returned: Some(ended + 1),
            });
        }
    }
    History::new(all)
}

/// Keys that were written once: there if acknowledged, not there if not applied.
fn judge_once(node: usize, space: &str, writes: &[Once], held: &Held) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut written: BTreeMap<&str, &Once> = BTreeMap::new();
    for write in writes {
        written.insert(&write.key, write);
        let is_there = held.contains_key(&(space.to_owned(), write.key.clone()));
        if write.told == Told::Committed && !is_there {
            let detail = format!("n{}: {space}/{} = {}", node + 1, write.key, write.value);
            findings.push(Finding::new(FindingKind::Lost, detail));
        }
    }
    for ((_, key), value) in held.iter().filter(|((name, _), _)| name == space) {
        let detail = match written.get(key.as_str()) {
            None => "nobody wrote the key".to_owned(),
            Some(write) if write.told == Told::NotApplied => "it was not applied".to_owned(),
            Some(write) if Some(write.value) != *value => format!("it was {}", write.value),
            Some(_) => continue,
        };
        let detail = format!("n{}: {space}/{key} is {value:?}: {detail}", node + 1);
        findings.push(Finding::new(FindingKind::Phantom, detail));
    }
    findings
}

/// What was settled at the end of earlier cycles and is not so any more.
pub(crate) fn changed(settled: &Held, held: &Held, node: usize) -> Vec<Finding> {
    let differs = |(key, value): (&(String, String), &Option<u64>)| {
        let now = held.get(key).copied();
        // A purged tombstone is as absent as one that is there.
        let is_same = now.flatten() == *value;
        (!is_same).then(|| {
            let detail = format!("n{}: {}/{} was {value:?}, is {now:?}", node + 1, key.0, key.1);
            Finding::new(FindingKind::Lost, detail)
        })
    };
    settled.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(entries: &[(&str, &str, Option<u64>)]) -> Held {
        let entry = |(space, key, value): &(&str, &str, Option<u64>)| {
            (((*space).to_owned(), (*key).to_owned()), *value)
        };
        entries.iter().map(entry).collect()
    }

    fn write(key: &str, value: u64, invoked: u64, returned: Option<u64>) -> Operation {
        let kind = Kind::Write { value: Some(value) };
        Operation { client: 0, key: key.to_owned(), kind, invoked, returned }
    }

    fn once(key: &str, value: u64, told: Told) -> Once {
        Once { key: key.to_owned(), value, told }
    }

    fn kinds(recorded: &Recorded, held: &[Held]) -> Vec<FindingKind> {
        let found = judge(&Spaces::of_cycle(0), recorded, held, 1_000);
        found.into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn what_was_acknowledged_and_is_everywhere_is_good() {
        let recorded = Recorded {
            strict: vec![write("k", 1, 0, Some(5)), write("k", 2, 6, None)],
            plain: vec![write("k", 3, 0, Some(5))],
            once: vec![once("a", 4, Told::Committed), once("b", 5, Told::Unknown)],
            ..Recorded::default()
        };
        let all = held(&[
            ("strict.0", "k", Some(2)),
            ("plain.0", "k", Some(3)),
            ("once.0", "a", Some(4)),
        ]);
        assert_eq!(kinds(&recorded, &[all.clone(), all]), []);
    }

    #[test]
    fn a_lost_write_of_each_kind_is_found() {
        let lost = |recorded: Recorded| kinds(&recorded, &[Held::new(), Held::new()]);
        let strict = Recorded { strict: vec![write("k", 1, 0, Some(5))], ..Recorded::default() };
        assert_eq!(lost(strict), [FindingKind::NotLinearizable]);
        let plain = Recorded { plain: vec![write("k", 1, 0, Some(5))], ..Recorded::default() };
        assert_eq!(lost(plain), [FindingKind::NotRegular]);
        let once = Recorded { once: vec![once("a", 1, Told::Committed)], ..Recorded::default() };
        assert_eq!(lost(once), [FindingKind::Lost, FindingKind::Lost], "at each node");
    }

    #[test]
    fn a_value_that_nobody_wrote_is_found() {
        let recorded =
            Recorded { once: vec![once("a", 1, Told::NotApplied)], ..Recorded::default() };
        let one = |entry| kinds(&recorded, &[held(&[entry])]);
        assert_eq!(one(("once.0", "a", Some(1))), [FindingKind::Phantom]);
        assert_eq!(one(("once.0", "z", Some(1))), [FindingKind::Phantom]);
        assert_eq!(one(("strict.0", "k", Some(1))), [FindingKind::NotLinearizable]);
        assert_eq!(one(("plain.0", "k", Some(1))), [FindingKind::NotRegular]);
    }

    #[test]
    fn nodes_that_differ_are_found() {
        let (one, other) = (held(&[("other", "k", Some(1))]), Held::new());
        assert_eq!(kinds(&Recorded::default(), &[one, other]), [FindingKind::Diverged]);
    }

    #[test]
    fn what_was_settled_must_stay_but_a_tombstone_may_go() {
        let settled = held(&[("a", "k", Some(1)), ("a", "gone", None)]);
        assert_eq!(changed(&settled, &held(&[("a", "k", Some(1))]), 0), []);
        assert_eq!(changed(&settled, &held(&[("a", "k", Some(2))]), 0).len(), 1);
        assert_eq!(changed(&settled, &Held::new(), 0).len(), 1);
    }
}
