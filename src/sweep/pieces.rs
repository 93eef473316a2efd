//! The pieces of a run: clean passes, fits, chunks of units, and what is made of stored cells.

use super::afterwards::Afterwards;
use super::chunks::{self, ranges};
use super::compute::Prepared;
use super::fits;
use super::plan::PlannedCell;
use super::runner::{Event, Runner};
use super::share::Pieces;
use super::units::{Unit, units};
use crate::error::{Error, Result};
use crate::kernel::{Engine, Precision};
use crate::record::{AfterRecord, CellId, SCHEMA, UnitRecord, WorkRecord};
use crate::store::State;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What is to be done.
enum Kind {
    /// Logits of a range of clean images, for the units of a model and images.
    Clean(Range<usize>),
    /// Pictures to be pasted.
    Fit(String),
    /// A range of the images of a unit.
    Chunk(Range<usize>),
    /// The chunks of a unit put together.
    Join,
    /// Other nets' verdicts on a cell, and maps of it.
    After,
}

struct Piece<'a> {
    name: String,
    kind: Kind,
    /// The unit that it belongs to; of a clean pass or a fit, one that needs it.
    unit: usize,
    /// Its cell: the unit's longest, or the one that is made something of.
    cell: &'a PlannedCell,
    cost: f64,
    group: usize,
    needs: Vec<usize>,
}

/// The pieces of a run, and what computes them.
pub struct OfRun<'a, 'r> {
    runner: &'r Runner<'a>,
    units: Vec<Unit<'a>>,
    pieces: Vec<Piece<'a>>,
    /// Units of the same model and images, by group.
    of_group: Vec<Vec<usize>>,
    /// Units that paste the pictures of a fit.
    of_fit: BTreeMap<String, Vec<usize>>,
    /// A model that is loaded for clean passes.
    engine: Option<(usize, Box<dyn Engine>)>,
    prepared: Option<Prepared>,
    afterwards: Afterwards<'a, 'r>,
    tell: &'r mut dyn FnMut(Event),
}

/// About what a binarisation test takes: the points inside, and the guesses.
const PASSES_OF_A_TEST: usize = 1400;

