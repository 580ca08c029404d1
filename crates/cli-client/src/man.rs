//! `man`: prints the manual page, or writes a page per command.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use crate::arguments;
use crate::error::CliError;
use crate::language::{Language, texts};

/// The program and its version, in the footer of each page.
const SOURCE: &str = concat!("cli-client ", env!("CARGO_PKG_VERSION"));

/// Prints the page of the program, or writes one page per command into a folder. Pages are in English in every
/// language, because man(1) looks for translations in other folders.
///
/// # Errors
///
/// Fails if a page cannot be written.
pub(crate) fn run(folder: Option<&Path>) -> Result<(), CliError> {
    let mut pages = Vec::new();
    Language::in_english(|| add_pages(&arguments::command_without_help_subcommands(), &mut pages))?;
    let Some(folder) = folder else {
        // The program comes before its subcommands.
        let page = pages.into_iter().next().map(|(_, page)| page).unwrap_or_default();
        return io::stdout().write_all(page.as_bytes()).map_err(CliError::from_output);
    };
    for (name, page) in pages {
        let path = folder.join(name);
        fs::write(&path, page).map_err(|error| CliError::System(texts::cannot_write(path.display(), error)))?;
    }
    Ok(())
}

/// Adds the page of a command and of its subcommands, each with its file name.
fn add_pages(command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    // Without the quotes, the empty date would be missing from the line, and the source take its place.
    let man = Man::new(command.clone()).date("\"\"").source(SOURCE).manual("User Commands");
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), with_sections(&String::from_utf8_lossy(&page))));
    command.get_subcommands().try_for_each(|subcommand| add_pages(subcommand, pages))
}

/// Gives the examples and the exit codes their usual sections (man-pages(7)). Clap has one for the end of a help.
fn with_sections(page: &str) -> String {
    page.replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n.nf\n")
        .replace(".SH EXTRA\n", ".SH NOTES\n")
        .replace("\n\nExamples:\n", "\n.SH EXAMPLES\n.nf\n")
        .replace("\n\nExit codes: ", "\n.fi\n.SH \"EXIT STATUS\"\n")
        .replace(".SH Commands\n", ".SH COMMANDS\n")
}
