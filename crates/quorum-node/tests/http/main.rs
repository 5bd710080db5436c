//! The HTTP interface as its clients meet it: real nodes, real connections on loopback.

mod batch;
mod fixture;
mod hostile;
mod lifecycle;
mod observation;
mod ranges;
mod security;
mod values;
mod verdicts;
mod watch;
