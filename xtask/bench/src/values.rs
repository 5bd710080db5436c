//! What is written: values of letters and digits, so that they can stand in JSON as they are, each one new.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

/// Sixty-four characters, none of which JSON has to escape.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// So much of a value changes each time: enough that none comes twice.
const CHANGED_BYTES: usize = 8;

/// Values of one length.
pub(crate) struct Values {
    last: Vec<u8>,
}

impl Values {
    pub(crate) fn new(bytes: usize, random: &mut StdRng) -> Self {
        let mut last = vec![0; bytes];
        fill(&mut last, random);
        Self { last }
    }

    /// A value that was not there before.
    pub(crate) fn next(&mut self, random: &mut StdRng) -> Bytes {
        let changed = self.last.len().min(CHANGED_BYTES);
        fill(&mut self.last[..changed], random);
        Bytes::copy_from_slice(&self.last)
    }
}

fn fill(bytes: &mut [u8], random: &mut StdRng) {
    random.fill(bytes);
    for byte in bytes {
        *byte = ALPHABET[usize::from(*byte % 64)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn values_are_text_of_the_wanted_length_and_differ() {
        let mut random = StdRng::seed_from_u64(1);
        let mut values = Values::new(300, &mut random);
        let (one, other) = (values.next(&mut random), values.next(&mut random));
        assert_eq!(one.len(), 300);
        assert_ne!(one, other);
        assert!(one.iter().all(|byte| ALPHABET.contains(byte)));
        assert!(Values::new(0, &mut random).next(&mut random).is_empty());
    }
}
