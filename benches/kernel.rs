//! Criterion benches of the numeric core and what surrounds it: `cargo bench --bench kernel`.
//!
//! Convolutions count the FLOP of the direct form, so a layer shows by how much Winograd's beats the machine's peak.

mod nets;

use candle_core::Device;
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use foolproof::attack::{Attack, Task};
use foolproof::data::{self, Batch, Source, Subset};
use foolproof::error::Result;
use foolproof::goal::Goal;
use foolproof::judge::{Judging, Trial, WitnessKind, predict};
use foolproof::kernel::Precision;
use foolproof::kernel::cpu::{Cpu, CpuLearner};
use foolproof::kernel::graph::{Graph, Op};
use foolproof::kernel::learn::Learner;
use foolproof::model::{self, families};
use foolproof::oracle::{Mark, Memo, Oracle, Place, Proposal};
use foolproof::ratio::Ratio;
use foolproof::record::{Outcome, Provenance, SCHEMA, Witnesses};
use foolproof::rng::Streams;
use foolproof::store::Store;
use foolproof::sweep::plan;
use foolproof::sweep::run::{self, Machine};
use foolproof::threat::{Norm, Threat};
use nets::{changes, flop, network, pixels, seed, vgg16_of_one_layer};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tempfile::TempDir;

/// Few samples of what takes long.
const SAMPLES: usize = 10;

fn embedded() -> Cpu {
    Cpu::new(model::built_in("vgg11-half-cifar10").and_then(|m| m.load()).expect("embedded"))
}

/// Every different convolution of VGG16: (number of the first of its kind, inputs, outputs, side).
fn convolutions(net: &Graph<f32>) -> Vec<(usize, usize, usize, usize)> {
    let mut found: Vec<(usize, usize, usize, usize)> = Vec::new();
    let convolutions = net.nodes().iter().filter(|node| matches!(node.op, Op::Conv { .. }));
    for (number, node) in convolutions.enumerate() {
        let Op::Conv { bias, .. } = &node.op else { unreachable!("filtered above") };
        let [inputs, side, _] = *net.shape(node.inputs[0]) else { unreachable!("a map") };
        if !found.iter().any(|(_, i, o, of)| (*i, *o, *of) == (inputs, bias.len(), side)) {
            found.push((number, inputs, bias.len(), side));
        }
    }
    found
}

fn convolution(criterion: &mut Criterion) {
    for (side, images) in [(32, 64), (224, 2)] {
        // the 100 million weights of ImageNet's head would only cost time here
        let net = vgg16_of_one_layer(side);
        let layers = convolutions(&net);
        let cpu = Cpu::new(net);
        // ReLU and pool are fused behind each, so that a unit is a convolution
        assert!(cpu.units().iter().take(13).all(|unit| unit.contains("convolution")), "{:?}", cpu.units());
        let mut group = criterion.benchmark_group(format!("convolution at {side}"));
        group.sample_size(SAMPLES).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for (number, inputs, outputs, map) in layers {
            group.throughput(Throughput::Elements((images * 2 * 9 * inputs * outputs * map * map) as u64));
            for (way, back) in [("forward", false), ("backward", true)] {
                let name = BenchmarkId::new(way, format!("{inputs} to {outputs}, {map}x{map}, {images} images"));
                group.bench_function(name, |b| b.iter(|| cpu.unit_alone(number, images, back)));
            }
        }
        group.finish();
    }
}

fn gradient(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gradient step");
    group.sample_size(SAMPLES).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(3));
    for (name, cpu) in [("vgg11-half", embedded()), ("vgg16 at 32", Cpu::new(network("vgg16", 32)))] {
        for batch in [1, 8, 128] {
            let images = pixels(batch, cpu.size()[0]);
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(name, batch), |b| b.iter(|| cpu.images(&images, Some(&seed))));
        }
    }
    group.finish();
}

/// Networks that are no plain sequence, with their sides and batches.
const GRAPHS: &[(&str, usize, &[usize])] = &[
    ("squeezenet", 227, &[1, 8, 16]),
    ("resnet18-cifar", 32, &[1, 128]),
    ("preact-resnet18", 32, &[128]),
    ("wrn-28-10", 32, &[1, 16]),
    ("resnet50", 224, &[1, 8]),
    ("mobilenetv2", 224, &[1, 8]),
    ("vit-s16", 224, &[1, 8]),
];

