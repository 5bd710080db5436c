//! Aligned columns for people, coloured where a terminal shows them. (pure but for the question
//! whether there is a terminal)

use std::io::{self, IsTerminal, Write};

/// How a cell is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    Faint,
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
        }
    }
}

/// A text and how it is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    pub(super) fn plain<T: ToString + ?Sized>(text: &T) -> Self {
        Self::new(text.to_string(), Tone::Plain)
    }

    /// The text of something that may be unknown.
    pub(super) fn known<T: ToString>(value: Option<T>) -> Self {
        value.map_or_else(|| Self::new("–", Tone::Faint), |value| Self::plain(&value))
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows of cells, each column as wide as its widest cell.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes the rows; nothing is padded at the end of a line.
    pub(super) fn write(&self, coloured: bool, out: &mut dyn Write) -> io::Result<()> {
        const GAP: usize = 2;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or(0)
        };
        let widths = (0..columns).map(width).collect::<Vec<_>>();
        for row in &self.rows {
            let shown =
                row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
            let row = &row[..shown];
            for (column, cell) in row.iter().enumerate() {
                match cell.tone.code().filter(|_| coloured) {
                    Some(code) => write!(out, "\x1b[{code}m{}\x1b[0m", cell.text)?,
                    None => write!(out, "{}", cell.text)?,
                }
                if column + 1 < row.len() {
                    write!(out, "{:1$}", "", widths[column] - cell.width() + GAP)?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Whether standard output shows colours and nobody asked for none.
pub(super) fn is_coloured() -> bool {
    let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !asked_for_none && io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table, coloured: bool) -> String {
        let mut out = Vec::new();
        table.write(coloured, &mut out).expect("a Vec takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_line_up_and_lines_have_no_loose_ends() {
        let mut table = Table::default();
        table.row(["NODE", "LINK"].map(Cell::plain));
        table.row([Cell::plain("größe"), Cell::new("up", Tone::Good), Cell::plain("")]);
        table.row([Cell::known(None::<u32>), Cell::new("down", Tone::Bad)]);
        assert_eq!(shown(&table, false), "NODE   LINK\ngröße  up\n–      down\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::default();
        table.row([Cell::new("up", Tone::Good), Cell::plain("x")]);
        table.row([Cell::plain("down"), Cell::plain("y")]);
        assert_eq!(shown(&table, true), "\x1b[32mup\x1b[0m    x\ndown  y\n");
    }
}
