//! The bare skeleton: this program again, as three nodes.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{Server, free_ports};
use crate::skeleton::Credentials;

pub(super) fn start(program: &Path, folder: &Path) -> Result<(Vec<Server>, Vec<String>)> {
    Credentials::generate()?.write(folder)?;
    let ports = free_ports(6)?;
    let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let (mut servers, mut targets) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let others = [(index + 1) % 3, (index + 2) % 3].map(address).join(",");
        let http = address(3 + index);
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
