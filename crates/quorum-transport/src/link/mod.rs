//! One peer: dial it, keep three lanes to it, hear its answers.
//!
//! [`peer`] is the state of a link that outlives its connections, [`ledger`] accounts for what was sent on one stream
//! (both without I/O); [`dial`] brings a connection up and keeps it, [`live`] has two of
//! its lanes and [`catch_up`] one, [`ask`] its questions.

pub(crate) mod ask;
pub(crate) mod catch_up;
pub(crate) mod dial;
pub(crate) mod lane;
pub(crate) mod ledger;
pub(crate) mod live;
pub(crate) mod pace;
pub(crate) mod peer;
