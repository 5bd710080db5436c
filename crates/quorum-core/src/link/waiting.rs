//! The writes whose verdict may depend on one peer, and which of them are to be sent to it again.
//!
//! Bounded by those who wait: what nobody waits for any more is looked for whenever there is twice as much as when it was
//! looked for last. So there are never more bytes than twice as many as writers wait for at once, or than the live queue
//! may hold; and what is to be sent again is among them.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::state::{FrameSize, Queued, ReplyTo};
use crate::frontier::Frontier;
use crate::ports::{Incoming, PeerReply, Reply};
use crate::record::Durability;
use crate::version::Dot;

/// How many waiting writes may pile up before those whose writer has gone are looked for.
const PRUNE_AT_MIN: usize = 256;

/// Somebody who waits for the peer's word on a write.
#[derive(Debug)]
struct Writer<R> {
    replies: R,
    /// Only a copy that is synced is what it has asked for.
    wants_sync: bool,
    /// "Busy" is passed on once: the queue of replies is bounded by that.
    told_busy: bool,
    /// It has its final answer.
    is_told: bool,
}

impl<R: ReplyTo> Writer<R> {
    fn new(replies: R, item: &Incoming) -> Self {
        Self { replies, wants_sync: wants_sync(item), told_busy: false, is_told: false }
    }

    fn is_waiting(&self) -> bool {
        !self.is_told && !self.replies.is_closed()
    }

    fn tell(&mut self, reply: &PeerReply, life: u64) {
        let is_busy = matches!(reply.reply, Reply::Busy { .. });
        if self.is_told || is_busy && self.told_busy {
            return;
        }
        self.replies.reply(reply.clone(), life);
        self.told_busy |= is_busy;
        self.is_told = !is_busy;
    }
}

fn wants_sync(item: &Incoming) -> bool {
    item.record.as_ref().is_some_and(|record| record.durability != Durability::Relaxed)
}

/// A write whose verdict may depend on the peer.
#[derive(Debug)]
struct Waiting<R> {
    /// What to send again: to be synced, if some writer wants that. The writers hold the record as well, for as long as they
    /// wait.
    item: Incoming,
    /// The size of its frame, if it can be sent.
    bytes: Option<usize>,
    handed_over: Instant,
    writer: Writer<R>,
    /// Further ones that wait for the same record: retries of a write that is still under way, and reads that bring it to more
    /// members.
    more_writers: Vec<Writer<R>>,
    /// The peer has answered it on this connection when its answers did not count: it is asked once more when they do.
    is_uncounted: bool,
    /// The peer gets it from the log, when it has what comes before.
    is_left_to_log: bool,
}

impl<R: ReplyTo> Waiting<R> {
    /// Whether some writer still listens.
    fn is_wanted(&self) -> bool {
        self.writer.is_waiting() || self.more_writers.iter().any(Writer::is_waiting)
    }

    fn bytes(&self) -> usize {
        self.bytes.unwrap_or_default()
    }
}

/// The writes that wait for one peer.
#[derive(Debug)]
pub(super) struct WaitingWrites<R> {
    writes: HashMap<Dot, Waiting<R>>,
    /// Of all of them.
    bytes: usize,
    /// So many bytes are always kept before writers that have gone are looked for.
    bytes_min: usize,
    /// So many writes, and so many bytes, are looked through for writers that have gone.
    prune_at: (usize, usize),
    /// Those that are to be sent again, by [`FrameSize`].
    again: [BTreeSet<Dot>; 2],
    /// Of those.
    again_bytes: usize,
}

