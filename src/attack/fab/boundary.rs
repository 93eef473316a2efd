//! The search of FAB around one image.

use super::projections::project;
use crate::attack::search::{Ask, Search};
use crate::attack::vector::{difference, dual_length, length};
use crate::goal::Aim;
use crate::oracle::Place;
use crate::rng::Streams;
use crate::threat::Norm;

/// Largest bias towards the clean image, overshoot, and share of the way that is kept after a step that fools (Croce and Hein
/// 2020, section 4; AutoAttack has the same).
const ALPHA_MAX: f64 = 0.1;
const ETA: f64 = 1.05;
const BETA: f64 = 0.9;

/// Least length of a way to a plane where two are compared (the authors' code).
const LEAST: f64 = 1e-8;

/// Later runs begin within half of this distance, where nothing nearer is found and there is no budget (the authors' code).
fn usual_reach(norm: Norm) -> f64 {
    match norm {
        Norm::Linf => 0.3,
        Norm::L2 => 1.0,
        _ => 5.0,
    }
}

/// What a search is told. The parameters of FAB, and the norm.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub norm: Norm,
    pub targeted: bool,
    pub targets: usize,
    pub steps: usize,
    pub restarts: usize,
}

impl Settings {
    /// Gradients that a standing image costs.
    pub fn cost(&self) -> u64 {
        // without targets, gradients of as many classes as CIFAR-10 has besides the label
        let planes = if self.targeted { self.targets } else { 9 };
        (planes * self.steps * self.restarts) as u64
    }
}

/// The search around the clean image `x`. Where `within` has a budget, as in an ensemble of attacks, points outside it are not
/// proposed, and it bounds the starts of later runs.
pub fn begin(
    settings: Settings,
    x: Vec<f32>,
    aim: Aim,
    example: usize,
    streams: &Streams,
    within: Option<f64>,
) -> Box<dyn Search> {
    Box::new(Boundary {
        settings,
        within,
        aim,
        random: (streams.clone(), example),
        point: x.clone(),
        x,
        classes: Vec::new(),
        run: 0,
        step: 0,
        is_new: false,
        only_label: false,
        has_fooled: false,
        planes: 0,
        plane: None,
        nearest: f64::INFINITY,
    })
}

/// The search of one image.
struct Boundary {
    settings: Settings,
    within: Option<f64>,
    aim: Aim,
    /// Streams, and the number of the image in its split.
    random: (Streams, usize),
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    /// Where it stands, 3×H×W.
    point: Vec<f32>,
    /// The classes that it goes towards, by falling logit of the clean image; empty before that was asked about.
    classes: Vec<usize>,
    /// Number of the run: each class has as many as there are restarts, one after the other.
    run: usize,
    /// Steps of this run.
    step: usize,
    /// Whether it has just stepped here: the point counts, and its label is not known.
    is_new: bool,
    /// Whether it asks for the label of a new point alone, and then for the slope where it stands. Asked for at once, the slope
    /// is of no use where the point fools the net, as most do once one has.
    only_label: bool,
    /// Whether a point of this run has fooled the net.
    has_fooled: bool,
    /// How many planes are known at this point, and the nearest of them.
    planes: usize,
    plane: Option<Plane>,
    /// Distance of the nearest point that fooled the net.
    nearest: f64,
}

/// z_j − z_label, as it is to first order around a point.
struct Plane {
    /// Its distance in the norm, by slope alone.
    distance: f64,
    value: f64,
    slope: Vec<f32>,
}

impl Search for Boundary {
    fn point(&self) -> &[f32] {
        &self.point
    }

    fn asks(&self) -> Ask {
        if self.is_new && self.only_label { Ask::Logits } else { Ask::Slope }
    }

    /// Of z_j − z_label.
    fn slope(&self, logits: &[f32], slope: &mut [f32]) {
        slope.fill(0.0);
        slope[self.class(logits)] += 1.0;
        slope[self.aim.label] -= 1.0;
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        if self.classes.is_empty() {
            self.classes = self.choose(logits);
        }
        if self.is_new {
            self.is_new = false;
            let is_fooled = self.aim.is_reached(logits);
            if is_fooled {
                self.has_fooled = true;
                self.nearest = self.nearest.min(self.distance());
                for (v, x) in self.point.iter_mut().zip(&self.x) {
                    *v = (f64::from(*x) + BETA * (f64::from(*v) - f64::from(*x))) as f32;
                }
            }
            if self.step == self.settings.steps {
                return self.next_run();
            }
            if is_fooled || gradient.is_empty() {
                return true; // to ask for the plane, where it stands now
            }
        }
        self.add_plane(logits, gradient);
        if self.planes < self.planes_wanted() { true } else { self.go() || self.next_run() }
    }

