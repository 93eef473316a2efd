//! Parse, call, print the error, exit code.

use clap::Parser;
use foolproof::notice::say;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match foolproof::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // help and version are no errors; wrong arguments are the user's, as any other wrong use
            usage.print().ok();
            return ExitCode::from(u8::from(usage.use_stderr()));
        }
    };
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error}{}", error.way_out()));
            ExitCode::from(error.exit_code())
        }
    }
}
