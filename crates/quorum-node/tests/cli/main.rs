//! The commands that talk to nodes, as people and scripts use them: the real program against a
//! mesh of three real processes.

mod bulk;
mod failures;
mod mesh;
mod values;
