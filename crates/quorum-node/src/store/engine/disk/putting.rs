//! The thread that puts full layers into the tables, and waits where they cannot take one. It also looks at the tables for
//! those who must not wait for a disk.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::{FullLayer, Shared, Stack, on_disk};
use crate::store::engine::{DiskSpace, EngineError};

/// How often it is looked whether compaction has caught up.
const BEHIND_PAUSE: Duration = Duration::from_millis(5);

/// How often at most, for one layer: after that reads get slower, and nothing else.
const BEHIND_PAUSES_MAX: u32 = 2_000;

/// How long after the tables had no room for a layer it is looked whether there is some.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// As many times its size a layer that had no room is given before it is tried again: what was written of it is left behind
/// each time, until the next start.
const ROOM_PER_LAYER: u64 = 2;

/// How often it is looked how large everything is and whether compaction goes on, at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Shared {
    /// Puts full layers into the tables until the engine closes.
    pub(super) fn put(&self) {
        let _even_if_this_panics = FailIfPanicking(self);
        loop {
            let Some(full) = self.next_full() else { return };
            let put = self.tables.put(&full.layer, full.last).and_then(|()| {
                let retired = self.segments.lock().retire(&full.segment);
                retired.map_err(|error| EngineError::before_it_began("retire a segment", error))
            });
            match put {
                Ok(()) => {}
                Err(error) if error.is_full() => {
                    self.wait_for_room(&full);
                    continue;
                }
                Err(error) => return self.fail(&error),
            }
            let tables = Arc::new(self.tables.snapshot());
            let on_disk = on_disk(&self.tables, &self.log_directory);
            let mut state = self.state.lock();
            state.on_disk = on_disk;
            state.is_out_of_room = false;
            let layers = state.stack.layers.iter();
            let layers = layers.filter(|other| !Arc::ptr_eq(other, &full.layer)).cloned().collect();
            state.stack = Arc::new(Stack { layers, tables });
            state.full.pop_front();
            self.changed.notify_all();
        }
    }

    /// Lets those who wait for room in the layers know that there is none on the disk, and waits until there is some, or the
    /// engine is closing.
    fn wait_for_room(&self, full: &FullLayer) {
        let mut state = self.state.lock();
        state.is_out_of_room = true;
        self.changed.notify_all();
        let has_room = |space: DiskSpace| space.free / ROOM_PER_LAYER >= full.bytes;
        while !state.is_closing {
            self.changed.wait_for(&mut state, ROOM_PAUSE);
            if MutexGuard::unlocked(&mut state, || self.space()).is_none_or(has_room) {
                return;
            }
        }
    }

    /// The oldest full layer, once the tables can take it; `None` when the engine is closing.
    fn next_full(&self) -> Option<FullLayer> {
        let (mut state, mut pauses) = (self.state.lock(), 0);
        loop {
            // What the tables are asked waits for whoever syncs with their locks in hand.
            let are_behind = MutexGuard::unlocked(&mut state, || {
                self.look_after_compaction();
                self.tables.are_behind()
            });
            // Whoever closes it may have rung meanwhile.
            if state.is_closing {
                return None;
            }
            // Whoever waits for what has ended waits in vain.
            let is_in_vain = pauses >= BEHIND_PAUSES_MAX || state.compaction_has_ended;
            match state.full.front() {
                Some(full) if is_in_vain || !are_behind => {
                    return Some(full.clone());
                }
                Some(_) => {
                    self.changed.wait_for(&mut state, BEHIND_PAUSE);
                    pauses += 1;
                }
                None => {
                    if self.changed.wait_for(&mut state, LOOK_EVERY).timed_out() {
                        let look = || on_disk(&self.tables, &self.log_directory);
                        state.on_disk = MutexGuard::unlocked(&mut state, look);
                    }
                }
            }
        }
    }

    /// Tells once that nothing is compacted any more.
    fn look_after_compaction(&self) {
        if !self.tables.compaction_has_ended() {
            return;
        }
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.compaction_has_ended, true) {
            tracing::error!(
                "the tables are no longer compacted after an error: look at the disk, and restart the node"
            );
            self.changed.notify_all();
        }
    }
}

/// Nobody may wait for a thread that is gone.
struct FailIfPanicking<'a>(&'a Shared);

impl Drop for FailIfPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&EngineError::new("put a layer into the tables", "the thread panicked"));
        }
    }
}
