//! `man`: manual pages, made of what `--help` says.

use super::registries::print;
use crate::error::{Error, Result};
use clap::Command;
use clap_mangen::Man;
use std::path::Path;

/// Prints the page of the program; with a folder writes it there, and one a verb, and prints their paths.
pub fn man(program: Command, to: Option<&Path>) -> Result<()> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let Some(folder) = to else { return print(&page(&program)?) };
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        let path = folder.join(format!("{}.1", command.get_display_name().unwrap_or(command.get_name())));
        std::fs::write(&path, page(command)?).map_err(Error::io("write", &path))?;
        print(format!("{}\n", path.display()).as_bytes())?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let made = Man::new(command.clone()).render(&mut page);
    made.map(|()| page).map_err(|e| Error::usage(format!("manual page of `{}`: {e}", command.get_name())))
}