/// Both ways count the FLOP of the direct form.
fn graphs(criterion: &mut Criterion) {
    for (name, side, batches) in GRAPHS {
        let graph = network(name, *side);
        let flop = flop(&graph);
        let cpu = Cpu::new(graph);
        let mut group = criterion.benchmark_group(*name);
        group.sample_size(SAMPLES).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(3));
        for batch in batches.iter().copied() {
            let images = pixels(batch, *side);
            group.throughput(Throughput::Elements(batch as u64 * flop));
            group.bench_function(BenchmarkId::new("forward", batch), |b| b.iter(|| cpu.images(&images, None)));
            group.throughput(Throughput::Elements(batch as u64 * 2 * flop));
            group.bench_function(BenchmarkId::new("gradient", batch), |b| b.iter(|| cpu.images(&images, Some(&seed))));
        }
        group.finish();
    }
}

/// Candidates that differ from a few images in one pixel or five: whole, and the first layers only where the change
/// reaches.
fn few_pixels(criterion: &mut Criterion) {
    let nets = [("vgg11-half", embedded(), 4, 400), ("vgg16 at 224", Cpu::new(network("vgg16", 224)), 1, 64)];
    for (name, cpu, images, each) in &nets {
        let base = pixels(*images, cpu.size()[0]);
        for count in [1, 5] {
            let changes = changes(*images, *each, count, cpu.size()[0]);
            let mut group = criterion.benchmark_group(format!("{name}, pixels changed: {count}"));
            group.sample_size(SAMPLES).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(3));
            group.throughput(Throughput::Elements(changes.len() as u64));
            group.bench_function("whole images", |b| b.iter(|| cpu.changed(&base, &changes, Some(0))));
            group.bench_function("in part", |b| b.iter(|| cpu.changed(&base, &changes, None)));
            group.finish();
        }
    }
}

const PGD_10: &str = r#"
name = "pgd-10"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["1/255", "8/255"] }]
attacks = [{ name = "pgd", steps = 10 }]
"#;

/// From the sweep file to stored cells, on the built-in images.
fn pgd_10(criterion: &mut Criterion) {
    let source = Source::new("nowhere");
    let machine = Machine {
        device: Device::Cpu,
        device_name: "cpu".into(),
        threads: rayon::current_num_threads(),
        batch: None,
        chunk: None,
    };
    let mut group = criterion.benchmark_group("sweep");
    group.sample_size(SAMPLES).measurement_time(Duration::from_secs(5));
    group.bench_function("PGD-10 at two budgets, 20 images", |b| {
        b.iter(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let plan = plan::parse(Path::new("bench.toml"), PGD_10, &source).expect("a sound sweep");
            let store = Store::create(folder.path()).expect("a store");
            let done = run::run(&plan, &store, &machine, &AtomicBool::new(false), &mut |_| {}).expect("a run");
            assert_eq!(done.computed, 2);
        });
    });
    group.finish();
}

/// Proposes the same images again and again.
struct Repeat(usize);

impl Attack for Repeat {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, _: &Task) -> Result<()> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        let images = batch.images(&rows)?;
        for step in 1..=self.0 {
            let places = vec![Place { restart: 0, step }; rows.len()];
            oracle.propose(
                &rows,
                &Proposal { images: &images, gradient: None, evidence: None, places: &places, notes: &[] },
            )?;
        }
        Ok(())
    }

    fn cost(&self) -> u64 {
        self.0 as u64
    }
}

/// 200 images of random pixels, labelled as the net sees them: none is ever broken.
fn subset_of(cpu: &Cpu) -> Subset {
    const IMAGES: usize = 200;
    let bytes: Vec<u8> = pixels(IMAGES, cpu.size()[0]).iter().map(|v| (v * 255.0) as u8).collect();
    let tensor = data::to_tensor(&bytes, cpu.size(), &Device::Cpu).expect("images");
    let labels = predict(cpu, &tensor).expect("logits").iter().map(|v| v.prediction.expect("finite")).collect();
    Subset::new((0..IMAGES).collect(), labels, bytes, cpu.size(), Vec::new())
}

