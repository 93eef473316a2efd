//! The program, the processor, and the CUDA libraries.

use super::super::options;
use super::report::Report;
use crate::kernel::cpu::Instructions;
use crate::kernel::libraries::{self, LIBRARIES};
use std::env::consts::{ARCH, OS};

/// Version, target, and how it was built.
pub fn program(report: &mut Report) {
    report.line("foolproof", env!("CARGO_PKG_VERSION"));
    report.line("commit", option_env!("FOOLPROOF_COMMIT").unwrap_or("not known"));
    let profile = if cfg!(debug_assertions) { "debug (slow: build with --release)" } else { "release" };
    let features = if cfg!(feature = "cuda") { "cuda" } else { "none" };
    report
        .line("build", format!("{}, {profile}, features: {features}", option_env!("FOOLPROOF_TARGET").unwrap_or(ARCH)));
    report.line("system", format!("{OS} on {ARCH}"));
}

/// What the processor can do, and what of it is used.
pub fn processor(report: &mut Report, threads: usize) {
    let has = features();
    report.line(
        "cpu",
        if has.is_empty() { "no vector instructions that are used here".to_string() } else { has.join(" ") },
    );
    let (widest, chosen) = (Instructions::widest(), Instructions::chosen());
    let why = if chosen == widest { "the widest that this machine has" } else { "as --instructions says" };
    let slow = if chosen == Instructions::Portable { "; slow" } else { "" };
    report.line("engine", format!("{} ({why}{slow})", chosen.name()));
    let cores = std::thread::available_parallelism().map_or_else(|e| format!("not known ({e})"), |n| n.to_string());
    report.line("threads", format!("{threads} used, {cores} available"));
}

/// Of those that make a difference.
fn features() -> Vec<&'static str> {
    let mut has = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bw", is_x86_feature_detected!("avx512bw")),
            ("avx512dq", is_x86_feature_detected!("avx512dq")),
            ("avx512vl", is_x86_feature_detected!("avx512vl")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ];
        has.extend(all.iter().filter(|(_, detected)| *detected).map(|(name, _)| *name));
    }
    has
}

/// Whether there is a device, and where each library was looked for.
pub fn cuda(report: &mut Report) {
    match options::try_cuda() {
        Ok(()) => report.line("cuda", "the first device opens"),
        Err(why) => report.line("cuda", format!("not used: {why}")),
    }
    for names in LIBRARIES {
        let found = libraries::find(names);
        let text = match &found {
            Some(path) => format!("{} found: {}", names[0], path.display()),
            None => format!("{} missing", names.join(" or ")),
        };
        report.line("cuda", text);
    }
    if LIBRARIES.iter().any(|names| libraries::find(names).is_none()) {
        let tried: Vec<String> = libraries::folders().iter().map(|f| f.display().to_string()).collect();
        let tried = if tried.is_empty() { String::new() } else { format!("{}, and ", tried.join(", ")) };
        report.line(
            "cuda",
            format!(
                "tried: {tried}what the dynamic linker lists in {} ({} and LD_LIBRARY_PATH name more folders)",
                libraries::LISTED,
                libraries::FOLDERS
            ),
        );
    }
}
