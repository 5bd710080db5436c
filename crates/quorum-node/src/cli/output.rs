//! Where a command's results go: text for people or JSON for programs, always standard output.
//!
//! Logs, progress and errors go to standard error, so that results can be piped.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// The results of a command.
pub struct Output {
    json: bool,
    to: Box<dyn Write + Send>,
}

impl Output {
    /// Results on standard output, as JSON or as text.
    #[must_use]
    pub fn stdout(json: bool) -> Self {
        Self::new(json, io::stdout())
    }

    /// Results written to `to`.
    #[must_use]
    pub fn new(json: bool, to: impl Write + Send + 'static) -> Self {
        Self { json, to: Box::new(to) }
    }

    /// Whether the caller asked for JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Shows one result: `value` as indented JSON, or what `text` writes.
    ///
    /// # Errors
    ///
    /// What the writer said; a closed pipe is told apart by [`is_closed_pipe`].
    pub fn show<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        // Rendered first, so that a result appears whole or not at all.
        let mut rendered = Vec::new();
        if self.json {
            serde_json::to_writer_pretty(&mut rendered, value)?;
            rendered.push(b'\n');
        } else {
            text(&mut rendered)?;
        }
        self.raw(&rendered)
    }

    /// Shows one of many results on a line of its own: `value` as compact JSON, or what `text`
    /// writes.
    ///
    /// # Errors
    ///
    /// As [`show`](Self::show).
    pub fn line<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut rendered = Vec::new();
        if self.json {
            serde_json::to_writer(&mut rendered, value)?
        } else {
            text(&mut rendered)?
        }
        rendered.push(b'\n');
        self.raw(&rendered)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`show`](Self::show).
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.flush()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Output").field("json", &self.json).finish_non_exhaustive()
    }
}

/// Whether an error only says that the reader of our output went away, as `head` does.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