    fn place(&self) -> Place {
        Place { restart: self.run, step: self.step }
    }

    fn proposes(&self) -> bool {
        self.is_new && self.within.is_none_or(|eps| self.distance() <= eps)
    }

    /// With fewer classes than targets, how many there were.
    fn note(&self) -> String {
        let Settings { targeted, targets, .. } = self.settings;
        if targeted && self.classes.len() < targets { format!("targets={}", self.classes.len()) } else { String::new() }
    }
}

impl Boundary {
    fn distance(&self) -> f64 {
        length(self.settings.norm, &difference(&self.point, &self.x))
    }

    /// The other classes, by falling logit of the clean image: as many as there are targets, or all.
    fn choose(&self, logits: &[f32]) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..logits.len()).filter(|j| *j != self.aim.label).collect();
        classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        if self.settings.targeted {
            classes.truncate(self.settings.targets);
        }
        classes
    }

    /// The class whose plane is asked for. Before the classes are chosen, at the clean image, it is the first that will be.
    fn class(&self, logits: &[f32]) -> usize {
        match (self.classes.is_empty(), self.settings.targeted) {
            (true, _) => self.choose(logits)[0],
            (_, true) => self.classes[self.run / self.settings.restarts],
            (_, false) => self.classes[self.planes],
        }
    }

    fn planes_wanted(&self) -> usize {
        if self.settings.targeted { 1 } else { self.classes.len() }
    }

    /// Keeps the plane between label and class, if it is the nearest.
    fn add_plane(&mut self, logits: &[f32], gradient: &[f32]) {
        let value = f64::from(logits[self.class(logits)]) - f64::from(logits[self.aim.label]);
        let steepness = dual_length(self.settings.norm, gradient);
        let distance = if steepness > 0.0 { value.abs() / steepness } else { f64::INFINITY };
        if self.plane.as_ref().is_none_or(|p| distance < p.distance) {
            self.plane = Some(Plane { distance, value, slope: gradient.to_vec() });
        }
        self.planes += 1;
    }

    /// x' = (1 − α)·(x' + η·d₁) + α·(x + η·d₂), with d₁ and d₂ the ways of x' and of the clean x to the plane within the box, and
    /// α the share of d₁ in the length of both. `false`: it would stay where it is, and right, for ever.
    fn go(&mut self) -> bool {
        let Some(Plane { value, slope, .. }) = self.plane.take() else { return false };
        self.planes = 0;
        let norm = self.settings.norm;
        let from_clean = |((p, x), w): ((&f32, &f32), &f32)| f64::from(*w) * (f64::from(*x) - f64::from(*p));
        let at_clean = value + self.point.iter().zip(&self.x).zip(&slope).map(from_clean).sum::<f64>();
        let ways = [project(norm, &self.point, &slope, value), project(norm, &self.x, &slope, at_clean)];
        let [near, far] = [0, 1].map(|i| way_length(norm, &ways[i]).max(LEAST));
        let alpha = (near / (near + far)).min(ALPHA_MAX);
        let mut stays = !self.has_fooled;
        for (((v, x), d1), d2) in self.point.iter_mut().zip(&self.x).zip(&ways[0]).zip(&ways[1]) {
            let (here, clean) = (f64::from(*v) + ETA * d1, f64::from(*x) + ETA * d2);
            let next = ((1.0 - alpha) * here + alpha * clean).clamp(0.0, 1.0) as f32;
            stays &= next == *v;
            *v = next;
        }
        self.step += 1;
        self.is_new = true;
        self.only_label = self.has_fooled || self.step == self.settings.steps;
        !stays
    }

    /// Goes to the start of the next run, if there is one.
    fn next_run(&mut self) -> bool {
        let Settings { norm, targeted, restarts, .. } = self.settings;
        self.run += 1;
        if self.run == if targeted { self.classes.len() } else { 1 } * restarts {
            return false;
        }
        (self.step, self.is_new, self.has_fooled) = (0, false, false);
        self.point.copy_from_slice(&self.x);
        if !self.run.is_multiple_of(restarts) {
            let reach = self.nearest.min(self.within.unwrap_or(usual_reach(norm)));
            let mut stream = self.random.0.stream(self.random.1, self.run, "start");
            let number = || if norm == Norm::Linf { 2.0 * stream.uniform() - 1.0 } else { stream.normal() as f32 };
            let direction: Vec<f32> = std::iter::repeat_with(number).take(self.x.len()).collect();
            let scale = 0.5 * reach / length(norm, &direction).max(f64::MIN_POSITIVE);
            for (v, t) in self.point.iter_mut().zip(direction) {
                *v = (f64::from(*v) + scale * f64::from(t)).clamp(0.0, 1.0) as f32;
            }
        }
        true
    }
}