impl<'a, 'r> OfRun<'a, 'r> {
    /// Cuts a plan into pieces: all of it, whatever is stored, so that every worker sees the same.
    pub fn new(runner: &'r Runner<'a>, tell: &'r mut dyn FnMut(Event)) -> Result<OfRun<'a, 'r>> {
        let mut run = OfRun {
            runner,
            units: units(runner.plan.cells.iter().collect()),
            pieces: Vec::new(),
            of_group: Vec::new(),
            of_fit: BTreeMap::new(),
            engine: None,
            prepared: None,
            afterwards: Afterwards::new(runner),
            tell,
        };
        // a group's number, and its clean pass; a fit; the last piece of a cell
        let mut groups: BTreeMap<(usize, usize), (usize, Vec<usize>)> = BTreeMap::new();
        let mut fits: BTreeMap<String, usize> = BTreeMap::new();
        let mut last: BTreeMap<&CellId, usize> = BTreeMap::new();
        for unit in 0..run.units.len() {
            let (cell, name) = (run.units[unit].longest(), run.units[unit].id());
            if !groups.contains_key(&(cell.model, cell.data)) {
                let clean = run.add_clean_pass(unit, groups.len())?;
                groups.insert((cell.model, cell.data), (groups.len(), clean));
                run.of_group.push(Vec::new());
            }
            let (group, mut needs) = groups[&(cell.model, cell.data)].clone();
            run.of_group[group].push(unit);
            let cost = chunks::cost(runner, &run.units[unit])?;
            let add = |run: &mut Self, name: String, kind, cost, needs: Vec<usize>| {
                run.pieces.push(Piece { name, kind, unit, cell, cost, group, needs });
                run.pieces.len() - 1
            };
            if let Some(fit) = run.units[unit].fit() {
                let id = fit.record.id();
                run.of_fit.entry(id.clone()).or_default().push(unit);
                let piece = match fits.get(&id) {
                    Some(piece) => *piece,
                    // what it takes is the attack's own affair; its steps say something of it
                    None => add(&mut run, format!("fit-{id},0,0"), Kind::Fit(id.clone()), cost, Vec::new()),
                };
                fits.insert(id, piece);
                needs.push(piece);
            }
            needs.extend(run.units[unit].after().and_then(|before| last.get(before)));
            let ranges: Vec<Range<usize>> = ranges(&chunks::cuts(runner, &run.units[unit])?).collect();
            let mut own = Vec::new();
            for range in &ranges {
                let name = format!("{name},{},{}", range.start, range.end);
                own.push(add(&mut run, name, Kind::Chunk(range.clone()), cost * range.len() as f64, needs.clone()));
            }
            if own.len() > 1 {
                own = vec![add(&mut run, format!("join-{name},0,0"), Kind::Join, 0.0, own)];
            }
            last.extend(run.units[unit].cells.iter().map(|cell| (&cell.id, own[0])));
        }
        for unit in 0..run.units.len() {
            for cell in run.units[unit].cells.clone() {
                if cell.transfer_to.is_empty() && cell.explain.is_none() && cell.binarise.is_none() {
                    continue;
                }
                let pass = runner.plan.models[cell.model].multiply_adds()? as f64;
                let cost = pass * (cell.cell.data.take + cell.binarise.unwrap_or(0) * PASSES_OF_A_TEST) as f64;
                let (name, needs) = (format!("after-{},0,0", cell.id), vec![last[&cell.id]]);
                let group = groups[&(cell.model, cell.data)].0;
                run.pieces.push(Piece { name, kind: Kind::After, unit, cell, cost, group, needs });
            }
        }
        Ok(run)
    }

    /// The clean pass of a unit's model over its images; gives its pieces.
    fn add_clean_pass(&mut self, unit: usize, group: usize) -> Result<Vec<usize>> {
        let (runner, cell) = (self.runner, self.units[unit].longest());
        let pass = runner.plan.models[cell.model].multiply_adds()? as f64;
        let first = self.pieces.len();
        for range in ranges(&runner.clean_cuts(cell)?) {
            let name = format!("clean-{},{},{}", runner.clean_name(cell), range.start, range.end);
            let (cost, kind) = (pass * range.len() as f64, Kind::Clean(range));
            self.pieces.push(Piece { name, kind, unit, cell, cost, group, needs: Vec::new() });
        }
        Ok((first..self.pieces.len()).collect())
    }

    /// Chunks that are not done, and cells of which something is still to be made.
    pub fn open(&self) -> Result<usize> {
        let counts = |piece: &Piece| matches!(piece.kind, Kind::Chunk(_) | Kind::After);
        let open = self.done()?.into_iter().zip(&self.pieces).filter(|(done, piece)| !done && counts(piece));
        Ok(open.count())
    }

    /// Passes on what the user is to know.
    pub fn tell(&mut self, event: Event) {
        (self.tell)(event);
    }

    /// How the run is cut, for those who see the store alone.
    pub fn record(&self) -> Result<WorkRecord> {
        let unit = |unit: &Unit| -> Result<UnitRecord> {
            let cells = unit.cells.iter().map(|cell| cell.id.clone()).collect();
            Ok(UnitRecord { cells, cuts: chunks::cuts(self.runner, unit)?, cost: chunks::cost(self.runner, unit)? })
        };
        let units = self.units.iter().map(unit).collect::<Result<_>>()?;
        let plan = self.runner.plan;
        let after = |piece: &Piece| {
            let models = piece.cell.transfer_to.iter().map(|model| plan.models[*model].record()).collect();
            let (layer, binarise) = (piece.cell.explain.clone(), piece.cell.binarise);
            AfterRecord { cell: piece.cell.id.clone(), models, layer, binarise }
        };
        let after = self.pieces.iter().filter(|p| matches!(p.kind, Kind::After)).map(after).collect();
        Ok(WorkRecord { schema: SCHEMA, run: plan.record().run_id(), units, after })
    }

