//! The bare skeleton: this program again, as so many nodes.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{Server, free_ports};
use crate::skeleton::Credentials;

pub(super) fn start(
    program: &Path,
    folder: &Path,
    nodes: usize,
) -> Result<(Vec<Server>, Vec<String>)> {
    Credentials::generate()?.write(folder)?;
    let ports = free_ports(2 * nodes)?;
    let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let (mut servers, mut targets) = (Vec::new(), Vec::new());
    for index in 0..nodes {
        let others: Vec<String> = (1..nodes).map(|step| address((index + step) % nodes)).collect();
        let (others, http) = (others.join(","), address(nodes + index));
        let mut command = Command::new(program);
        command
            .arg("skeleton-node")
            .args(["--peer", &address(index), "--others", &others, "--http", &http])
            .args(["--log", &format!("s{index}.records"), "--folder"])
            .arg(folder);
        servers.push(Server::start(&mut command, folder.join(format!("s{index}.log")))?);
        targets.push(http);
    }
    Ok((servers, targets))
}
