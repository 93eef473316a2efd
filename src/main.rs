//! Parse, call, print the error, exit code.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match foolproof::cli::Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
