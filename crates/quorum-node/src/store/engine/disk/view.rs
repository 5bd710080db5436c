//! What a reader sees: the state after one commit, through the layers above the tables.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{Shared, Stack};
use crate::store::engine::{EngineError, Page, PageLimit, Space, View};

/// The state after one commit.
pub(super) struct DiskView {
    /// Let go before what is shared, which may be the last to hold the lock of the directory.
    pub(super) stack: Arc<Stack>,
    pub(super) shared: Arc<Shared>,
    pub(super) at: u64,
}

impl View for DiskView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        for layer in self.stack.layers.iter().rev() {
            if let Some(found) = layer.get(space, key, self.at) {
                return Ok(found.as_ref().map(copied));
            }
        }
        self.stack.tables.get(space, key)
    }

    fn page(
        &self,
        space: Space,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let (mut page, mut bytes) = (Page::new(), 0);
        let mut from = from.map(Bytes::copy_from_slice);
        while !is_empty((from.as_ref().map(Bytes::as_ref), to)) {
            let range = (from.as_ref().map(Bytes::as_ref), to);
            let (above, through) = self.above(space, range, limit.entries.max(1));
            // Where the layers were not read any further, the tables are not either.
            let range = (range.0, through.as_ref().map_or(to, |last| Bound::Included(last)));
            for entry in merged(above, self.stack.tables.range(space, range)) {
                let (key, value) = entry?;
                bytes += key.len() + value.len();
                page.push((key, value));
                if page.len() >= limit.entries || bytes >= limit.bytes {
                    return Ok(page);
                }
            }
            match through {
                Some(last) => from = Bound::Excluded(last),
                None => break,
            }
        }
        Ok(page)
    }
}

/// Whether no key can lie between two bounds.
fn is_empty((from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

impl DiskView {
    /// What the layers say about a range, as far as each of them was read: through a key, if not to the end.
    fn above(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> (BTreeMap<Bytes, Option<Bytes>>, Option<Bytes>) {
        let (mut above, mut through) = (BTreeMap::new(), None::<Bytes>);
        for layer in &self.stack.layers {
            let (entries, is_more) = layer.range(space, range, self.at, limit);
            if let Some((last, _)) = entries.last().filter(|_| is_more) {
                through =
                    Some(through.map_or_else(|| last.clone(), |least| least.min(last.clone())));
            }
            // A newer layer has the last word.
            above.extend(entries);
        }
        if let Some(through) = &through {
            let beyond = (Bound::Excluded(through.clone()), Bound::Unbounded);
            above.extract_if(beyond, |_, _| true).for_each(drop);
        }
        (above, through)
    }
}

/// Entries of the tables with what lies above them, in order.
fn merged(
    above: BTreeMap<Bytes, Option<Bytes>>,
    tables: impl Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
) -> impl Iterator<Item = Result<(Bytes, Bytes), EngineError>> {
    let (mut above, mut tables) = (above.into_iter().peekable(), tables.peekable());
    std::iter::from_fn(move || {
        loop {
            let is_above = match (above.peek(), tables.peek()) {
                (None, None) => return None,
                // What the tables have from here on is not known: no key beyond it may pass for the next one.
                (_, Some(Err(_))) | (None, Some(Ok(_))) => false,
                (Some((upper, _)), Some(Ok((lower, _)))) => upper <= lower,
                (Some(_), None) => true,
            };
            if !is_above {
                return tables.next();
            }
            let (key, value) = above.next()?;
            tables.next_if(|lower| lower.as_ref().is_ok_and(|(lower, _)| *lower == key));
            if let Some(value) = value {
                return Some(Ok((copied(&key), copied(&value))));
            }
        }
    })
}

/// Whoever keeps an entry must not keep the whole commit.
fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl Drop for DiskView {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(views) = state.watched.get_mut(&self.at) {
            *views -= 1;
            if *views == 0 {
                state.watched.remove(&self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were it told last, a page could end before it, and whoever goes on behind the page would never hear of it.
    #[test]
    fn what_the_tables_cannot_read_is_told_before_any_key_behind_it() {
        let entry = |key: &'static str| (Bytes::from(key), Bytes::from("value"));
        let above = ["b", "y", "z"].map(|key| (Bytes::from(key), Some(Bytes::from("value"))));
        let damaged = EngineError::new("read", "a damaged block");
        let tables = [Ok(entry("a")), Ok(entry("c")), Err(damaged), Ok(entry("x"))];
        let mut merged = merged(above.into_iter().collect(), tables.into_iter());
        let keys = merged.by_ref().map_while(|entry| entry.ok().map(|(key, _)| key));
        assert_eq!(keys.collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
