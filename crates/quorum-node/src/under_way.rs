//! Which named writes are being executed on this node now, so that no other member executes one of them beside it.
//!
//! A write that is looked for elsewhere is found once it is staged; before that only this list knows of it. Two members
//! that look for the same write at the same time must not wait for each other: then the one with the smaller name goes on.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quorum_core::{PeerId, WriteId};

/// The list. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay {
    writes: Arc<Mutex<HashMap<WriteId, Requests>>>,
}

/// How many requests for one write are how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Requests {
    /// Looking for an earlier attempt.
    looking: usize,
    /// Found none, and executing.
    executing: usize,
    /// While these looked, a member that goes first was told that nobody executes the write here.
    gave_way: bool,
}

/// One request on the list; off it when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    list: UnderWay,
    write_id: WriteId,
    is_executing: bool,
}

impl UnderWay {
    /// Enters a request that looks for an earlier attempt first.
    pub(crate) fn look(&self, write_id: WriteId) -> Entry {
        self.writes.lock().entry(write_id).or_default().looking += 1;
        Entry { list: self.clone(), write_id, is_executing: false }
    }

    /// Whether a write is being executed here.
    pub(crate) fn is_executing(&self, write_id: &WriteId) -> bool {
        self.writes.lock().get(write_id).is_some_and(|requests| requests.executing > 0)
    }

    /// Whether the member `from`, which looks for a write, must leave it to this one, `local`. If not, those who look for it
    /// here give way.
    pub(crate) fn has_precedence(&self, write_id: &WriteId, local: &PeerId, from: &PeerId) -> bool {
        self.writes.lock().get_mut(write_id).is_some_and(|requests| {
            let goes_first = requests.executing > 0 || (requests.looking > 0 && local < from);
            requests.gave_way |= !goes_first;
            goes_first
        })
    }
}

impl Entry {
    /// No earlier attempt was found, so this one is executed; unless another member was given way to since the last call:
    /// then `false`.
    pub(crate) fn execute(&mut self) -> bool {
        let mut writes = self.list.writes.lock();
        let requests = writes.entry(self.write_id).or_default();
        if std::mem::take(&mut requests.gave_way) {
            return false;
        }
        if !std::mem::replace(&mut self.is_executing, true) {
            requests.looking = requests.looking.saturating_sub(1);
            requests.executing += 1;
        }
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut writes = self.list.writes.lock();
        let Some(requests) = writes.get_mut(&self.write_id) else { return };
        let count = if self.is_executing { &mut requests.executing } else { &mut requests.looking };
        *count = count.saturating_sub(1);
        if requests.looking == 0 && requests.executing == 0 {
            writes.remove(&self.write_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_look_at_the_same_time_one_goes_on_and_whoever_executes_is_waited_for() {
        let name = |name: &str| PeerId::new(name).expect("a name");
        let (a, b, id) = (name("a"), name("b"), WriteId::from_bytes([1; 16]));
        let list = UnderWay::default();
        assert!(!list.has_precedence(&id, &a, &b));
        let mut entry = list.look(id);
        assert!(list.has_precedence(&id, &a, &b), "a goes first");
        assert!(!list.has_precedence(&id, &b, &a), "b does not");
        assert!(!list.is_executing(&id));
        assert!(!entry.execute(), "it gave way to a, which must be looked at once more");
        assert!(entry.execute() && entry.execute());
        let second = list.look(id);
        assert!(list.has_precedence(&id, &b, &a) && list.is_executing(&id));
        drop(entry);
        assert!(!list.is_executing(&id) && !list.has_precedence(&id, &b, &a));
        drop(second);
        assert!(list.writes.lock().is_empty(), "nothing is kept");
    }
}
