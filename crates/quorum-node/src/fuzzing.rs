//! What holds for whatever bytes come in: claims that a fuzzer tries to refute.
//!
//! Each function takes any input, reads it as a node reads what comes from a client, an operator or a disk, and panics
//! if a claim about the reader is false. An input that is refused is as good as one that is read.

pub use crate::cli::import::fuzzing::import_lines;
pub use crate::config::fuzzing::{config_environment, config_file, config_value};
pub use crate::http::fuzzing::{http_batch, http_request};
pub use crate::store::engine::fuzzing::{log_of_any_bytes, log_with_damage};
pub use crate::store::fuzzing::{store_bytes, store_with_damage};
