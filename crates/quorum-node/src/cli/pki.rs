//! `pki`: the cluster's authority and the certificates it signs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Exit, Output};
use crate::pki::files::{
    NODE_CERTIFICATE, NODE_KEY, describe_file, read_authority, renew_node, write_authority,
    write_node,
};
use crate::pki::validity::{AUTHORITY_DAYS_DEFAULT, NODE_DAYS_DEFAULT};
use crate::pki::{Authority, Description, Validity};

/// Arguments of `pki`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct PkiArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: PkiCommand,
}

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum PkiCommand {
    /// Make a certificate authority for a cluster
    Init(AuthorityArguments),
    /// Make a certificate and key for one node
    Issue(IssueArguments),
    /// Say what certificates say: whose, signed by whom, until when
    Show(ShowArguments),
    /// Give a node a new key and certificate for the name it has
    Renew(RenewArguments),
}

/// Arguments of `pki init`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct AuthorityArguments {
    /// Directory for ca.pem and ca.key; keep it away from the nodes
    #[arg(long, value_name = "DIR", default_value = "ca")]
    pub dir: PathBuf,
    /// Name of the cluster: the organisation in every certificate
    #[arg(long, value_name = "NAME", default_value = "quorum")]
    pub cluster: String,
    /// Days until the authority expires
    #[arg(long, value_name = "DAYS", default_value_t = AUTHORITY_DAYS_DEFAULT)]
    pub days: u32,
}

/// Arguments of `pki issue`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct IssueArguments {
    /// Directory of the authority
    #[arg(long, value_name = "DIR", default_value = "ca")]
    pub ca: PathBuf,
    /// The node's name, as in the member list
    #[arg(long)]
    pub name: String,
    /// Directory for node.pem, node.key and ca.pem [default: the name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Days until the certificate expires
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS_DEFAULT)]
    pub days: u32,
}

/// Arguments of `pki show`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct ShowArguments {
    /// PEM files with certificates
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `pki renew`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct RenewArguments {
    /// Directory of the authority
    #[arg(long, value_name = "DIR", default_value = "ca")]
    pub ca: PathBuf,
    /// Directory with the node's node.pem and node.key
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Days until the new certificate expires
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS_DEFAULT)]
    pub days: u32,
}

/// Runs a `pki` command.
///
/// # Errors
///
/// Whatever keeps a certificate or file from being made or read.
pub fn run(arguments: &PkiArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let now = SystemTime::now();
    match &arguments.command {
        PkiCommand::Init(AuthorityArguments { dir, cluster, days }) => {
            let authority = Authority::create(cluster, Validity::from_days(now, *days)?)?;
            show_written(&write_authority(dir, &authority)?, output)?;
        }
        PkiCommand::Issue(IssueArguments { ca, name, out, days }) => {
            let authority = read_authority(ca)?;
            let node = authority.issue(name, Validity::from_days(now, *days)?)?;
            let directory = out.as_deref().unwrap_or_else(|| Path::new(name));
            show_written(&write_node(directory, &authority, &node)?, output)?;
        }
        PkiCommand::Show(ShowArguments { files }) => {
            let shown = files
                .iter()
                .map(|path| describe_file(path).map(|bundle| (path, bundle)))
                .collect::<Result<Vec<_>, _>>()?;
            let shown = shown.iter().flat_map(|(path, bundle)| {
                bundle.iter().map(move |description| Shown::new(path, description, now))
            });
            let shown = shown.collect::<Vec<_>>();
            output.show(&shown, |out| shown.iter().try_for_each(|one| one.write(out)))?;
        }
        PkiCommand::Renew(RenewArguments { ca, dir, days }) => {
            let authority = read_authority(ca)?;
            renew_node(dir, &authority, Validity::from_days(now, *days)?)?;
            show_written(&[dir.join(NODE_KEY), dir.join(NODE_CERTIFICATE)], output)?;
        }
    }
    Ok(Exit::Ok)
}

fn show_written(paths: &[PathBuf], output: &mut Output) -> io::Result<()> {
    output.show(&serde_json::json!({ "written": paths }), |out| {
        paths.iter().try_for_each(|path| writeln!(out, "wrote {}", path.display()))
    })
}

/// A certificate, where it lies and how long it has to live.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    file: &'a Path,
    days_left: i64,
    #[serde(flatten)]
    description: &'a Description,
}

impl<'a> Shown<'a> {
    fn new(file: &'a Path, description: &'a Description, now: SystemTime) -> Self {
        Self { file, days_left: description.days_left(now), description }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { file, days_left, description } = self;
        let Description { subject, names, issuer, authority, not_before, not_after, .. } =
            description;
        let kind = if *authority { "authority" } else { "node" };
        writeln!(out, "{} ({kind})", file.display())?;
        writeln!(out, "  subject      {subject}")?;
        if !names.is_empty() {
            writeln!(out, "  names        {}", names.join(", "))?;
        }
        writeln!(out, "  issuer       {issuer}")?;
        writeln!(out, "  valid from   {}", humantime::format_rfc3339_seconds(*not_before))?;
        let left = if *days_left < 0 { "expired".into() } else { format!("{days_left} days left") };
        let not_after = humantime::format_rfc3339_seconds(*not_after);
        writeln!(out, "  valid until  {not_after} ({left})")?;
        writeln!(out, "  serial       {}", description.serial)?;
        writeln!(out, "  sha256       {}", description.fingerprint_sha256)
    }
}