    /// The cells of a unit that the store lacks.
    fn missing(&self, unit: usize) -> Result<Unit<'a>> {
        let mut missing = self.units[unit].clone();
        let mut problem = None;
        missing.cells.retain(|cell| match self.runner.store.state(&cell.id) {
            Ok(state) => state == State::Missing,
            Err(e) => {
                problem.get_or_insert(e);
                false
            }
        });
        problem.map_or(Ok(missing), Err)
    }

    /// The model of a cell with its clean pass.
    fn ready_for(&mut self, cell: &PlannedCell) -> Result<&mut Prepared> {
        let same = self.prepared.take().filter(|p| (p.model, p.data) == (cell.model, cell.data));
        let prepared = match same {
            Some(same) => same,
            None => {
                let loaded = self.engine.take().filter(|(model, _)| *model == cell.model);
                let made = self.runner.prepare(cell, loaded.map(|(_, engine)| engine))?;
                self.runner.tell_notes(cell.model, self.tell);
                made
            }
        };
        Ok(self.prepared.insert(prepared))
    }

    fn compute_clean(&mut self, cell: &PlannedCell, range: &Range<usize>) -> Result<()> {
        self.prepared = None; // before there is another: both may not fit
        let loaded = self.engine.take().filter(|(model, _)| *model == cell.model);
        let load = || self.runner.plan.models[cell.model].engine(&self.runner.machine.device, Precision::F32);
        let engine = loaded.map_or_else(load, |(_, engine)| Ok(engine))?;
        let (_, engine) = self.engine.insert((cell.model, engine));
        self.runner.clean_chunk(cell, range, engine.as_ref()).map(drop)
    }

    fn compute_chunk(&mut self, unit: usize, range: &Range<usize>) -> Result<()> {
        let (missing, name) = (self.missing(unit)?, self.units[unit].id());
        if missing.cells.is_empty() || self.runner.stored_chunk(&missing, name, range).is_some() {
            return Ok(());
        }
        self.ready_for(missing.longest())?;
        let ready = self.prepared.as_mut().expect("made ready");
        let chunk = self.runner.compute_chunk(&missing, name, range, ready, self.tell)?;
        match range.len() == missing.longest().cell.data.take {
            true => self.runner.put_cells(&missing, &chunk),
            false => self.runner.store.put_chunk(name, range, &chunk),
        }
    }

    /// Puts the chunks of a unit together; whether it could. Those that are damaged are dropped, and so computed again.
    fn join(&self, unit: usize) -> Result<bool> {
        let (missing, name, store) = (self.missing(unit)?, self.units[unit].id(), self.runner.store);
        if !missing.cells.is_empty() {
            let mut found = Vec::new();
            for range in ranges(&chunks::cuts(self.runner, &self.units[unit])?) {
                match self.runner.stored_chunk(&missing, name, &range) {
                    Some(chunk) => found.push(chunk),
                    // another was faster
                    None if self.is_settled(unit) => return store.drop_chunks(name).map(|()| true),
                    None => return store.drop_chunk(name, &range).map(|()| false),
                }
            }
            self.runner.put_cells(&missing, &chunks::joined(found).expect("a unit has images"))?;
        }
        store.drop_chunks(name)?;
        Ok(true)
    }

    /// Whether each of its cells is stored, or stored as failed.
    fn is_settled(&self, unit: usize) -> bool {
        self.units[unit].cells.iter().all(|cell| self.runner.store.has(&cell.id))
    }
}

impl Pieces for OfRun<'_, '_> {
    fn count(&self) -> usize {
        self.pieces.len()
    }

    fn name(&self, piece: usize) -> &str {
        &self.pieces[piece].name
    }

