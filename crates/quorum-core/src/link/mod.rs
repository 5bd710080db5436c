//! What one end of a link between two members decides: what is owed, what was answered, what is asked of whom.
//!
//! Plain values and one procedure over ports. The network around them (sockets, streams, timers) belongs to the
//! caller: `quorum-transport` puts QUIC around them, a simulation puts an event queue there, and both run the same
//! decisions.

mod catch_up;
mod exchange;
mod handshake;
mod ledger;
mod snapshot;
mod state;
mod waiting;

pub use catch_up::{CatchUp, CatchUpLane};
pub use exchange::{ExchangePlan, ExchangeSight};
pub use handshake::{HandshakeFault, check_hello, check_welcome};
pub use ledger::{AckOfLane, Ledger, LedgerError, Sent};
pub use snapshot::SnapshotSeat;
pub use state::{
    Answered, FrameSize, Link, LinkConfig, LinkView, LinkWord, Queued, ReplyTo, Rings,
};
