//! Ledgers of campaigns: what was run, when, over which code, and what came out; kept in Markdown with the sources.
//!
//! A campaign is too long for one sitting, and only worth something for the code it ran. So each finished slice is an
//! [`Entry`] in a [`Ledger`], with the [`Code`] it was run over, and only entries over the same code add up.
//!
//! - [`code`]: which code a campaign is about, and what git calls it.
//! - [`entry`]: a line; [`ledger`]: all of them, and how far a campaign is.
//! - [`machine`]: on what something was run.

pub mod code;
pub mod entry;
pub mod ledger;
pub mod machine;

pub use code::Code;
pub use entry::Entry;
pub use ledger::Ledger;
pub use machine::Machine;