    fn cost(&self, piece: usize) -> f64 {
        self.pieces[piece].cost
    }

    fn group(&self, piece: usize) -> usize {
        self.pieces[piece].group
    }

    fn needs(&self, piece: usize) -> &[usize] {
        &self.pieces[piece].needs
    }

    fn done(&self) -> Result<Vec<bool>> {
        let store = self.runner.store;
        let cells: BTreeSet<CellId> = store.ids()?.into_iter().collect();
        let is_settled = |unit: &Unit| unit.cells.iter().all(|cell| cells.contains(&cell.id));
        let settled: Vec<bool> = self.units.iter().map(is_settled).collect();
        let all_settled = |units: &[usize]| units.iter().all(|unit| settled[*unit]);
        let closed: Vec<bool> = self.of_group.iter().map(|units| all_settled(units)).collect();
        let chunks = store.all_chunks();
        let of = |piece: &Piece| -> Result<bool> {
            Ok(match &piece.kind {
                Kind::Chunk(range) => {
                    let stored = chunks.get(self.units[piece.unit].id());
                    settled[piece.unit] || stored.is_some_and(|stored| stored.contains(&(range.start, range.end)))
                }
                Kind::Join => settled[piece.unit],
                Kind::Clean(range) => {
                    closed[piece.group] || store.has_clean(&self.runner.clean_name(piece.cell), range)
                }
                Kind::Fit(id) => all_settled(&self.of_fit[id]) || store.has_fit(id),
                Kind::After => cells.contains(&piece.cell.id) && self.afterwards.is_done(piece.cell)?,
            })
        };
        self.pieces.iter().map(of).collect()
    }

    fn is_done(&self, piece: usize) -> Result<bool> {
        let Piece { kind, unit, cell, group, .. } = &self.pieces[piece];
        let store = self.runner.store;
        let all_settled = |units: &[usize]| units.iter().all(|unit| self.is_settled(*unit));
        Ok(match kind {
            // chunks before cells: they are dropped when the cells are there
            Kind::Chunk(range) => store.has_chunk(self.units[*unit].id(), range) || self.is_settled(*unit),
            Kind::Join => self.is_settled(*unit),
            Kind::Clean(range) => {
                store.has_clean(&self.runner.clean_name(cell), range) || all_settled(&self.of_group[*group])
            }
            Kind::Fit(id) => store.has_fit(id) || all_settled(&self.of_fit[id]),
            Kind::After => self.afterwards.is_done(cell)?,
        })
    }

    fn compute(&mut self, piece: usize) -> Result<bool> {
        let Piece { kind, unit, cell, .. } = &self.pieces[piece];
        let (unit, cell) = (*unit, *cell);
        match kind {
            Kind::Clean(range) => self.compute_clean(cell, &range.clone())?,
            Kind::Fit(_) => {
                let fit = cell.fit.as_ref().expect("a fit is of a cell that has one");
                fits::pictures(self.runner, cell, fit, self.tell)?;
            }
            Kind::Chunk(range) => self.compute_chunk(unit, &range.clone())?,
            Kind::Join => return self.join(unit),
            Kind::After => {
                self.afterwards.transfer(cell, self.tell)?;
                self.afterwards.binarise(cell)?;
                self.afterwards.explain(cell)?;
            }
        }
        Ok(true)
    }

    fn give_up(&mut self, piece: usize, problem: Error) -> Result<()> {
        let Piece { kind, unit, group, .. } = &self.pieces[piece];
        let lost = match kind {
            Kind::Chunk(_) | Kind::Join => vec![*unit],
            Kind::Clean(_) => self.of_group[*group].clone(),
            Kind::Fit(id) => self.of_fit[id].clone(),
            Kind::After => return Err(problem),
        };
        for unit in lost {
            self.runner.put_failed(&self.missing(unit)?, &problem.to_string(), self.tell)?;
        }
        Ok(())
    }
}
