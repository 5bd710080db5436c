//! The quorum node as a library: the parts of the `quorum-node` program, for tests, for `demo`, and for programs that
//! run a node inside themselves.
//!
//! [`Node::start`] builds a node the way the program does; [`Service`] is what it can be asked. Nothing is global, so
//! several nodes live in one process:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use quorum_node::WriteRequest;
//! use quorum_node::local_mesh::LocalMesh;
//! use quorum_node::record::{Key, Namespace};
//!
//! # #[tokio::main]
//! # async fn main() -> anyhow::Result<()> {
//! let directory = tempfile::tempdir()?;
//! let mut mesh = LocalMesh::start(3, directory.path(), |_| {}).await?;
//! let service = mesh.node(0).expect("all three run").service().clone();
//!
//! let (namespace, key) = (Namespace::new("fruit")?, Key::new("apple")?);
//! let receipt = service
//!     .write(WriteRequest {
//!         namespace: namespace.clone(),
//!         key: key.clone(),
//!         value: Some(Bytes::from_static(b"red")),
//!         write_id: None,
//!         copies: None,
//!         timeout: Some(Duration::from_secs(30)),
//!         durability: None,
//!         is_retry: false,
//!     })
//!     .await?;
//! assert!(receipt.got >= 2, "a majority of three");
//! let stored = service.read(&namespace, &key)?.expect("a committed write is readable where it was taken");
//! assert_eq!(stored.content.value.as_deref(), Some(&b"red"[..]));
//!
//! mesh.stop_all().await;
//! # Ok(())
//! # }
//! ```

mod admission;
mod bytes_json;
pub mod cli;
pub mod client;
pub mod config;
mod export_line;
mod exposed;
mod forget;
#[cfg(feature = "testing")]
pub mod fuzzing;
pub mod http;
pub mod identity;
pub mod local_mesh;
mod node;
pub mod pki;
mod poll;
mod read;
pub mod receive;
pub mod record;
mod repair;
mod service;
pub mod shutdown;
#[cfg(any(test, feature = "testing"))]
pub mod simulation;
pub mod status;
pub mod store;
mod traced;
mod under_way;
mod watermark;
mod world;
mod write;
mod write_status;

pub use config::Config;
pub use exposed::ExposureReport;
pub use forget::{ForgetFailed, Forgotten};
pub use node::{Node, StartError};
pub use poll::TooFewAnswers;
pub use read::{ReadFailed, ReadFound, ReadRequest};
pub use repair::scrub::ScrubReport;
pub use service::Service;
pub use world::{SystemRandom, World};
pub use write::{WriteFailed, WriteRequest};
pub use write_status::{FoundAt, WriteOutcome, WriteStatus};