/// Length of a change.
fn way_length(norm: Norm, way: &[f64]) -> f64 {
    let sizes = way.iter().map(|d| d.abs());
    match norm {
        Norm::Linf => sizes.fold(0.0, f64::max),
        Norm::L2 => sizes.map(|d| d * d).sum::<f64>().sqrt(),
        _ => sizes.sum(),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: usize = 48;

    /// Logits W·x + b.
    struct Linear {
        w: Vec<Vec<f32>>,
        b: Vec<f32>,
    }

    impl Linear {
        /// With an image of class 0 that leads by `lead`, half of its values at the ends of the box.
        fn draw(number: usize, classes: usize, lead: f32) -> (Linear, Vec<f32>) {
            let mut s = Streams::new(0, "linear").stream(number, 0, "values");
            let x: Vec<f32> = (0..VALUES).map(|_| [0.0, 1.0, s.uniform(), s.uniform()][s.below(4)]).collect();
            let w = (0..classes).map(|_| (0..VALUES).map(|_| s.normal() as f32).collect()).collect();
            let mut model = Linear { w, b: vec![0.0; classes] };
            let z = model.logits(&x);
            // the others are near each other
            let below = |j: usize, some: f32| if j == 0 { 0.0 } else { -lead - some };
            model.b = z.iter().enumerate().map(|(j, z)| below(j, 0.3 * s.uniform()) - z).collect();
            (model, x)
        }

        fn logits(&self, x: &[f32]) -> Vec<f32> {
            let product = |w: &Vec<f32>| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
            self.w.iter().zip(&self.b).map(|(w, b)| (product(w) + f64::from(*b)) as f32).collect()
        }

        /// Least distance to any class within the box, and that to the class which would be nearest without the box.
        fn least(&self, norm: Norm, x: &[f32]) -> [f64; 2] {
            let z = self.logits(x);
            let to = |j: usize| {
                let (w, value) = (difference(&self.w[j], &self.w[0]), f64::from(z[j]) - f64::from(z[0]));
                (value.abs() / dual_length(norm, &w), way_length(norm, &project(norm, x, &w, value)))
            };
            let all: Vec<(f64, f64)> = (1..z.len()).map(to).collect();
            let free = all.iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            [all.iter().map(|to| to.1).fold(f64::INFINITY, f64::min), free.1]
        }
    }

    /// Where a search proposed what, and the logits there.
    type Proposed = Vec<(Place, Vec<f32>, Vec<f32>)>;

    /// What a search has proposed, with its logits, and how often it asked for logits and for gradients.
    fn walk(search: &mut dyn Search, model: &Linear) -> (Proposed, [usize; 2]) {
        let (mut proposed, mut asked) = (Vec::new(), [0; 2]);
        loop {
            let point = search.point().to_vec();
            assert!(point.iter().all(|v| (0.0..=1.0).contains(v)), "{point:?}");
            let logits = model.logits(&point);
            if search.proposes() {
                assert!(search.place().step > 0);
                proposed.push((search.place(), point, logits.clone()));
            }
            let mut gradient = Vec::new();
            if search.asks() == Ask::Slope {
                let mut slope = vec![f32::NAN; logits.len()];
                search.slope(&logits, &mut slope);
                let of = |i: usize| slope.iter().zip(&model.w).map(|(s, w)| s * w[i]).sum();
                gradient = (0..VALUES).map(of).collect();
            }
            asked[usize::from(!gradient.is_empty())] += 1;
            if !search.hear(&logits, &gradient) {
                return (proposed, asked);
            }
        }
    }

    fn settings(norm: Norm, targeted: bool) -> Settings {
        Settings { norm, targeted, targets: 9, steps: 30, restarts: 1 }
    }

    const AIM: Aim = Aim { label: 0, target: None };

    #[test]
    fn the_nearest_plane_is_found_within_a_hundredth() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            for targeted in [true, false] {
                for number in 0..40 {
                    let (model, x) = Linear::draw(number, 5, 2.0);
                    let start = |seed| {
                        begin(settings(norm, targeted), x.clone(), AIM, number, &Streams::new(seed, "fab"), None)
                    };
                    let (proposed, asked) = walk(start(0).as_mut(), &model);
                    let fooled = proposed.iter().filter(|(_, _, z)| AIM.is_reached(z));
                    let found = fooled.map(|(_, p, _)| length(norm, &difference(p, &x))).fold(f64::INFINITY, f64::min);
                    let [least, free] = model.least(norm, &x);
                    // the nearest plane is chosen by its slope alone, which knows no box
                    let most = 1.01 * if targeted { least } else { free };
                    assert!(found >= least * (1.0 - 1e-4) && found <= most, "{norm:?} {targeted}: {found} of {least}");
                    let runs = if targeted { 4 } else { 1 };
                    assert_eq!(proposed.len(), 30 * runs, "every step is proposed");
                    let planes = if targeted { 1 } else { 4 };
                    // at most one gradient of a run is asked for in vain
                    assert!(asked[1] >= 30 * runs * planes && asked[1] <= (30 * planes + 1) * runs, "{asked:?}");
                    assert!(asked[0] <= 30 * runs);
                    assert_eq!(proposed, walk(start(1).as_mut(), &model).0, "nothing is drawn for the first run");
                }
            }
        }
    }

    #[test]
    fn later_runs_begin_within_half_of_what_is_found() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            let (model, x) = Linear::draw(0, 3, 2.0);
            let twice = Settings { restarts: 2, steps: 10, ..settings(norm, true) };
            let mut search = begin(twice, x.clone(), AIM, 0, &Streams::new(0, "fab"), None);
            let (proposed, _) = walk(search.as_mut(), &model);
            let at: Vec<(usize, usize)> = proposed.iter().map(|(place, _, _)| (place.restart, place.step)).collect();
            assert_eq!(at, (0..40).map(|i| (i / 10, i % 10 + 1)).collect::<Vec<_>>());
            assert_ne!(proposed[0].1, proposed[10].1, "the second run begins elsewhere");
            // the start itself
            let mut search = begin(twice, x.clone(), AIM, 0, &Streams::new(0, "fab"), Some(1e-3));
            let mut starts = Vec::new();
            loop {
                if search.place().step == 0 {
                    starts.push(length(norm, &difference(search.point(), &x)));
                }
                let logits = model.logits(search.point());
                if !search.hear(&logits, &difference(&model.w[1], &model.w[0])) {
                    break;
                }
            }
            assert!(starts[0] == 0.0 && starts[2] == 0.0, "{starts:?}");
            assert!(starts[1] > 1e-5 && starts[1] <= 0.5e-3 * 1.001, "{norm:?}: {starts:?}");
        }
    }

    #[test]
    fn only_points_inside_a_budget_are_proposed_where_there_is_one() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            let (model, x) = Linear::draw(3, 5, 2.0);
            let [least, _] = model.least(norm, &x);
            for (eps, found) in [(1.05 * least, true), (0.95 * least, false)] {
                let mut search = begin(settings(norm, true), x.clone(), AIM, 0, &Streams::new(0, "fab"), Some(eps));
                let (proposed, _) = walk(search.as_mut(), &model);
                assert!(proposed.iter().all(|(_, p, _)| length(norm, &difference(p, &x)) <= eps), "{norm:?}");
                assert_eq!(proposed.iter().any(|(_, _, z)| AIM.is_reached(z)), found, "{norm:?} {eps}");
            }
        }
    }

    #[test]
    fn a_flat_net_ends_the_search_and_an_unreachable_plane_does_not_break_it() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            for targeted in [true, false] {
                let flat = Linear { w: vec![vec![0.5; VALUES]; 3], b: vec![1.0, 0.0, 0.5] };
                let x = vec![0.25; VALUES];
                let mut search = begin(settings(norm, targeted), x.clone(), AIM, 0, &Streams::new(0, "fab"), None);
                let (proposed, asked) = walk(search.as_mut(), &flat);
                assert!(proposed.is_empty() && asked == [0, 2], "{proposed:?} {asked:?}");
                // class 1 comes no nearer than to 100 below; class 2 can be reached
                let mut model = Linear { w: vec![vec![0.0; VALUES]; 3], b: vec![1.0, -99.0 - VALUES as f32, 0.0] };
                (model.w[1], model.w[2][7]) = (vec![1.0; VALUES], 2.0);
                let mut search = begin(settings(norm, targeted), x.clone(), AIM, 0, &Streams::new(0, "fab"), None);
                let (proposed, _) = walk(search.as_mut(), &model);
                let nearest = proposed.iter().filter(|(_, _, z)| AIM.is_reached(z));
                let nearest = nearest.map(|(_, p, _)| length(norm, &difference(p, &x))).fold(f64::INFINITY, f64::min);
                assert!((nearest - 0.25).abs() <= 0.0025, "{norm:?} {targeted}: {nearest}");
            }
        }
    }

    #[test]
    fn fewer_classes_than_targets_are_told() {
        let note = |classes, targets| {
            let (model, x) = Linear::draw(0, classes, 2.0);
            let few = Settings { targets, steps: 1, ..settings(Norm::L2, true) };
            let mut search = begin(few, x, AIM, 0, &Streams::new(0, "fab"), None);
            walk(search.as_mut(), &model);
            search.note()
        };
        assert_eq!((note(3, 9).as_str(), note(3, 2).as_str(), note(2, 9).as_str()), ("targets=2", "", "targets=1"));
    }
}
