//! Logits of images with a few changed pixels: whatever is recomputed in part or taken from the base image, they are those
//! of the full pass over the images written out, but for rounding.

#[path = "support/random_graph.rs"]
mod random_graph;
mod support;

use candle_core::{Device, Tensor};
use foolproof::error::Result;
use foolproof::kernel::cpu::{Cpu, INSTRUCTIONS, Instructions};
use foolproof::kernel::{Change, Engine, Graph, Loss};
use foolproof::model;
use foolproof::rng::Stream;
use support::{Sequence, images, small_net, stream};

fn embedded() -> Cpu {
    Cpu::with(model::built_in("vgg11-half-cifar10").unwrap().load().unwrap(), Instructions::widest())
}

fn base(n: usize, side: usize) -> Vec<f32> {
    images(n, side, "base").iter().map(|v| *v as f32).collect()
}

fn below(s: &mut Stream, n: usize) -> usize {
    ((s.uniform() * n as f32) as usize).min(n - 1)
}

/// `count` pixels anywhere in any of `n` images.
fn anywhere(s: &mut Stream, n: usize, side: usize, count: usize) -> Change {
    let image = below(s, n);
    let pixels = (0..count).map(|_| (below(s, side * side), [s.uniform(), s.uniform(), s.uniform()])).collect();
    Change { image, pixels }
}

/// Corners, edges, the middle; no pixel, the same one twice, 3 and 5 at random; images out of order.
fn changes(n: usize, side: usize) -> Vec<Change> {
    let mut s = stream(&format!("changes {side}"));
    let last = side - 1;
    let mut all = Vec::new();
    for (y, x) in [(0, 0), (0, last), (last, 0), (last, last), (0, side / 2), (side / 2, last), (side / 2, side / 2)] {
        all.push(Change { image: below(&mut s, n), pixels: vec![(y * side + x, [1.0, 0.0, s.uniform()])] });
    }
    all.push(Change { image: n - 1, pixels: vec![] });
    all.push(Change { image: 0, pixels: vec![(last, [0.1, 0.2, 0.3]), (0, [1.0; 3]), (last, [0.9, 0.0, 0.4])] });
    all.extend([1, 3, 5, 5, 1, 3].map(|count| anywhere(&mut s, n, side, count)));
    all
}

/// The images written out, one by one.
fn written_out(base: &[f32], side: usize, changes: &[Change]) -> Vec<f32> {
    changes.iter().flat_map(|change| written_out_one(base, side * side, change)).collect()
}

/// An image of so many places written out.
fn written_out_one(base: &[f32], plane: usize, change: &Change) -> Vec<f32> {
    let mut image = base[change.image * 3 * plane..][..3 * plane].to_vec();
    for (place, colour) in &change.pixels {
        (0..3).for_each(|c| image[c * plane + place] = colour[c]);
    }
    image
}

/// On so many threads.
fn on<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Largest difference, against the largest logit of the image or 1.
fn error(ours: &[f32], full: &[f32], classes: usize) -> f32 {
    let of_image = |(a, b): (&[f32], &[f32])| {
        let size = b.iter().fold(1.0f32, |m, z| m.max(z.abs()));
        a.iter().zip(b).map(|(a, b)| (a - b).abs() / size).fold(0.0, f32::max)
    };
    assert_eq!(ours.len(), full.len());
    ours.chunks(classes).zip(full.chunks(classes)).map(of_image).fold(0.0, f32::max)
}

/// Every number of layers in part gives the logits of the full pass: the same bits where nothing was computed in part but
/// the first layer, which is no Winograd convolution.
fn check(cpu: &Cpu, base: &[f32], changes: &[Change], layers: usize, what: &str) {
    let full = cpu.images(&written_out(base, cpu.size()[0], changes), None).0;
    assert!(full.iter().all(|z| z.is_finite()), "{what}");
    for in_part in (0..=layers).map(Some).chain([None]) {
        let ours = cpu.changed(base, changes, in_part);
        let worst = error(&ours, &full, full.len() / changes.len());
        assert!(worst <= 1e-5, "{what}: {worst:e} with {in_part:?} layers in part");
        assert!(in_part.is_none_or(|layers| layers > 1) || same(&ours, &full), "{what}: {in_part:?} layers in part");
    }
}

#[test]
fn the_embedded_net() {
    let (cpu, base) = (embedded(), base(3, 32));
    check(&cpu, &base, &changes(3, 32), 8, "a few");
    let mut s = stream("many");
    let many: Vec<Change> = (0..300).map(|i| anywhere(&mut s, 3, 32, [1, 1, 3, 5][i % 4])).collect();
    check(&cpu, &base, &many, 5, "many");
    let everywhere: Vec<Change> =
        (0..1024).map(|place| Change { image: 1, pixels: vec![(place, [1.0, 0.0, 1.0])] }).collect();
    check(&cpu, &base, &everywhere, 3, "a scan");
}

#[test]
fn small_nets_of_every_kind_of_side() {
    for side in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 19, 23, 33] {
        for (widths, average) in [(&[5, 20, 33, 8, 7][..], None), (&[16, 3, 64], Some(2)), (&[40], None)] {
            let net = small_net(side, widths, average, 6, 4, "any side").to_f32();
            let base = base(2, side);
            let what = format!("side {side}, {widths:?}");
            check(&Cpu::with(net, Instructions::widest()), &base, &changes(2, side), 5, &what);
        }
    }
}

