//! Whether the disk has room for records. They are refused before it has none: a commit that fails halfway ends the store.
//!
//! What the store does by itself, to trim, to purge and to remember, goes on below that, since most of it makes room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::engine::{DiskSpace, Engine};

/// How often the disk is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of a small disk, no more than this part is kept free.
const KEPT_PART: u64 = 10;

/// What is known of the disk's room.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes to keep free.
    kept: u64,
    /// What the disk says.
    is_short: AtomicBool,
    /// What the last commit found. The disk may say otherwise: it knows nothing of quotas.
    has_run_out: AtomicBool,
    looked_at: Mutex<Option<Instant>>,
}

impl Room {
    pub(crate) fn new(kept: u64) -> Self {
        let (is_short, has_run_out) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { kept, is_short, has_run_out, looked_at: Mutex::default() }
    }

    /// Whether there was too little when it was looked at last, or for the last commit.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed) || self.has_run_out.load(Ordering::Relaxed)
    }

    /// A commit had no room. It is tried again until it has.
    pub(crate) fn ran_out(&self) {
        if !self.has_run_out.swap(true, Ordering::Relaxed) {
            tracing::error!("the disk is full: no records are taken until there is room");
        }
    }

    /// A commit had room.
    pub(crate) fn sufficed(&self) {
        if self.has_run_out.load(Ordering::Relaxed) {
            self.has_run_out.store(false, Ordering::Relaxed);
            tracing::info!("the disk had room for what waited");
        }
    }

    /// Looks at the disk, unless somebody just has.
    pub(crate) fn look(&self, engine: Option<&Arc<dyn Engine>>, now: Instant) {
        let mut looked_at = self.looked_at.lock();
        if looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOK_EVERY) {
            return;
        }
        *looked_at = Some(now);
        let Some(space) = engine.and_then(|engine| engine.space()) else { return };
        let was = self.is_short.load(Ordering::Relaxed);
        let is = is_short(space, self.kept, was);
        self.is_short.store(is, Ordering::Relaxed);
        match (was, is) {
            (false, true) => tracing::error!(
                free = space.free,
                "the disk is almost full: no records are taken until there is room"
            ),
            (true, false) => tracing::info!(free = space.free, "the disk has room again"),
            _ => {}
        }
    }
}

/// Whether there is too little room. Once there is, a quarter more must be free before it is enough again.
fn is_short(space: DiskSpace, kept: u64, was_short: bool) -> bool {
    let kept = kept.min(space.total / KEPT_PART);
    space.free < if was_short { kept.saturating_add(kept / 4) } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::memory::MemoryDisk;

    /// As under a quota that is used up.
    #[test]
    fn only_a_commit_shows_that_there_is_room_again_once_one_had_none() {
        let (disk, room, now) = (MemoryDisk::new(), Room::new(100), Instant::now());
        disk.set_space(DiskSpace { free: 1 << 40, total: 1 << 40 });
        let engine: Arc<dyn Engine> = Arc::new(disk.engine());
        room.ran_out();
        room.look(Some(&engine), now);
        assert!(room.is_short(), "whatever the disk says");
        room.sufficed();
        assert!(!room.is_short());
        disk.set_space(DiskSpace { free: 99, total: 1 << 40 });
        room.look(Some(&engine), now + LOOK_EVERY);
        room.sufficed();
        assert!(room.is_short(), "what is kept free is not there to be used up");
    }

    #[test]
    fn what_is_kept_free_is_the_smaller_of_what_is_asked_and_a_tenth() {
        let short = |free, total, kept| is_short(DiskSpace { free, total }, kept, false);
        assert!(short(99, 10_000, 100) && !short(100, 10_000, 100));
        assert!(short(9, 100, 100) && !short(10, 100, 100), "a small disk");
        assert!(!short(0, 10_000, 0), "switched off");
    }

    #[test]
    fn a_disk_at_the_limit_does_not_go_to_and_fro() {
        let short = |free, was| is_short(DiskSpace { free, total: 10_000 }, 100, was);
        assert!(short(124, true) && !short(124, false));
        assert!(!short(125, true));
    }
}
