//! What is committed and not in the tables yet, in memory: every key with its values, newest last.
//!
//! A commit looks up one slot per key. Whoever wants keys in order pays for the order: keys are sorted when somebody
//! asks, those that came since the last time. Older values stay for as long as a view may still look at them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

use super::Space;

/// About what a key costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Commits that lie one directly behind the other.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    spaces: [RwLock<Slots>; Space::ALL.len()],
}

/// Entries of one space, in order; `None` is a key that is removed.
pub(crate) type Entries = Vec<(Bytes, Option<Bytes>)>;

#[derive(Debug, Default)]
struct Slots {
    slots: HashMap<Bytes, Slot>,
    in_order: BTreeSet<Bytes>,
    not_in_order: Vec<Bytes>,
}

/// The values of one key.
#[derive(Debug)]
struct Slot {
    newest: Made,
    /// Oldest first. Nearly always nothing, or one.
    older: Vec<Made>,
}

/// A value, or that there is none, and the commit that made it so.
#[derive(Debug, Clone)]
struct Made {
    commit: u64,
    value: Option<Bytes>,
}

impl Layer {
    /// An empty layer with room for about as much as another one holds.
    pub(crate) fn like(other: &Self) -> Self {
        let room = |space: &RwLock<Slots>| {
            let keys = space.read().slots.len();
            let (slots, not_in_order) = (HashMap::with_capacity(keys), Vec::with_capacity(keys));
            RwLock::new(Slots { slots, in_order: BTreeSet::new(), not_in_order })
        };
        Self { spaces: other.spaces.each_ref().map(room) }
    }

    /// Enters changes of a commit. Values that were replaced at or before the commit `oldest` are looked at by nobody.
    /// Tells about how much more memory the layer takes, the bytes of keys and values aside.
    pub(crate) fn enter(
        &self,
        commit: u64,
        oldest: u64,
        changes: impl Iterator<Item = (Space, Bytes, Option<Bytes>)>,
    ) -> usize {
        let mut more = 0;
        // Changes come in order of spaces, so each lock is taken about once.
        let mut held = None;
        for (space, key, value) in changes {
            if held.as_ref().is_none_or(|(at, _)| *at != space) {
                drop(held.take());
                held = Some((space, self.space(space).write()));
            }
            if let Some((_, slots)) = &mut held {
                more += slots.enter(key, Made { commit, value }, oldest);
            }
        }
        more
    }

    /// What the layer says about a key as of a commit: nothing, that it is removed (`Some(None)`), or its value.
    pub(crate) fn get(&self, space: Space, key: &[u8], at: u64) -> Option<Option<Bytes>> {
        self.space(space).read().slots.get(key)?.as_of(at).cloned()
    }

    /// Up to `limit` entries of a range as of a commit, smallest first; whether there may be more.
    pub(crate) fn range(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
    ) -> (Entries, bool) {
        let mut slots = self.space(space).read();
        if !slots.not_in_order.is_empty() {
            drop(slots);
            self.space(space).write().put_in_order();
            slots = self.space(space).read();
        }
        // A key that came in between is of a later commit than whoever asks can see.
        let seen = |key: &Bytes| Some((key.clone(), slots.slots.get(key)?.as_of(at)?.clone()));
        let mut entries = slots.in_order.range::<[u8], _>(range).filter_map(seen);
        let found: Entries = entries.by_ref().take(limit).collect();
        let is_more = found.len() == limit && entries.next().is_some();
        (found, is_more)
    }

    /// The newest entries of a space, in order.
    pub(crate) fn newest(&self, space: Space) -> Entries {
        let slots = self.space(space).read();
        let newest = slots.slots.iter().map(|(key, slot)| (key.clone(), slot.newest.value.clone()));
        let mut newest: Entries = newest.collect();
        newest.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        newest
    }

    /// Keys of a space.
    pub(crate) fn len(&self, space: Space) -> usize {
        self.space(space).read().slots.len()
    }

    fn space(&self, space: Space) -> &RwLock<Slots> {
        &self.spaces[space as usize]
    }
}

