//! `init`: from nothing to nodes that can be started.
//!
//! Either a whole cluster on this machine (`--cluster-dir`), to try things out, or one node of a
//! cluster that spans machines (`--config-dir`). Nothing that exists is overwritten: either all
//! files are written or, if one is in the way, none.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use clap::{ArgGroup, Args};
use quorum_core::PeerId;
use serde::Serialize;

use super::{Exit, Output};
use crate::config::check::MEMBERS_MAX;
use crate::config::sections::HTTP_PORT_DEFAULT;
use crate::config::starter::{Starter, listen_for, local_members};
use crate::config::{Config, Member, check};
use crate::pki::files::{
    AUTHORITY_CERTIFICATE, AUTHORITY_KEY, NODE_CERTIFICATE, NODE_KEY, read_authority,
    write_authority, write_node,
};
use crate::pki::secret_file::{Access, create, create_directory, refuse_existing};
use crate::pki::validity::{AUTHORITY_DAYS_DEFAULT, NODE_DAYS_DEFAULT};
use crate::pki::{Authority, Validity};

/// The configuration file in a node's directory.
pub const CONFIG_FILE: &str = "quorum.toml";
/// The authority's directory beside or below those of the nodes.
const AUTHORITY_DIRECTORY: &str = "ca";
/// The data directory in a node's directory, as [`Starter::render`] names it.
const DATA_DIRECTORY: &str = "data";

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true))]
#[non_exhaustive]
pub struct InitArguments {
    /// Write a whole cluster on loopback into this directory
    #[arg(long, value_name = "DIR", group = "target")]
    pub cluster_dir: Option<PathBuf>,
    /// Write one node of a cluster into this directory
    #[arg(long, value_name = "DIR", group = "target", requires = "name", requires = "member")]
    pub config_dir: Option<PathBuf>,

    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "quorum")]
    pub cluster: String,
    /// Days until the node certificates expire
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS_DEFAULT)]
    pub days: u32,

    /// With --cluster-dir: how many nodes
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "config_dir")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=MEMBERS_MAX as i64))]
    pub nodes: u16,
    /// With --cluster-dir: UDP port of the first node for its peers; the next node has the next port
    #[arg(long, value_name = "PORT", default_value_t = 7400, conflicts_with = "config_dir")]
    pub base_port: u16,
    /// With --cluster-dir: TCP port of the first node for HTTP [default: base port + 80]
    #[arg(long, value_name = "PORT", conflicts_with = "config_dir")]
    pub http_base_port: Option<u16>,

    /// With --config-dir: this node's name
    #[arg(long, conflicts_with = "cluster_dir")]
    pub name: Option<PeerId>,
    /// With --config-dir: a member of the cluster, this node included (repeatable)
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = member, conflicts_with = "cluster_dir")]
    pub member: Vec<Member>,
    /// With --config-dir: directory of the authority that signs [default: DIR/ca, made if absent]
    #[arg(long, value_name = "DIR", conflicts_with = "cluster_dir")]
    pub ca: Option<PathBuf>,
}

/// Runs `init`.
///
/// # Errors
///
/// If the cluster described makes no sense, a file is in the way, or one cannot be written.
pub fn run(arguments: &InitArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let plan = match (&arguments.cluster_dir, &arguments.config_dir) {
        (Some(directory), _) => plan_cluster(directory, arguments)?,
        (_, Some(directory)) => plan_node(directory, arguments)?,
        (None, None) => bail!("either --cluster-dir or --config-dir is needed"),
    };
    let written = plan.write(SystemTime::now())?;
    let summary = Summary::of(&plan, &written);
    output.show(&summary, |out| summary.write(out))?;
    Ok(Exit::Ok)
}

/// Everything that is going to be written.
#[derive(Debug)]
struct Plan {
    cluster: String,
    authority: PathBuf,
    make_authority: bool,
    node_days: u32,
    nodes: Vec<PlannedNode>,
}

/// One node and the directory it gets.
#[derive(Debug)]
struct PlannedNode {
    directory: PathBuf,
    starter: Starter,
}

