//! Changes as a node tells them, taken apart into events.

use bytes::Bytes;
use serde_json::Value;

use super::Export;
use super::error::ClientError;

/// Longest event.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// One event: a change, or a word about the stream itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Where in the node's order of changes it is; whoever comes back with it goes on behind it.
    pub id: String,
    /// `put`, `delete`, `ready`, `gone`, or `place` for one that only says how far the stream is.
    pub kind: String,
    /// What the node says of it.
    pub data: Value,
}

/// A stream of changes on its way.
#[derive(Debug)]
pub struct Watch {
    pub(super) chunks: Export,
    pub(super) text: Vec<u8>,
}

impl Watch {
    /// The next event, or `None` if the node ended the stream.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the connection broke, or the node says what no node of this version says.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            let Some(chunk) = self.chunks.next().await? else { return Ok(None) };
            self.add(&chunk)?;
        }
    }

    fn add(&mut self, chunk: &Bytes) -> Result<(), ClientError> {
        if self.text.len() + chunk.len() > 2 * EVENT_BYTES_MAX {
            return Err(self.chunks.unexpected("an event without an end"));
        }
        self.text.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole event of what has arrived. Comments are passed over.
    fn take(&mut self) -> Result<Option<Event>, ClientError> {
        while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
            let piece: Vec<u8> = self.text.drain(..end + 2).collect();
            let piece = String::from_utf8_lossy(&piece[..end]).into_owned();
            if piece.lines().all(|line| line.starts_with(':') || line.is_empty()) {
                continue;
            }
            let event = parsed(&piece);
            return event.map(Some).ok_or_else(|| self.chunks.unexpected("no event that is known"));
        }
        Ok(None)
    }
}

fn parsed(piece: &str) -> Option<Event> {
    let field = |name: &str| {
        let value = piece.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    let (id, kind, data) = (field("id")?, field("event"), field("data"));
    match (kind, data) {
        (None, None) => Some(Event { id, kind: "place".to_owned(), data: Value::Null }),
        (kind, data) => Some(Event { id, kind: kind?, data: serde_json::from_str(&data?).ok()? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_the_standard_says() {
        let event = parsed("id: 01-7\nevent: put\ndata: {\"key\":\"a\"}").expect("an event");
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("01-7", "put"));
        assert_eq!(event.data["key"], "a");
        assert_eq!(parsed("event: put\ndata: {}"), None);
        let place = parsed(": alive\nid: 01-9").expect("a place");
        assert_eq!((place.id.as_str(), place.kind.as_str()), ("01-9", "place"));
    }
}
