//! The short numbers by which this store refers to lineages.
//!
//! Only the committer gives out numbers, in the commit that first needs them; readers look them up.

use std::collections::HashMap;

use quorum_core::Lineage;

use super::schema::{Corrupt, LineageNumber};

/// Lineages by number and numbers by lineage.
#[derive(Debug, Default)]
pub(crate) struct Lineages {
    names: Vec<Lineage>,
    numbers: HashMap<Lineage, LineageNumber>,
}

impl Lineages {
    /// The number of a lineage that has one.
    pub(crate) fn number(&self, lineage: &Lineage) -> Option<LineageNumber> {
        self.numbers.get(lineage).copied()
    }

    /// The lineage of a number.
    pub(crate) fn name(&self, number: LineageNumber) -> Result<&Lineage, Corrupt> {
        self.names.get(number.0 as usize).ok_or(Corrupt { what: "lineage number" })
    }

    /// How many lineages have a number.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Gives a lineage the next number.
    pub(crate) fn add(&mut self, lineage: Lineage) -> LineageNumber {
        let next = u32::try_from(self.names.len()).expect("the configured limit fits 32 bits");
        let number = LineageNumber(next);
        self.names.push(lineage.clone());
        self.numbers.insert(lineage, number);
        number
    }
}
