//! What holds for whatever is imported: claims that a fuzzer tries to refute.

use std::io::BufReader;

use super::input::Lines;
use super::line::LineFormat;
use crate::export_line;
use crate::record::{Content, Namespace};

/// An input of lines: the first byte says how they are meant, the second how large the pieces are that it is read in.
///
/// The pieces make no difference, and every byte is counted; a line that means a record is exported as a line that means
/// the same record.
///
/// # Panics
///
/// If a claim is false.
pub fn import_lines(input: &[u8]) {
    let &[kind, piece, ref rest @ ..] = input else { return };
    let namespace = (kind & 1 != 0).then(|| Namespace::new("given").expect("a name"));
    let format = LineFormat { namespace, plain: kind & 2 != 0 };
    let (lines, bytes) = lines_of(rest, usize::from(piece).max(1));
    assert_eq!(lines, lines_of(rest, rest.len().max(1)).0, "the pieces made a difference");
    assert_eq!(bytes, rest.len() as u64, "not every byte was counted");
    for (number, line) in (1..).zip(&lines) {
        match format.read(number, line) {
            Ok(None) => assert!(line.iter().all(u8::is_ascii_whitespace) && !format.plain),
            Ok(Some(entry)) => {
                let content = Content {
                    namespace: entry.namespace.clone(),
                    key: entry.key.clone(),
                    value: entry.value.clone(),
                };
                let mut exported = Vec::new();
                export_line::write(&content, &mut exported).expect("a Vec takes everything");
                let (exported, _) = lines_of(&exported, 64);
                let [exported] = &exported[..] else { panic!("{} lines", exported.len()) };
                let json = LineFormat { namespace: None, plain: false };
                assert_eq!(json.read(number, exported), Ok(Some(entry)));
                assert_eq!(Content::decode(&content.encode()).as_ref(), Ok(&content));
            }
            Err(why) => assert!(!why.is_empty(), "refused without a reason"),
        }
    }
}

fn lines_of(input: &[u8], piece: usize) -> (Vec<Vec<u8>>, u64) {
    let mut lines = Lines::new(BufReader::with_capacity(piece, input));
    let (mut contents, mut position) = (Vec::new(), 0);
    while let Some(line) = lines.next().expect("memory can be read") {
        assert!(!line.too_long && line.number == contents.len() as u64 + 1);
        position = line.position;
        contents.push(line.content);
    }
    (contents, position)
}