/// Rounding, membership, forward pass and bookkeeping; and what a stored cell costs.
fn judge_and_store(criterion: &mut Criterion) {
    let cpu = embedded();
    let subset = subset_of(&cpu);
    let tensor = data::to_tensor(&subset.pixels, subset.size, &Device::Cpu).expect("images");
    let clean = predict(&cpu, &tensor).expect("logits");
    let stop = AtomicBool::new(false);
    let threat = Threat::within(Norm::Linf, Ratio::parse("8/255").expect("a number"));
    let trial = Trial {
        engine: &cpu,
        attacked_through: (&cpu, Precision::F32),
        device: &Device::Cpu,
        subset: &subset,
        images: 0..subset.len(),
        clean: &clean,
        goal: Goal::Untargeted,
        seed: 0,
        witness: WitnessKind::U8,
        judging: Judging::WhereItMatters,
        blind: false,
        votes: None,
        on_device: false,
        marks: &[Mark { end: usize::MAX, threat }],
        earlier: None,
        confidence: None,
        every_image: false,
        batch: 512,
        stop: &stop,
    };
    let task = Task::new(threat, Streams::new(0, "bench"));
    let judge = |times: usize| {
        let memo = Memo::new(subset.len());
        trial.run(&Repeat(times), &task, &memo, &mut |_| {}).expect("a judgement").remove(0)
    };
    let mut group = criterion.benchmark_group("bookkeeping");
    group.sample_size(SAMPLES).throughput(Throughput::Elements(subset.len() as u64));
    group.bench_function("judge 200 proposals", |b| b.iter(|| black_box(judge(1))));

    // a cell of 1,000 images: five of these
    let (outcomes, Witnesses::U8(witnesses)) = judge(1) else { panic!("8-bit witnesses") };
    let renumbered = |k: usize| Outcome { example: k, ..outcomes[k % outcomes.len()].clone() };
    let outcomes: Vec<Outcome> = (0..5 * outcomes.len()).map(renumbered).collect();
    let witnesses = Witnesses::U8(witnesses.repeat(5));
    let plan = plan::parse(Path::new("bench.toml"), PGD_10, &Source::new("nowhere")).expect("a sound sweep");
    let provenance = Provenance {
        schema: SCHEMA,
        error: None,
        files: Default::default(),
        version: "bench".into(),
        model_file: None,
        model_commit: None,
        model_notes: Vec::new(),
        folder: None,
        data_path: None,
        data_table: None,
        data_files: Vec::new(),
        notes: Vec::new(),
        device: "cpu".into(),
        machine: None,
        threads: 1,
        batch: 512,
        time_s: 0.0,
        stages: Vec::new(),
        served_by: None,
        finished_unix_s: 0,
    };
    group.throughput(Throughput::Elements(outcomes.len() as u64));
    group.bench_function("store a cell of 1,000 images", |b| {
        // an empty store each time: a cell that is there would have to be moved away first
        let empty = || {
            let folder = tempfile::tempdir().expect("a temporary folder");
            (Store::create(folder.path()).expect("a store"), folder)
        };
        let put = |(store, folder): (Store, TempDir)| {
            let cell = &plan.cells[0].cell;
            store.put(cell, &outcomes, &witnesses, subset.size, provenance.clone()).expect("stored");
            folder
        };
        b.iter_batched(empty, put, BatchSize::PerIteration);
    });
    group.finish();
}

/// A step of training a ResNet-18 for CIFAR of a quarter of the usual width: `scripts/reference_training.py --time` measures PyTorch's.
fn training_step(criterion: &mut Criterion) {
    const IMAGES: usize = 128;
    let text = "family = \"resnet18_cifar\"\nwidth = 0.25\nclasses = 10\nside = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n\
                weights = \"none\"\n";
    let file = families::parse(Path::new("bench.toml"), text).expect("a sound description");
    let blueprint = families::checked(&file).and_then(|family| family.blueprint(&file)).expect("a ResNet");
    let mut stream = Streams::new(0, "bench").stream(0, 0, "weights");
    let mut tensors = blueprint.zeros();
    tensors.iter_mut().flatten().for_each(|w| *w = 0.2 * (stream.uniform() - 0.5));
    let mut learner = CpuLearner::new(&blueprint).expect("a ResNet");
    learner.set(&tensors).expect("computed");
    let (images, seed) = (pixels(IMAGES, 32), vec![0.01; IMAGES * 10]);
    let (mut gradients, mut velocity) = (blueprint.zeros(), blueprint.zeros());
    let mut group = criterion.benchmark_group("training step");
    group.sample_size(SAMPLES).throughput(Throughput::Elements(IMAGES as u64));
    for (name, is_attacked) in [("standard", false), ("fast-at", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                if is_attacked {
                    learner.forward(&images, &mut tensors).expect("computed");
                    learner.backward(&seed, None, true).expect("computed");
                }
                gradients.iter_mut().for_each(|g| g.fill(0.0));
                learner.forward(&images, &mut tensors).expect("computed");
                learner.backward(&seed, Some(&mut gradients), false).expect("computed");
                for ((w, v), g) in
                    tensors.iter_mut().flatten().zip(velocity.iter_mut().flatten()).zip(gradients.iter().flatten())
                {
                    *v = 0.9 * *v + g;
                    *w -= 1e-6 * *v;
                }
                learner.set(&tensors).expect("computed");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, convolution, gradient, graphs, few_pixels, pgd_10, judge_and_store, training_step);
criterion_main!(benches);