impl<R: ReplyTo> WaitingWrites<R> {
    /// None so far. Up to `bytes_min` may be kept although nobody waits.
    pub(super) fn new(bytes_min: usize) -> Self {
        Self {
            writes: HashMap::new(),
            bytes: 0,
            bytes_min,
            prune_at: (PRUNE_AT_MIN, bytes_min),
            again: [BTreeSet::new(), BTreeSet::new()],
            again_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of the records of all of them.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of those that are to be sent again.
    pub(super) const fn again_bytes(&self) -> usize {
        self.again_bytes
    }

    /// The dots of those that the peer should be asked for, or is being.
    pub(super) fn to_be_asked(&self) -> impl Iterator<Item = &Dot> {
        let to_be_asked = |write: &Waiting<R>| !(write.is_uncounted || write.is_left_to_log);
        self.writes.iter().filter(move |(_, write)| to_be_asked(write)).map(|(dot, _)| dot)
    }

    /// Whether those whose writers have gone should be [pruned](Self::prune) before one more of this size enters.
    pub(super) fn is_full(&self, bytes: Option<usize>) -> bool {
        let (count_max, bytes_max) = self.prune_at;
        self.writes.len() >= count_max || self.bytes + bytes.unwrap_or_default() > bytes_max
    }

    /// Enters a write, the size of whose frame is `bytes` if it can be sent.
    pub(super) fn enter(
        &mut self,
        dot: &Dot,
        item: &Incoming,
        bytes: Option<usize>,
        handed_over: Instant,
        replies: R,
    ) {
        let write = Waiting {
            item: item.clone(),
            bytes,
            handed_over,
            writer: Writer::new(replies, item),
            more_writers: Vec::new(),
            is_uncounted: false,
            is_left_to_log: false,
        };
        self.bytes += write.bytes();
        self.writes.insert(dot.clone(), write);
    }

    /// Enters another writer of a write that waits already, if it does; else gives it back.
    pub(super) fn join(&mut self, dot: &Dot, item: &Incoming, replies: R) -> Option<R> {
        let Some(write) = self.writes.get_mut(dot) else { return Some(replies) };
        if wants_sync(item) && !wants_sync(&write.item) {
            write.item = item.clone();
        }
        write.more_writers.retain(Writer::is_waiting);
        write.more_writers.push(Writer::new(replies, item));
        None
    }

    /// Passes the answer to an item on to those who wait for it: only to those whom a copy suffices that is not
    /// synced, if `not_synced`. Tells whether others wait, and the item should be sent again as they want it.
    pub(super) fn tell(
        &mut self,
        dot: &Dot,
        reply: &PeerReply,
        life: u64,
        not_synced: bool,
    ) -> bool {
        let Some(write) = self.writes.get_mut(dot) else { return false };
        let writers = std::iter::once(&mut write.writer).chain(&mut write.more_writers);
        let mut are_told = true;
        for writer in writers {
            if !(not_synced && writer.wants_sync) {
                writer.tell(reply, life);
            }
            are_told &= writer.is_told;
        }
        if are_told && let Some(told) = self.writes.remove(dot) {
            self.bytes -= told.bytes();
            self.take_out(dot, told.bytes());
        }
        !are_told && not_synced
    }

    /// The peer has it, and its word on that does not count.
    pub(super) fn does_not_count(&mut self, dot: &Dot) {
        if let Some(write) = self.writes.get_mut(dot) {
            write.is_uncounted = true;
        }
    }

    /// The peer has no room for it before it has what comes before it, and gets it from the log then.
    pub(super) fn left_to_log(&mut self, dot: &Dot) {
        if let Some(write) = self.writes.get_mut(dot) {
            write.is_left_to_log = true;
        }
    }

    /// The peer has all this: what of it was left to the log is to be asked for, as only its word on the write itself counts.
    pub(super) fn came_in_order(&mut self, held: &Frontier) {
        let left = self.writes.iter_mut().filter(|(_, write)| write.is_left_to_log);
        left.for_each(|(dot, write)| write.is_left_to_log = !held.contains(dot));
    }

    /// Answers count from now on. Tells for which writes they did not.
    pub(super) fn counts_now(&mut self) -> Vec<Dot> {
        let uncounted = self.writes.iter_mut().filter(|(_, write)| write.is_uncounted);
        let uncounted = uncounted.map(|(dot, write)| {
            write.is_uncounted = false;
            dot.clone()
        });
        uncounted.collect()
    }

    /// Forgets writes whose writers have gone. Tells which of them will not be sent again therefore.
    pub(super) fn prune(&mut self) -> Vec<Dot> {
        let mut unwanted = Vec::new();
        self.writes.retain(|dot, write| {
            let is_wanted = write.is_wanted();
            if !is_wanted {
                unwanted.push((dot.clone(), write.bytes()));
            }
            is_wanted
        });
        self.bytes = self.writes.values().map(Waiting::bytes).sum();
        self.prune_at =
            ((2 * self.writes.len()).max(PRUNE_AT_MIN), (2 * self.bytes).max(self.bytes_min));
        unwanted.retain(|(dot, bytes)| self.take_out(dot, *bytes));
        unwanted.into_iter().map(|(dot, _)| dot).collect()
    }

    /// Sends one again, if somebody waits for it and it can be sent. It needs no room in the queue: its record is kept anyway.
    /// Tells how large it is.
    pub(super) fn send_again(&mut self, dot: &Dot) -> Option<FrameSize> {
        let bytes = self.writes.get(dot).filter(|write| write.is_wanted())?.bytes?;
        let size = FrameSize::of(bytes);
        if self.again[size as usize].insert(dot.clone()) {
            self.again_bytes += bytes;
        }
        Some(size)
    }

    /// Takes the next one of a size that is to be sent again.
    pub(super) fn take_again<F>(&mut self, size: FrameSize) -> Option<Queued<F>> {
        let dot = self.again[size as usize].pop_first()?;
        let write = self.writes.get(&dot)?;
        self.again_bytes -= write.bytes();
        let (bytes, item, handed_over) = (write.bytes(), write.item.clone(), write.handed_over);
        Some(Queued { frame: None, bytes, item, handed_over })
    }

    /// The connection is gone, with what was to be sent on it and what was answered there.
    pub(super) fn disconnected(&mut self) {
        for write in self.writes.values_mut() {
            (write.is_uncounted, write.is_left_to_log) = (false, false);
        }
        self.again.iter_mut().for_each(BTreeSet::clear);
        self.again_bytes = 0;
    }

    /// It is not to be sent again. Tells whether it was.
    fn take_out(&mut self, dot: &Dot, bytes: usize) -> bool {
        let was_there = self.again[FrameSize::of(bytes) as usize].remove(dot);
        if was_there {
            self.again_bytes -= bytes;
        }
        was_there
    }
}
