//! `--config`, `run` and `report`.

use super::hang_up::HangUp;
use super::options::Options;
use super::progress::Progress;
use super::registries::print;
use super::several;
use super::whole::{drop_work, missing_cells};
use crate::analysis::{Run, ladder};
use crate::error::{Error, Result};
use crate::model::MODEL_FOLDER;
use crate::notice::say;
use crate::report;
use crate::store::{State, Store};
use crate::sweep::plan::{self, Plan};
use crate::sweep::run::{self, Done, Machine};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs a sweep, then writes its reports.
pub fn run_and_report(config: &Path, options: &Options) -> Result<()> {
    let (store, done) = compute(config, options)?;
    let (run, files) = report::write(&store)?;
    print_done(&done)?;
    print_files(&store, &files)?;
    warn(&run, options)?;
    fail_if_cells_failed(&run)
}

/// Runs a sweep without a report.
pub fn run(config: &Path, options: &Options) -> Result<()> {
    let (store, done) = compute(config, options)?;
    print_done(&done)?;
    let run = Run::read(&store)?;
    warn(&run, options)?;
    fail_if_cells_failed(&run)
}

/// Writes the reports of a run.
pub fn report(dir: &Path, options: &Options) -> Result<()> {
    Store::open(dir)?; // a clear error before a folder is made
    let store = Store::create(dir)?;
    let (run, files) = report::write(&store)?;
    print_files(&store, &files)?;
    warn(&run, options)?;
    missing_cells(&store)?;
    drop_work(&store)
}

/// Relations of the sanity ladder that are printed; the rest are counted.
const SHOWN: usize = 20;

/// What is not ok in the sanity ladder, one line each; with `--strict` a violated relation is an error.
pub fn warn(run: &Run, options: &Options) -> Result<()> {
    let complaints = ladder::complaints(&run.sanity);
    complaints.iter().take(SHOWN).for_each(|row| say(row.line()));
    if complaints.len() > SHOWN {
        say(format_args!("{} more are not ok: tables/sanity.csv", complaints.len() - SHOWN));
    }
    if options.strict { ladder::strict(&run.sanity) } else { Ok(()) }
}

fn compute(config: &Path, options: &Options) -> Result<(Store, Done)> {
    if several::is_asked(options) {
        return compute_by_several(config, options);
    }
    let machine = options.machine()?; // first: the plan's pictures are decoded by its threads
    compute_plan(plan::load(config, &options.source())?, &machine, options)
}

/// The same by several processes, each of which plans for itself.
fn compute_by_several(config: &Path, options: &Options) -> Result<(Store, Done)> {
    several::check_is_file(config)?;
    // a sweep that cannot be planned is told once, and not by each
    let plan = plan_of(config, options)?;
    let dir = options.out.join(&plan.name);
    let states = |store: &Store| store.states(plan.cells.iter().map(|cell| &cell.id));
    let count = |states: &[State], of: State| states.iter().filter(|state| **state == of).count();
    let before = match Store::open(&dir) {
        Ok(store) => states(&store)?,
        Err(_) => Vec::new(),
    };
    several::compute(config, &dir, options, &*stop_on_signals()?)?;
    let store = Store::create_after_others(&dir)?;
    missing_cells(&store)?;
    drop_work(&store)?;
    let (after, cached) = (states(&store)?, count(&before, State::Done));
    let failed = count(&after, State::Failed).saturating_sub(count(&before, State::Failed));
    Ok((store, Done { computed: count(&after, State::Done) - cached, cached, failed }))
}

/// The plan of a sweep, with what the options ask of it.
pub fn plan_of(config: &Path, options: &Options) -> Result<Plan> {
    let mut plan = plan::load(config, &options.source())?;
    explained(&mut plan, options)?;
    Ok(plan)
}

fn explained(plan: &mut Plan, options: &Options) -> Result<()> {
    let Some(layer) = &options.explain else { return Ok(()) };
    plan.explain_all(Some(layer.as_str()).filter(|l| !l.is_empty()))
}

/// Computes what the store lacks of a plan.
pub fn compute_plan(mut plan: Plan, machine: &Machine, options: &Options) -> Result<(Store, Done)> {
    explained(&mut plan, options)?;
    say_what_is_read(&plan, options.quiet);
    warn_of_unpinned(&plan, options.quiet);
    let store = Store::create(&options.out.join(&plan.name))?;
    let stop = stop_on_signals()?;
    let mut progress = Progress::new(options.quiet, machine);
    let done = run::run(&plan, &store, machine, &stop, &mut |event| progress.tell(event));
    progress.finish();
    Ok((store, done?))
}

/// Says where pictures lie whose path a sweep names relative to somewhere; and, however quiet, what was dropped or bent.
pub fn say_what_is_read(plan: &Plan, quiet: bool) {
    for data in plan.data.iter().filter(|_| !quiet) {
        let table = data.choice.table.as_ref().and_then(|table| table.path.as_ref());
        let path = data.choice.path.as_deref().or(table.map(Path::new)).filter(|path| path.is_relative());
        if let Some(whole) = path.and_then(|path| path.canonicalize().ok()) {
            say(format_args!("dataset `{}` is read from {}", data.dataset.name, whole.display()));
        }
    }
    plan.warnings().iter().for_each(|warning| say(format_args!("warning: {warning}")));
}

/// Says which models and data nothing pins, and the lines that would.
pub fn warn_of_unpinned(plan: &Plan, quiet: bool) {
    plan.unpinned_data().iter().filter(|_| !quiet).for_each(|line| say(format_args!("warning: {line}")));
    for model in plan.models.iter().filter(|m| !m.is_pinned() && !quiet) {
        let (name, lines) = (&model.name, model.pin().replace('\n', "\n    "));
        let place = match model.origin.as_deref() {
            None => format!("save this as {MODEL_FOLDER}/{name}.toml"),
            Some(origin) if origin.ends_with(".toml") => format!("put this into {origin}"),
            Some(_) => "save this as a model file, and name that".into(),
        };
        say(format_args!(
            "warning: nothing pins model `{name}`, and every table says so (hint: if these are the right weights, {place})\n    \
             {lines}"
        ));
    }
}

fn print_done(done: &Done) -> Result<()> {
    let line = format!("{} cells computed, {} cached, {} failed\n", done.computed, done.cached, done.failed);
    print(line.as_bytes())
}

fn print_files(store: &Store, files: &[String]) -> Result<()> {
    let lines: String = files.iter().map(|f| format!("{}\n", store.dir().join(f).display())).collect();
    print(lines.as_bytes())
}

/// Exit code 2 where a table would show a failed cell, computed now or before.
pub fn fail_if_cells_failed(run: &Run) -> Result<()> {
    let failed = run.cells.iter().filter(|s| s.status == "failed").count();
    if failed == 0 { Ok(()) } else { Err(Error::CellsFailed { failed, total: run.cells.len() }) }
}

/// Set by the first Ctrl-C or SIGTERM; the second ends the process at once. Either way the store stays whole. A terminal that is
/// closed ends nothing.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, terminal) = (stop.clone(), HangUp::watch());
    let handler = move || {
        if terminal.is_it() {
            return;
        }
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| {
        Error::usage(format!("cannot listen for Ctrl-C: {e} (hint: please report it, with `foolproof doctor`)"))
    })?;
    Ok(stop)
}
