//! The targets, and which files each of them is about.

use std::path::Path;

use anyhow::Result;
use quorum_ledger::Code;

/// Something that reads bytes from elsewhere.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Longest input that is made up.
    pub(super) bytes_max: usize,
    /// What it is about.
    about: &'static [&'static str],
}

/// What all programs are made of.
const HARNESS: &str = "xtask/fuzz/src/lib.rs";
const WIRE: &[&str] = &[
    "crates/quorum-core/src/announcement.rs",
    "crates/quorum-core/src/frontier.rs",
    "crates/quorum-core/src/id.rs",
    "crates/quorum-core/src/query.rs",
    "crates/quorum-core/src/record.rs",
    "crates/quorum-core/src/version.rs",
    "crates/quorum-transport/src/frames.rs",
    "crates/quorum-transport/src/server/admission.rs",
    "crates/quorum-transport/src/testing/fuzzing.rs",
    "crates/quorum-transport/src/wire",
];
const HTTP: &[&str] = &[
    "crates/quorum-node/src/bytes_json.rs",
    "crates/quorum-node/src/http/batch.rs",
    "crates/quorum-node/src/http/fuzzing.rs",
    "crates/quorum-node/src/http/path.rs",
    "crates/quorum-node/src/http/percent.rs",
    "crates/quorum-node/src/http/query.rs",
    "crates/quorum-node/src/http/trace_parent.rs",
    "crates/quorum-node/src/record.rs",
];
const CONFIG: &[&str] = &["crates/quorum-node/src/config", "crates/quorum-node/src/client/url.rs"];
const IMPORT: &[&str] = &[
    "crates/quorum-node/src/bytes_json.rs",
    "crates/quorum-node/src/cli/import",
    "crates/quorum-node/src/client/text.rs",
    "crates/quorum-node/src/export_line.rs",
    "crates/quorum-node/src/record.rs",
];
const STORE: &[&str] = &["crates/quorum-node/src/record.rs", "crates/quorum-node/src/store"];
const LOG: &[&str] = &[
    "crates/quorum-node/src/store/engine/frame.rs",
    "crates/quorum-node/src/store/engine/fuzzing.rs",
    "crates/quorum-node/src/store/engine/layer.rs",
    "crates/quorum-node/src/store/engine/log.rs",
];

pub(super) const TARGETS: &[Target] = &[
    Target {
        name: "frame",
        summary: "every message of the wire but the first",
        bytes_max: 2_048,
        about: WIRE,
    },
    Target {
        name: "frame_stream",
        summary: "frames out of a stream that comes in pieces",
        bytes_max: 1_024,
        about: WIRE,
    },
    Target {
        name: "hello",
        summary: "a member's first word, and whether it is let in",
        bytes_max: 2_048,
        about: WIRE,
    },
    Target {
        name: "http_request",
        summary: "path, parameters and headers of a request",
        bytes_max: 512,
        about: HTTP,
    },
    Target {
        name: "http_batch",
        summary: "the body of a batch of writes",
        bytes_max: 1_024,
        about: HTTP,
    },
    Target {
        name: "config_file",
        summary: "a configuration file, and the policies in it",
        bytes_max: 1_024,
        about: CONFIG,
    },
    Target {
        name: "config_environment",
        summary: "environment variables over a sound file",
        bytes_max: 512,
        about: CONFIG,
    },
    Target {
        name: "config_value",
        summary: "sizes, quorums, tokens and addresses by themselves",
        bytes_max: 128,
        about: CONFIG,
    },
    Target {
        name: "import_lines",
        summary: "what `import` reads",
        bytes_max: 1_024,
        about: IMPORT,
    },
    Target {
        name: "store_bytes",
        summary: "entries of the store, one by one",
        bytes_max: 512,
        about: STORE,
    },
    Target {
        name: "log_with_damage",
        summary: "recovery of a log after a power cut or damage",
        bytes_max: 512,
        about: LOG,
    },
    Target {
        name: "log_of_any_bytes",
        summary: "recovery of a log whose files hold anything",
        bytes_max: 1_024,
        about: LOG,
    },
    Target {
        name: "store_with_damage",
        summary: "a start on entries that went bad",
        bytes_max: 256,
        about: STORE,
    },
];

impl Target {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// The source of its program.
    fn program(&self) -> String {
        format!("xtask/fuzz/src/bin/{}.rs", self.name)
    }

    /// As long as this code is the same, executions add up.
    pub(super) fn code(&self, root: &Path) -> Result<Code> {
        let program = self.program();
        let harness = [HARNESS, program.as_str()];
        Code::of(root, &[self.about, &harness].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn every_target_has_a_program() {
        let folder = process::root().join("xtask/fuzz/src/bin");
        let programs = std::fs::read_dir(folder).expect("readable").count();
        assert_eq!(programs, TARGETS.len(), "more than are listed");
        for target in TARGETS {
            assert!(process::root().join(target.program()).exists(), "{} has none", target.name);
        }
    }

    #[test]
    fn what_a_target_is_about_exists() {
        for path in TARGETS.iter().flat_map(|target| target.about).chain([&HARNESS]) {
            assert!(process::root().join(path).exists(), "{path}");
        }
    }
}