/// VGG16 at 224 with few channels.
fn thin_vgg16() -> Graph<f32> {
    let (mut s, mut net) = (stream("thin"), Sequence::new(224));
    for outputs in [8, 8, 0, 8, 16, 0, 16, 16, 16, 0, 24, 24, 24, 0, 24, 24, 24, 0] {
        match outputs {
            0 => net.pool(),
            _ => {
                let inputs = net.shape()[0];
                net.conv(outputs, (6.0 / (9.0 * inputs as f64)).sqrt(), 0.01, &mut s);
            }
        }
    }
    net.linear(10, 0.05, 0.0, &mut s);
    net.graph.to_f32()
}

#[test]
fn a_deep_net_of_large_images() {
    let cpu = Cpu::with(thin_vgg16(), Instructions::widest());
    check(&cpu, &base(2, 224), &changes(2, 224), 13, "224");
}

/// Branches, sums, strides, pools, groups and whatever else has neighbours; where something has none, the full pass begins.
#[test]
fn graphs_of_every_kind() {
    let mut deepest = 0;
    for seed in 0..150 {
        let graph = random_graph::random(seed);
        let [height, width] = graph.size();
        let base: Vec<f32> = random_graph::images(&graph, 2, seed).iter().map(|v| *v as f32).collect();
        let cpu = Cpu::new(graph.to_f32());
        let mut s = stream(&format!("graph {seed}"));
        let change = |count: &usize| {
            let pixels =
                (0..*count).map(|_| (below(&mut s, height * width), [s.uniform(), 0.0, s.uniform()])).collect();
            Change { image: *count % 2, pixels }
        };
        let changes: Vec<Change> = [0, 1, 1, 1, 2, 5].iter().map(change).collect();
        let written: Vec<f32> = changes.iter().flat_map(|c| written_out_one(&base, height * width, c)).collect();
        let full = cpu.images(&written, None).0;
        for in_part in (0..=cpu.depth()).map(Some).chain([None]) {
            let worst = error(&cpu.changed(&base, &changes, in_part), &full, full.len() / changes.len());
            assert!(worst <= 1e-5, "graph {seed}: {worst:e} with {in_part:?} units in part");
        }
        deepest = deepest.max(cpu.depth());
    }
    assert!(deepest > 8, "of the graphs the deepest is followed through {deepest} units");
}

#[test]
fn neighbours_order_and_threads_change_no_bit() {
    let (cpu, base) = (embedded(), base(3, 32));
    let mut s = stream("neighbours");
    let all: Vec<Change> = (0..60).map(|i| anywhere(&mut s, 3, 32, 1 + i % 5)).collect();
    let backwards: Vec<Change> = all.iter().rev().cloned().collect();
    for in_part in [None, Some(2), Some(4)] {
        let together = cpu.changed(&base, &all, in_part);
        for threads in [1, 2, 3] {
            assert!(same(&on(threads, || cpu.changed(&base, &all, in_part)), &together), "{threads} threads");
        }
        for (i, change) in all.iter().enumerate() {
            let alone = cpu.changed(&base, std::slice::from_ref(change), in_part);
            assert!(same(&alone, &together[10 * i..][..10]), "change {i} alone");
        }
        let rows = cpu.changed(&base, &backwards, in_part);
        assert!(rows.chunks(10).rev().zip(together.chunks(10)).all(|(a, b)| same(a, b)));
    }
}

#[test]
fn instructions_change_no_bit() {
    for side in [9, 17, 32] {
        let net = small_net(side, &[5, 20, 33, 8, 7], None, 6, 4, "instructions").to_f32();
        let (base, changes) = (base(2, side), changes(2, side));
        let widest = Cpu::with(net.clone(), Instructions::widest()).changed(&base, &changes, None);
        for (name, instructions) in INSTRUCTIONS.iter().filter(|(_, i)| *i <= Instructions::widest()) {
            assert!(same(&Cpu::with(net.clone(), *instructions).changed(&base, &changes, None), &widest), "{name}");
        }
    }
}

/// An engine with nothing but what every engine has.
struct Common(Cpu, usize);

impl Engine for Common {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        assert!(images.dim(0)? <= self.most_images());
        self.0.logits(images)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        self.0.logits_and_gradient(images, loss)
    }

    fn most_images(&self) -> usize {
        self.1
    }
}

#[test]
fn the_common_form_and_the_fast_one_agree() {
    let tensor = Tensor::from_vec(base(3, 32), (3, 3, 32, 32), &Device::Cpu).unwrap();
    let mut s = stream("common");
    let all: Vec<Change> = (0..600).map(|i| anywhere(&mut s, 3, 32, i % 4)).collect();
    let values = |logits: Tensor| logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let fast = embedded().logits_of_changes(&tensor, &all).unwrap();
    assert_eq!(fast.dims(), [600, 10]);
    let fast = values(fast);
    let full = values(Common(embedded(), 512).logits_of_changes(&tensor, &all).unwrap());
    assert!(error(&fast, &full, 10) <= 1e-5);
    for most in [usize::MAX, 7] {
        let common = Common(embedded(), most);
        assert!(same(&values(common.logits_of_changes(&tensor, &all).unwrap()), &full));
        assert_eq!(common.logits_of_changes(&tensor, &[]).unwrap().dims(), [0, 10]);
    }
    assert_eq!(embedded().logits_of_changes(&tensor, &[]).unwrap().dims(), [0, 10]);
}

#[test]
fn what_is_not_there_is_refused() {
    let (cpu, base) = (embedded(), base(1, 32));
    for (image, place) in [(1, 0), (0, 1024)] {
        let change = Change { image, pixels: vec![(place, [0.0; 3])] };
        let ask = std::panic::AssertUnwindSafe(|| cpu.changed(&base, &[change], None));
        assert!(std::panic::catch_unwind(ask).is_err());
    }
}
