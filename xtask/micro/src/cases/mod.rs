//! Every case, part by part, from the rules of the core up to disk and network.

mod clock;
mod codec;
mod frontier;
mod link;
mod records;
mod store;
mod tracker;

use crate::case::Case;

pub(crate) fn all() -> Vec<Case> {
    let parts: [&[Case]; 6] =
        [tracker::CASES, clock::CASES, frontier::CASES, codec::CASES, store::CASES, link::CASES];
    parts.into_iter().flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_cases_have_one_name() {
        let cases = all();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
    }
}
