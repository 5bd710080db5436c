//! quorum-node with its defaults, over HTTP with connections that are kept.

use std::path::Path;

use anyhow::Result;

use crate::node::{self, Place};
use crate::process::Server;

pub(super) fn start(program: &Path, folder: &Path) -> Result<(Vec<Server>, Vec<String>)> {
    let places = node::places(program, folder, 3)?;
    let servers = places.iter().map(Place::start).collect::<Result<_>>()?;
    Ok((servers, places.iter().map(|place| place.http().to_owned()).collect()))
}
