//! One peer: dial it, keep three lanes to it, hear its answers.
//!
//! [`peer`] is the link that outlives its connections: the decisions are those of [`quorum_core::Link`]; [`dial`] brings a
//! connection up and keeps it, [`live`] has two of its lanes and [`catch_up`] one, [`ask`] its questions.

pub(crate) mod ask;
pub(crate) mod catch_up;
pub(crate) mod dial;
pub(crate) mod lane;
pub(crate) mod live;
pub(crate) mod pace;
pub(crate) mod peer;
