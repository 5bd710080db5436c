//! `man`: manual pages for packages, one per command.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Exit, Output};

/// Arguments of `man`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct ManArguments {
    /// Directory for the pages; pages of an earlier run are replaced
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Writes the pages and lists them.
///
/// # Errors
///
/// If the directory or a page cannot be written.
pub fn run(arguments: &ManArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let directory = &arguments.out;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create directory {}", directory.display()))?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    write_pages(&root, directory, &mut pages)?;
    output.show(&serde_json::json!({ "written": pages }), |out| {
        pages.iter().try_for_each(|page| writeln!(out, "{}", page.display()))
    })?;
    Ok(Exit::Ok)
}

/// The page of a command, then those of the commands below it.
fn write_pages(
    command: &clap::Command,
    directory: &Path,
    pages: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let man = Man::new(command.clone());
    let page = directory.join(man.get_filename());
    let mut text = Vec::new();
    man.render(&mut text)?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    pages.push(page);
    command.get_subcommands().try_for_each(|below| write_pages(below, directory, pages))
}
