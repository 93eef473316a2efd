//! `doctor`: what this machine has, what the program finds on it, and whether it computes what it should.

mod goldens;
mod machine;
mod places;
mod report;
mod self_test;

use super::options::Options;
use super::registries::print;
use crate::error::{Error, Result};
use crate::notice::say;
use report::Report;

/// Prints everything; what is wrong is named again at the end, and is an error.
pub fn doctor(json: bool, options: &Options) -> Result<()> {
    let threads = options.machine_on("cpu")?;
    let mut report = Report::default();
    machine::program(&mut report);
    machine::processor(&mut report, threads.threads);
    machine::cuda(&mut report);
    places::data(&mut report, &options.here());
    places::hub(&mut report);
    places::disks(&mut report, options);
    if !options.quiet {
        say("self-test: a few seconds");
    }
    self_test::run(&mut report, &threads);
    report.settle();
    print(&if json { report.to_json()? } else { report.to_text() })?;
    match report.faults.as_slice() {
        [] => Ok(()),
        faults => Err(Error::usage(format!("{} at fault, told above: {}", faults.len(), faults.join("; ")))),
    }
}