impl Slots {
    fn enter(&mut self, key: Bytes, made: Made, oldest: u64) -> usize {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.replace(made, oldest);
            return 0;
        }
        self.not_in_order.push(key.clone());
        self.slots.insert(key, Slot { newest: made, older: Vec::new() });
        ENTRY_BYTES
    }

    fn put_in_order(&mut self) {
        self.in_order.extend(self.not_in_order.drain(..));
    }
}

impl Slot {
    fn replace(&mut self, made: Made, oldest: u64) {
        let replaced = std::mem::replace(&mut self.newest, made);
        if self.newest.commit > oldest {
            self.older.push(replaced);
            // The newest value at or before `oldest` is what the oldest view sees; those before it nobody does.
            if let Some(seen) = self.older.iter().rposition(|made| made.commit <= oldest) {
                self.older.drain(..seen);
            }
        } else {
            self.older.clear();
        }
    }

    fn as_of(&self, at: u64) -> Option<&Option<Bytes>> {
        let older = || self.older.iter().rfind(|made| made.commit <= at);
        let made = if self.newest.commit <= at { Some(&self.newest) } else { older() };
        made.map(|made| &made.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

    fn set(key: &'static str, value: &'static str) -> (Space, Bytes, Option<Bytes>) {
        (Space::Records, Bytes::from(key), Some(Bytes::from(value)))
    }

    fn removed(key: &'static str) -> (Space, Bytes, Option<Bytes>) {
        (Space::Records, Bytes::from(key), None)
    }

    fn get(layer: &Layer, key: &str, at: u64) -> Option<Option<Bytes>> {
        layer.get(Space::Records, key.as_bytes(), at)
    }

    #[test]
    fn a_key_is_seen_as_it_was_at_a_commit() {
        let layer = Layer::default();
        layer.enter(1, 0, [set("a", "1")].into_iter());
        layer.enter(2, 0, [removed("a"), set("b", "2")].into_iter());
        layer.enter(3, 0, [set("a", "3")].into_iter());
        assert_eq!(get(&layer, "a", 0), None);
        assert_eq!(get(&layer, "a", 1), Some(Some(Bytes::from("1"))));
        assert_eq!(get(&layer, "a", 2), Some(None));
        assert_eq!(get(&layer, "a", 9), Some(Some(Bytes::from("3"))));
        assert_eq!(get(&layer, "b", 1), None);
    }

    #[test]
    fn values_that_nobody_can_see_go() {
        let layer = Layer::default();
        for commit in 1..100 {
            layer.enter(commit, commit - 1, [set("a", "x")].into_iter());
        }
        let slots = layer.space(Space::Records).read();
        assert_eq!(slots.slots[&b"a"[..]].older.len(), 1, "one view looks at the commit before");
        drop(slots);
        assert_eq!(get(&layer, "a", 98), Some(Some(Bytes::from("x"))));
    }

    #[test]
    fn ranges_come_in_order_and_in_pages_whenever_keys_came() {
        let layer = Layer::default();
        layer.enter(1, 0, [set("c", "1"), set("a", "1")].into_iter());
        let (found, is_more) = layer.range(Space::Records, ALL, 1, 1);
        assert_eq!((found[0].0.as_ref(), is_more), (&b"a"[..], true));
        layer.enter(2, 0, [removed("b"), set("d", "2")].into_iter());
        let keys = |at, limit| {
            let (found, is_more) = layer.range(Space::Records, ALL, at, limit);
            let keys = found.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned());
            (keys.collect::<String>(), is_more)
        };
        assert_eq!(keys(1, 9), ("ac".to_owned(), false));
        assert_eq!(keys(2, 9), ("abcd".to_owned(), false), "removed keys are told, too");
        assert_eq!(keys(2, 4), ("abcd".to_owned(), false));
        assert_eq!(keys(2, 3), ("abc".to_owned(), true));
        let newest = layer.newest(Space::Records);
        assert!(newest.iter().map(|(key, _)| key.as_ref()).eq([&b"a"[..], b"b", b"c", b"d"]));
    }
}
