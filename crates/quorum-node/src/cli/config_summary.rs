//! What `config check` says of a sound configuration: what it means for reads and writes, and what
//! may surprise.

use std::io::{self, Write};

use serde::Serialize;

use super::table::{Cell, Table, is_coloured};
use crate::config::{Config, ConfigError, EffectivePolicy, Policies, policies};
use crate::record::Namespace;

/// What a configuration means: for every policy, or for that of one namespace.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    node: String,
    cluster: String,
    cluster_id: String,
    members: usize,
    w: usize,
    min_w: usize,
    tolerated_failures: usize,
    writes_overlap: bool,
    policies_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    policies: Vec<Policy>,
    warnings: Vec<String>,
}

/// One policy with its numbers.
#[derive(Debug, Serialize)]
struct Policy {
    source: String,
    w: usize,
    r: usize,
    ack_timeout: String,
    durability: &'static str,
    consistency: &'static str,
    overlapping: bool,
    writes_overlap: bool,
}

impl Policy {
    fn of(policy: &EffectivePolicy) -> Self {
        let write = policy.write();
        Self {
            source: policy.source().to_string(),
            w: write.w(),
            r: policy.r(),
            ack_timeout: humantime::format_duration(write.ack_timeout()).to_string(),
            durability: policy.durability().as_str(),
            consistency: policy.consistency().as_str(),
            overlapping: policy.overlapping(),
            writes_overlap: write.writes_overlap(),
        }
    }

    fn cells(&self) -> [Cell; 6] {
        let Self { source, w, r, ack_timeout, durability, consistency, .. } = self;
        [
            Cell::plain(source),
            Cell::plain(w),
            Cell::plain(r),
            Cell::plain(ack_timeout),
            Cell::plain(*durability),
            Cell::plain(*consistency),
        ]
    }
}

impl Summary {
    /// The summary of a configuration that holds together; of one namespace, if one is named.
    pub(super) fn of(config: &Config, namespace: Option<&Namespace>) -> Result<Self, ConfigError> {
        let policies = policies(config)?;
        let shown = shown(&policies, namespace);
        let write = policies.default_policy().write();
        Ok(Self {
            node: config.node.name.to_string(),
            cluster: config.node.cluster.clone(),
            cluster_id: config.node.cluster_id().to_string(),
            members: write.n(),
            w: write.w(),
            min_w: policies.min_w(),
            tolerated_failures: write.tolerated_failures(),
            writes_overlap: write.writes_overlap(),
            policies_digest: policies.digest().to_string(),
            namespace: namespace.map(ToString::to_string),
            warnings: shown.iter().flat_map(|policy| policy.warnings()).collect(),
            policies: shown.into_iter().map(Policy::of).collect(),
        })
    }

    /// Writes the summary for people.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { node, cluster, cluster_id, members, w, tolerated_failures, .. } = self;
        writeln!(out, "configuration of {node} in cluster {cluster} ({cluster_id}) is sound")?;
        writeln!(
            out,
            "W = {w} of N = {members}: commits with up to {tolerated_failures} of {members} members down"
        )?;
        if let Some(namespace) = &self.namespace {
            writeln!(out, "policy of namespace {namespace}:")?;
        }
        if self.namespace.is_some() || self.policies.len() > 1 {
            self.table().write(is_coloured(), out)?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))
    }

    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row(["POLICY", "W", "R", "DEADLINE", "DURABILITY", "READS"].map(Cell::plain));
        for policy in &self.policies {
            table.row(policy.cells());
        }
        table
    }
}

fn shown<'a>(policies: &'a Policies, namespace: Option<&Namespace>) -> Vec<&'a EffectivePolicy> {
    match namespace {
        Some(namespace) => vec![policies.of(namespace)],
        None => policies.iter().collect(),
    }
}
