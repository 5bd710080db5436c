//! `verify`: checks every record of a data directory that no node has open.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde::Serialize;

use super::settings::SettingsArguments;
use super::{Exit, Output};
use crate::store::{StoreConfig, Verified, verify};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["data_dir", "config"]))]
#[non_exhaustive]
pub struct VerifyArguments {
    /// Data directory to check; the node that uses it has to be stopped
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The node whose data directory is checked.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// What a check came to, as JSON says it.
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    sound: bool,
    records: u64,
    log_entries: u64,
    findings: Vec<String>,
}

/// Runs `verify`.
///
/// # Errors
///
/// If the directory cannot be opened or read. What is wrong with its content is no error but
/// [`Exit::Error`].
pub fn run(arguments: &VerifyArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let data_dir = match &arguments.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => arguments.settings.load()?.node.data_dir,
    };
    let verified = verify(&data_dir, &StoreConfig::default())?;
    let report = Report::of(data_dir, &verified);
    output.show(&report, |out| report.write(out))?;
    Ok(if report.sound { Exit::Ok } else { Exit::Error })
}

impl Report {
    fn of(data_dir: PathBuf, verified: &Verified) -> Self {
        Self {
            data_dir,
            sound: verified.is_sound(),
            records: verified.records,
            log_entries: verified.log_entries,
            findings: verified.findings.iter().map(ToString::to_string).collect(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { data_dir, records, log_entries, findings, .. } = self;
        for finding in findings {
            writeln!(out, "{finding}")?;
        }
        let verdict = match findings.len() {
            0 => "sound".to_owned(),
            count => format!("NOT SOUND, {count} findings"),
        };
        let data_dir = data_dir.display();
        writeln!(out, "{data_dir}: {verdict}; {records} records, {log_entries} log entries")
    }
}
