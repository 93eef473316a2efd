//! Several networks as one: logits, gradients, cells, and what other networks say of what was made for them.

mod support;

use candle_core::{Device, Tensor};
use foolproof::analysis::transfers::transferred;
use foolproof::data::Source;
use foolproof::goal::{Aim, argmax};
use foolproof::kernel::{Engine, Precision};
use foolproof::store::Store;
use foolproof::{loss, model, sweep};
use std::path::Path;
use support::{machine, number, stored, stream};

const NETS: [&str; 2] = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"];

fn engine(name: &str) -> Box<dyn Engine> {
    model::built_in(name).unwrap().engine(&Device::Cpu, Precision::F32).unwrap()
}

fn images(n: usize) -> Tensor {
    let mut s = stream("ensemble");
    let values: Vec<f32> = (0..n * 3072).map(|_| number(&mut s).abs() as f32).collect();
    (Tensor::from_vec(values, (n, 3, 32, 32), &Device::Cpu).unwrap()).clamp(0f32, 1f32).unwrap()
}

#[test]
fn its_logits_are_the_mean_and_its_gradient_is_theirs() {
    let both = engine(&NETS.join(" + "));
    let x = images(3);
    let rows = |t: Tensor| t.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    let [a, b] = NETS.map(|name| rows(engine(name).logits(&x).unwrap()));
    let mean = rows(both.logits(&x).unwrap());
    for ((a, b), mean) in a.iter().zip(&b).zip(&mean) {
        assert!(a.iter().zip(b).zip(mean).all(|((a, b), m)| *m == (a + b) * 0.5));
    }
    let aim = |z: &[f32]| Aim { label: argmax(z), target: None };
    let climb = |_: usize, z: &[f32], g: &mut [f32]| {
        loss::log_odds(&aim(z), z, g);
    };
    let (logits, gradient) = both.logits_and_gradient(&x, &climb).unwrap();
    assert_eq!(rows(logits), mean);
    // the slope at the mean, back through each net
    let slopes: Vec<Vec<f32>> = mean
        .iter()
        .map(|z| {
            let mut g = vec![0.0; z.len()];
            climb(0, z, &mut g);
            g
        })
        .collect();
    let known = |row: usize, _: &[f32], g: &mut [f32]| g.copy_from_slice(&slopes[row]);
    let [a, b] = NETS.map(|name| rows(engine(name).logits_and_gradient(&x, &known).unwrap().1));
    for ((a, b), g) in a.iter().zip(&b).zip(rows(gradient)) {
        assert!(a.iter().zip(b).zip(g).all(|((a, b), g)| g == (a + b) * 0.5));
    }
}

#[test]
fn a_sweep_names_it_and_its_cells_pin_all_weights() {
    let both = NETS.join(" + ");
    let text = format!(
        "name = \"ensemble\"\nseed = 0\n[[sweep]]\nmodels = [{both:?}, {:?}]\ndata = {{ name = \"cifar10-sample\" }}\n\
         goals = [\"untargeted\"]\nthreats = [{{ norm = \"linf\", eps = [\"16/255\"] }}]\n\
         attacks = [{{ name = \"mi-fgsm\" }}]\ntransfer_to = [{:?}, {:?}]\n",
        NETS[1], NETS[0], NETS[1]
    );
    let (folder, cells) = support::sweep(&text, &Source::new("nowhere"), None);
    let store = Store::open(folder.path()).unwrap();
    let digests = NETS.map(|name| model::built_in(name).unwrap().digest);
    let mut fooled = Vec::new();
    for s in stored(folder.path(), &cells) {
        let id = s.cell.id();
        if s.cell.model.name == both {
            assert_eq!(s.cell.model.weights, digests.join(" + "));
            assert_eq!(s.cell.model.network.matches(" + ").count(), 1, "{}", s.cell.model.network);
        }
        for (model, rows) in store.read_transfers(&id).unwrap() {
            if model.name == NETS[0] {
                let verdicts = transferred(&store.read(&id).unwrap().outcomes, &rows);
                fooled.push((s.cell.model.name.clone(), verdicts.iter().filter(|v| v.fooled).count()));
            }
        }
    }
    println!("{fooled:?}");
    // one of both was made for it, too
    let of = |name: &str| fooled.iter().find(|(model, _)| model == name).unwrap().1;
    assert!(of(&both) > of(NETS[1]), "{fooled:?}");
    let found = sweep::verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
}

#[test]
fn what_it_has_several_of_is_refused_with_its_reason() {
    let both = NETS.join(" + ");
    let found = model::find(&both, Path::new("."), &foolproof::hub::Hub::none()).unwrap();
    let why = found.layer(None).unwrap_err();
    assert!(why.contains("several networks"), "{why}");
    assert!(found.is_pinned() && found.load().is_err());
    let unknown = model::built_in(&format!("{} + vgg12", NETS[0])).err().unwrap().to_string();
    assert!(unknown.contains("unknown model `vgg12`"), "{unknown}");
}
