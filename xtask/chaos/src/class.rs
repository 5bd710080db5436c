//! The classes of faults: what each one does to a mesh, and what it needs of the machine. (pure)

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of trouble. A cycle is about one of them, whatever else happens beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum Class {
    KillMidWrite,
    KillAtFsync,
    Pause,
    RollingRestart,
    MinorityPartition,
    OneWayPartition,
    DroppedAcks,
    PacketLoss,
    Bandwidth,
    Delay,
    Reorder,
    Duplicate,
    Corrupt,
    ClockSkew,
    FullDisk,
    FailedFsync,
    PowerCut,
    WipedDisk,
}

/// What the network between the nodes of a mesh is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wiring {
    /// The kernel's bridge alone.
    Direct,
    /// Every link goes through a relay of its own in this program.
    Relayed,
}

/// A program that a class cannot do without, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tool {
    /// A name on the path, or a file.
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// The library that moves a program's wall clock.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// The library that moves a program's wall clock.
#[cfg(target_arch = "aarch64")]
pub(crate) const FAKETIME: &str = "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1";

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What no class can do without: namespaces, their network, and disks of their own.
pub(crate) const BASE_TOOLS: &[Tool] = &[
    tool("unshare", "util-linux"),
    tool("nsenter", "util-linux"),
    tool("mount", "mount"),
    tool("kill", "procps"),
    tool("ip", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
    tool("mkfs.ext4", "e2fsprogs"),
];

const STRACE: &[Tool] = &[tool("strace", "strace")];
const CLOCK: &[Tool] = &[tool(FAKETIME, "faketime")];
const POWER: &[Tool] = &[tool("xfs_io", "xfsprogs")];
const SPACE: &[Tool] = &[tool("fallocate", "util-linux"), tool("df", "coreutils")];
const SHAPING: &[Tool] = &[tool("tc", "iproute2")];

impl Class {
    pub(crate) const ALL: &[Self] = &[
        Self::KillMidWrite,
        Self::KillAtFsync,
        Self::Pause,
        Self::RollingRestart,
        Self::MinorityPartition,
        Self::OneWayPartition,
        Self::DroppedAcks,
        Self::PacketLoss,
        Self::Bandwidth,
        Self::Delay,
        Self::Reorder,
        Self::Duplicate,
        Self::Corrupt,
        Self::ClockSkew,
        Self::FullDisk,
        Self::FailedFsync,
        Self::PowerCut,
        Self::WipedDisk,
    ];

    /// The name in commands and reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KillMidWrite => "kill-mid-write",
            Self::KillAtFsync => "kill-at-fsync",
            Self::Pause => "pause",
            Self::RollingRestart => "rolling-restart",
            Self::MinorityPartition => "minority-partition",
            Self::OneWayPartition => "one-way-partition",
            Self::DroppedAcks => "dropped-acks",
            Self::PacketLoss => "packet-loss",
            Self::Bandwidth => "bandwidth",
            Self::Delay => "delay",
            Self::Reorder => "reorder",
            Self::Duplicate => "duplicate",
            Self::Corrupt => "corrupt",
            Self::ClockSkew => "clock-skew",
            Self::FullDisk => "full-disk",
            Self::FailedFsync => "failed-fsync",
            Self::PowerCut => "power-cut",
            Self::WipedDisk => "wiped-disk",
        }
    }

    pub(crate) const fn summary(self) -> &'static str {
        match self {
            Self::KillMidWrite => {
                "kill -9 while the node has a client's write in hand: one, a minority, or all"
            }
            Self::KillAtFsync => "SIGKILL on entering an exact fsync or fdatasync, by strace",
            Self::Pause => "SIGSTOP, then SIGCONT",
            Self::RollingRestart => "SIGTERM and a new start, one node after the other",
            Self::MinorityPartition => "a minority is cut off from everybody else, both ways",
            Self::OneWayPartition => "packets of one direction of one link are dropped",
            Self::DroppedAcks => "nothing its peers send reaches a node, so all acks are lost",
            Self::PacketLoss => "a random share of all packets is dropped",
            Self::Bandwidth => "one node sends through a token bucket of few kbit/s",
            Self::Delay => "every datagram is held back, by a seeded relay",
            Self::Reorder => "a share of the datagrams is overtaken by others, by a seeded relay",
            Self::Duplicate => "a share of the datagrams arrives twice, by a seeded relay",
            Self::Corrupt => "a bit of a share of the datagrams is flipped, by a seeded relay",
            Self::ClockSkew => {
                "the wall clock of one node is stepped while it runs, by libfaketime"
            }
            Self::FullDisk => "a node's filesystem has no byte left",
            Self::FailedFsync => "an exact fdatasync fails with EIO, by strace",
            Self::PowerCut => "a node's filesystem is shut down with everything un-synced lost",
            Self::WipedDisk => "up to W-1 nodes lose their disks at once",
        }
    }

    /// Whether it happens inside this program's relays rather than in the kernel or to a node.
    pub(crate) const fn wiring(self) -> Wiring {
        match self {
            Self::Delay | Self::Reorder | Self::Duplicate | Self::Corrupt => Wiring::Relayed,
            _ => Wiring::Direct,
        }
    }

    /// What it needs beside [`BASE_TOOLS`].
    pub(crate) const fn tools(self) -> &'static [Tool] {
        match self {
            Self::KillAtFsync | Self::FailedFsync => STRACE,
            Self::ClockSkew => CLOCK,
            Self::PowerCut => POWER,
            Self::FullDisk => SPACE,
            Self::Bandwidth => SHAPING,
            _ => &[],
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// A name that no class has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no class of faults is called {0:?}; `--list` names them all")]
pub(crate) struct UnknownClass(String);

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        let named = Self::ALL.iter().find(|class| class.name() == text);
        named.copied().ok_or_else(|| UnknownClass(text.to_owned()))
    }
}

impl TryFrom<String> for Class {
    type Error = UnknownClass;

    fn try_from(text: String) -> Result<Self, UnknownClass> {
        text.parse()
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_found_by_its_name() {
        for class in Class::ALL {
            assert_eq!(class.name().parse(), Ok(*class));
        }
        assert!("meteorite".parse::<Class>().is_err());
    }
}