fn plan_cluster(directory: &Path, arguments: &InitArguments) -> anyhow::Result<Plan> {
    let InitArguments { cluster, nodes: count, base_port, http_base_port, days, .. } = arguments;
    let http_base_port = http_base_port.or_else(|| base_port.checked_add(80)).unwrap_or(0);
    let members = local_members(*count, *base_port)
        .with_context(|| format!("--base-port {base_port} leaves no room for {count} nodes"))?;
    let http = local_members(*count, http_base_port).with_context(|| {
        format!("--http-base-port {http_base_port} leaves no room for {count} nodes")
    })?;
    // UDP and TCP ports do not clash, but one number for two purposes confuses people and firewalls.
    ensure!(
        base_port.abs_diff(http_base_port) >= *count,
        "--base-port {base_port} and --http-base-port {http_base_port} overlap with {count} nodes"
    );
    let nodes = members.iter().zip(&http).map(|(member, http)| {
        let starter = Starter {
            name: member.name.clone(),
            cluster: cluster.clone(),
            members: members.clone(),
            peer_listen: member.address.parse()?,
            http_listen: http.address.parse()?,
        };
        Ok(PlannedNode { directory: directory.join(member.name.as_str()), starter })
    });
    let plan = Plan {
        cluster: cluster.clone(),
        authority: directory.join(AUTHORITY_DIRECTORY),
        make_authority: true,
        node_days: *days,
        nodes: nodes.collect::<anyhow::Result<_>>()?,
    };
    plan.check()?;
    Ok(plan)
}

fn plan_node(directory: &Path, arguments: &InitArguments) -> anyhow::Result<Plan> {
    let InitArguments { cluster, days, name, member: members, ca, .. } = arguments;
    let name = name.clone().context("--config-dir needs --name")?;
    let own = members
        .iter()
        .find(|member| member.name == name)
        .with_context(|| format!("--name {name} is not among the --member list"))?;
    let peer_listen = listen_for(&own.address)
        .with_context(|| format!("--member {name}={} is not NAME=HOST:PORT", own.address))?;
    let authority = ca.clone().unwrap_or_else(|| directory.join(AUTHORITY_DIRECTORY));
    let starter = Starter {
        name,
        cluster: cluster.clone(),
        members: members.clone(),
        peer_listen,
        http_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), HTTP_PORT_DEFAULT),
    };
    let plan = Plan {
        cluster: cluster.clone(),
        // An authority that was named must be there; only the default one is made on demand.
        make_authority: ca.is_none() && !authority.join(AUTHORITY_CERTIFICATE).exists(),
        authority,
        node_days: *days,
        nodes: vec![PlannedNode { directory: directory.to_owned(), starter }],
    };
    plan.check()?;
    Ok(plan)
}

impl Plan {
    /// Refuses what `serve` would refuse later.
    fn check(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            let Starter { name, cluster, members, .. } = &node.starter;
            let mut config = Config::new(name.clone(), members.clone());
            config.node.cluster.clone_from(cluster);
            check(&config)?;
        }
        Ok(())
    }

    fn write(&self, now: SystemTime) -> anyhow::Result<Vec<PathBuf>> {
        let files = self.files();
        refuse_existing(files.iter().map(PathBuf::as_path))?;
        let authority = if self.make_authority {
            let validity = Validity::from_days(now, AUTHORITY_DAYS_DEFAULT)?;
            Authority::create(&self.cluster, validity)?
        } else {
            read_authority(&self.authority)?
        };
        ensure!(
            authority.cluster() == self.cluster,
            "the authority in {} is for cluster {:?}, not {:?}; pass --cluster or another --ca",
            self.authority.display(),
            authority.cluster(),
            self.cluster
        );
        // All certificates are made before the first file is written.
        let validity = Validity::from_days(now, self.node_days)?;
        let identities = self
            .nodes
            .iter()
            .map(|node| authority.issue(node.starter.name.as_str(), validity))
            .collect::<Result<Vec<_>, _>>()?;

        let mut written = Vec::new();
        if self.make_authority {
            written.extend(write_authority(&self.authority, &authority)?);
        }
        for (PlannedNode { directory, starter }, identity) in self.nodes.iter().zip(&identities) {
            written.extend(write_node(directory, &authority, identity)?);
            create_directory(&directory.join(DATA_DIRECTORY))?;
            let config = directory.join(CONFIG_FILE);
            create(&config, &starter.render(), Access::Everybody)?;
            written.push(config);
        }
        Ok(written)
    }

    fn files(&self) -> Vec<PathBuf> {
        let of_authority = [AUTHORITY_KEY, AUTHORITY_CERTIFICATE];
        let of_node = [NODE_KEY, NODE_CERTIFICATE, AUTHORITY_CERTIFICATE, CONFIG_FILE];
        let authority = of_authority.iter().map(|name| self.authority.join(name));
        let nodes =
            self.nodes.iter().flat_map(|node| of_node.iter().map(|name| node.directory.join(name)));
        authority.filter(|_| self.make_authority).chain(nodes).collect()
    }
}

