//! Reads the input line by line, on a thread that may block, with bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::checkpoint::{Checkpoint, LinesDigest};

/// Longest line that is read: the largest value in the longest spelling of JSON fits.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Lines read ahead of those under way.
const LINES_AHEAD_MAX: usize = 64;

/// Where lines come from.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    /// The length in bytes, if it is known.
    pub(super) bytes: Option<u64>,
    /// What tells this input from others; standard input has nothing of the kind.
    pub(super) identity: Option<String>,
}

/// A line, without its end.
pub(super) struct Line {
    /// Counted from one.
    pub(super) number: u64,
    pub(super) content: Vec<u8>,
    /// Of all lines up to and with this one.
    pub(super) digest: LinesDigest,
    /// Whether it was cut because it is too long.
    pub(super) too_long: bool,
    /// Bytes of input up to its end.
    pub(super) position: u64,
}

impl Input {
    /// A file, or standard input if it is called `-` or nothing.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self { reader: Box::new(io::stdin()), bytes: None, identity: None });
        };
        let cannot = || format!("cannot open {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        if !metadata.is_file() {
            return Ok(Self { reader: Box::new(file), bytes: None, identity: None });
        }
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = path.canonicalize().with_context(cannot)?;
        let identity = format!(
            "{} of {} bytes, modified at {}",
            name.display(),
            metadata.len(),
            modified.as_nanos()
        );
        let bytes = Some(metadata.len());
        Ok(Self { reader: Box::new(file), bytes, identity: Some(identity) })
    }

    /// The lines behind those that `resume` says are done. An input that does not begin with
    /// those is an error, which comes as the first line.
    pub(super) fn lines(self, resume: Option<Checkpoint>) -> mpsc::Receiver<anyhow::Result<Line>> {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD_MAX);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(self.reader, resume.as_ref(), &sender) {
                // Nobody listens any more when the import ended early.
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }
}

fn read(
    reader: Box<dyn Read + Send>,
    resume: Option<&Checkpoint>,
    sender: &mpsc::Sender<anyhow::Result<Line>>,
) -> anyhow::Result<()> {
    const BUFFER_BYTES: usize = 64 << 10;
    let mut lines = Lines::new(BufReader::with_capacity(BUFFER_BYTES, reader));
    if let Some(checkpoint) = resume {
        while lines.number < checkpoint.lines && lines.next()?.is_some() {}
        if lines.number != checkpoint.lines || lines.digest.to_string() != checkpoint.digest {
            bail!(
                "the input is not the one whose first {} lines were imported; \
                 import it with another --state file",
                checkpoint.lines
            );
        }
    }
    while let Some(line) = lines.next()? {
        if sender.blocking_send(Ok(line)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Lines with their numbers and digests.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    digest: LinesDigest,
    position: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, number: 0, digest: LinesDigest::EMPTY, position: 0 }
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Option<Line>> {
        let mut content = Vec::new();
        let read = self.read_until(&mut content).context("cannot read the input")?;
        if read == 0 {
            return Ok(None);
        }
        self.position += read;
        self.number += 1;
        let too_long = content.len() > LINE_BYTES_MAX;
        if content.last() == Some(&b'\n') {
            content.pop();
            if content.last() == Some(&b'\r') {
                content.pop();
            }
        }
        self.digest = self.digest.with(&content);
        let Self { number, digest, position, .. } = *self;
        Ok(Some(Line { number, content, digest, too_long, position }))
    }

    /// Reads to the end of the line, but keeps no more than one byte over the limit. Returns how
    /// many bytes the line took.
    fn read_until(&mut self, line: &mut Vec<u8>) -> io::Result<u64> {
        let mut read = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&buffer[..taken.min(room)]);
            self.reader.consume(taken);
            read += taken as u64;
            if end.is_some() || taken == 0 {
                return Ok(read);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(input: &[u8]) -> Vec<Vec<u8>> {
        // A buffer of three bytes: lines are put together from pieces.
        let mut lines = Lines::new(BufReader::with_capacity(3, input));
        let next = || lines.next().expect("memory can be read").map(|line| line.content);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lines_end_at_line_ends_and_at_the_end() {
        assert_eq!(contents(b"one\ntwo\r\n\nthree"), [&b"one"[..], b"two", b"", b"three"]);
        assert_eq!(contents(b"one\n"), [b"one"]);
        assert!(contents(b"").is_empty());
    }

    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let endless = io::repeat(b'x').take(2 * LINE_BYTES_MAX as u64);
        let mut lines = Lines::new(BufReader::new(endless.chain(&b"\nnext"[..])));
        let line = lines.next().expect("readable").expect("a line");
        assert!(line.too_long && line.content.len() == LINE_BYTES_MAX + 1);
        let line = lines.next().expect("readable").expect("a line");
        assert!(!line.too_long && line.content == b"next" && line.number == 2);
    }

    #[tokio::test]
    async fn an_import_is_resumed_behind_its_checkpoint_and_only_with_the_same_input() {
        let digest = LinesDigest::EMPTY.with(b"a").with(b"b");
        let checkpoint = Checkpoint::new("id".into(), 2, &digest);
        let lines = |text: &'static str| {
            let reader = Box::new(text.as_bytes());
            Input { reader, bytes: None, identity: None }.lines(Some(checkpoint.clone()))
        };
        let mut same = lines("a\nb\nc\n");
        let line = same.recv().await.expect("a line").expect("readable");
        assert_eq!((line.number, line.content.as_slice(), line.position), (3, &b"c"[..], 6));
        assert!(same.recv().await.is_none());
        for other in ["a\nx\nc\n", "a\n"] {
            assert!(lines(other).recv().await.expect("an error").is_err(), "{other:?}");
        }
    }
}