/// What was written and what to do with it.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    written: &'a [PathBuf],
    authority: &'a Path,
    nodes: Vec<NodeSummary<'a>>,
    /// The commands that start the nodes.
    commands: Vec<String>,
    #[serde(skip)]
    made_authority: bool,
    #[serde(skip)]
    members: &'a [Member],
}

#[derive(Debug, Serialize)]
struct NodeSummary<'a> {
    name: &'a PeerId,
    config: PathBuf,
    peer: SocketAddr,
    http: SocketAddr,
}

impl<'a> Summary<'a> {
    fn of(plan: &'a Plan, written: &'a [PathBuf]) -> Self {
        let nodes = plan.nodes.iter().map(|PlannedNode { directory, starter }| NodeSummary {
            name: &starter.name,
            config: directory.join(CONFIG_FILE),
            peer: starter.peer_listen,
            http: starter.http_listen,
        });
        let nodes = nodes.collect::<Vec<_>>();
        let command = |node: &NodeSummary<'_>| {
            format!("quorum-node serve --config {}", shell_word(&node.config))
        };
        Self {
            written,
            authority: &plan.authority,
            commands: nodes.iter().map(command).collect(),
            nodes,
            made_authority: plan.make_authority,
            members: plan.nodes.first().map_or(&[], |node| &node.starter.members),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for path in self.written {
            writeln!(out, "wrote {}", path.display())?;
        }
        match self.nodes.as_slice() {
            [node] => {
                writeln!(out, "\nStart the node:\n")?;
                self.write_commands(out)?;
                self.write_other_members(node, out)
            }
            nodes => {
                writeln!(out, "\nStart each node in a terminal of its own:\n")?;
                self.write_commands(out)?;
                write_first_steps(nodes, out)
            }
        }
    }

    fn write_commands(&self, out: &mut dyn Write) -> io::Result<()> {
        self.commands.iter().try_for_each(|command| writeln!(out, "  {command}"))
    }

    /// How the other members of a cluster that spans machines get theirs.
    fn write_other_members(&self, node: &NodeSummary<'_>, out: &mut dyn Write) -> io::Result<()> {
        let others = self.members.iter().filter(|member| member.name != *node.name);
        let others = others.collect::<Vec<_>>();
        if others.is_empty() || !self.made_authority {
            return Ok(());
        }
        let members = self
            .members
            .iter()
            .map(|Member { name, address }| format!(" --member {name}={address}"))
            .collect::<String>();
        writeln!(out, "\nMake the other nodes here, with the same authority, and copy each")?;
        writeln!(out, "directory to its host; the authority's key should stay on none of them:\n")?;
        for Member { name, .. } in others {
            writeln!(
                out,
                "  quorum-node init --config-dir {name} --name {name} --ca {}{members}",
                shell_word(self.authority)
            )?;
        }
        Ok(())
    }
}

fn write_first_steps(nodes: &[NodeSummary<'_>], out: &mut dyn Write) -> io::Result<()> {
    let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else { return Ok(()) };
    let (write, read) = (first.http, last.http);
    writeln!(out, "\nThen write through one node and read through another:\n")?;
    writeln!(out, "  curl -X PUT --data hello http://{write}/v1/kv/demo/greeting")?;
    writeln!(out, "  curl http://{read}/v1/kv/demo/greeting")?;
    writeln!(out, "  curl http://{write}/v1/status")
}

/// A path as a shell reads it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn member(text: &str) -> Result<Member, String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=HOST:PORT")?;
    let name = PeerId::new(name).map_err(|error| error.to_string())?;
    Ok(Member::new(name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(shell_word(Path::new("/srv/n1/quorum.toml")), "/srv/n1/quorum.toml");
        assert_eq!(shell_word(Path::new("my cluster")), "'my cluster'");
        assert_eq!(shell_word(Path::new("it's")), r"'it'\''s'");
    }
}
