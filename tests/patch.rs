//! Fitting patches: resumes bit for bit, prints what is judged, and (ignored, minutes) what the optimisers reach.

mod support;

use candle_core::{Device, Tensor};
use foolproof::attack::patch::fit::picture_side;
use foolproof::attack::patch::{FitSettings, PatchFit, Rule};
use foolproof::data::{self, Choice, Source, Subset};
use foolproof::goal::Aim;
use foolproof::kernel::{Engine, Precision};
use foolproof::loss;
use foolproof::model;
use foolproof::placement::{Mask, Picture, Placement};
use foolproof::report::charts::patch_picture;
use foolproof::rng::Streams;
use support::{shared_data, stream, sweep};

const SIDE: usize = 32;
const SIZE: [usize; 2] = [SIDE; 2];
const VALUES: usize = 3 * SIDE * SIDE;

fn rules() -> [Rule; 3] {
    [Rule::Sgd { rate: 1.25 }, Rule::Momentum { rate: 0.03, decay: 0.9 }, Rule::Adam { rate: 0.05 }]
}

/// Steps of a fit whose images' loss is their product with fixed weights, so that no net is needed.
fn linear_steps(fit: &mut PatchFit, streams: &Streams, steps: usize) {
    let weights: Vec<f32> = {
        let mut s = stream("weights");
        (0..VALUES).map(|_| s.uniform() - 0.5).collect()
    };
    for _ in 0..steps {
        let plan = fit.plan_step(streams, 10, SIZE);
        let mut images = vec![0.0; plan.len() * VALUES];
        let footprints = fit.apply(&plan, SIZE, &mut images);
        fit.update(&footprints, &weights.repeat(plan.len()));
    }
}

#[test]
fn a_restored_fit_goes_on_bit_for_bit() {
    let streams = Streams::new(0, "fit");
    for rule in rules() {
        let settings = FitSettings { batch: 3, steps: 8, rule, ..FitSettings::default() };
        let mut whole = PatchFit::new(&settings, 7);
        assert!(whole.pixels().iter().all(|v| *v == 0.5));
        linear_steps(&mut whole, &streams, 8);
        let mut first = PatchFit::new(&settings, 7);
        linear_steps(&mut first, &streams, 3);
        let saved = first.save();
        let mut second = PatchFit::restore(&settings, 7, &saved).unwrap();
        assert_eq!((second.step(), second.is_done()), (3, false));
        linear_steps(&mut second, &streams, 5);
        assert_eq!(second.save(), whole.save(), "{rule:?}");
        assert!(whole.is_done() && whole.pixels().iter().any(|v| *v != 0.5));
        assert!(whole.pixels().iter().all(|v| (0.0..=1.0).contains(v)));
        // nothing foreign is taken up
        let other = FitSettings { max_area: 0.3, ..settings.clone() };
        assert!(PatchFit::restore(&other, 7, &saved).is_none());
        assert!(PatchFit::restore(&settings, 8, &saved).is_none());
        let short = saved.clone().with("pixels", &[0.5f32; 146]);
        assert!(PatchFit::restore(&settings, 7, &short).is_none());
    }
}

#[test]
fn a_plan_depends_on_key_and_step_alone() {
    let settings = FitSettings::default();
    let (fit, mut later) = (PatchFit::new(&settings, 4), PatchFit::new(&settings, 16));
    let (a, b) = (Streams::new(0, "a"), Streams::new(0, "b"));
    let plan = fit.plan_step(&a, 50, SIZE);
    assert_eq!(plan, later.plan_step(&a, 50, SIZE));
    assert_ne!(plan, fit.plan_step(&b, 50, SIZE));
    linear_steps(&mut later, &a, 1);
    assert_ne!(plan, later.plan_step(&a, 50, SIZE));
    assert_eq!(plan.len(), settings.batch);
    for (image, placement) in plan {
        assert!(image < 50 && placement.angle.abs() <= settings.max_angle + 1e-6);
        assert!((settings.min_area..=settings.max_area).contains(&placement.area));
    }
}

#[test]
fn every_rule_goes_uphill_and_stays_where_there_is_no_slope() {
    for rule in rules() {
        let settings = FitSettings { batch: 2, rule, ..FitSettings::default() };
        let mut fit = PatchFit::new(&settings, 4);
        let plan = fit.plan_step(&Streams::new(0, "up"), 1, SIZE);
        let mut images = vec![0.0; 2 * VALUES];
        let footprints = fit.apply(&plan, SIZE, &mut images);
        fit.update(&footprints, &vec![0.0; 2 * VALUES]);
        assert!(fit.pixels().iter().all(|v| *v == 0.5), "{rule:?}");
        // red up, green down, blue left alone
        let slope: Vec<f32> = [1.0, -1.0, 0.0].iter().flat_map(|v| vec![*v; SIDE * SIDE]).collect();
        fit.update(&footprints, &slope.repeat(2));
        let pixels = fit.pixels();
        assert!(pixels[..16].iter().all(|v| *v > 0.5) && pixels[16..32].iter().all(|v| *v < 0.5), "{rule:?}");
        assert!(pixels[32..].iter().all(|v| *v == 0.5), "{rule:?}");
    }
}

/// Side, RGBA rows and pixels a metre of a PNG.
fn decoded(png: &[u8]) -> (usize, Vec<u8>, Option<(u32, bool)>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.width, info.color_type), (info.height, png::ColorType::Rgba));
    let density = reader.info().pixel_dims.map(|d| (d.xppu, d.xppu == d.yppu && d.unit == png::Unit::Meter));
    (info.width as usize, bytes, density)
}

#[test]
fn pictures_of_a_patch_decode_to_its_pixels() {
    let side = 17;
    let mut s = stream("picture");
    let rgb: Vec<u8> = (0..3 * side * side).map(|_| s.below(256) as u8).collect();
    for mask in [Mask::Circle, Mask::Square] {
        let (width, rgba, density) = decoded(&patch_picture::patch(side, &rgb, mask).unwrap());
        assert_eq!((width, density), (side, None));
        for (i, pixel) in rgba.chunks_exact(4).enumerate() {
            let (x, y) = ((i % side) as f64 + 0.5 - 8.5, (i / side) as f64 + 0.5 - 8.5);
            let inside = mask == Mask::Square || x * x + y * y <= 8.5 * 8.5;
            let of = |c: usize| rgb[c * side * side + i];
            assert_eq!(pixel, [of(0), of(1), of(2), if inside { 255 } else { 0 }]);
        }
        let (width, rgba, density) = decoded(&patch_picture::printable(side, &rgb, mask).unwrap());
        assert_eq!((width, density), (1181, Some((11_811, true))));
        let opaque = rgba.chunks_exact(4).filter(|p| p[3] == 255).count() as f64 / 1181f64.powi(2);
        let share = if mask == Mask::Circle { std::f64::consts::FRAC_PI_4 } else { 1.0 };
        assert!((opaque - share).abs() < 1e-3, "{opaque}");
        // the middle of the middle pixel has about its colour: Catmull-Rom goes through its points
        let middle = &rgba[4 * (590 * 1181 + 590)..][..3];
        for (c, v) in middle.iter().enumerate() {
            assert!(v.abs_diff(rgb[c * side * side + 8 * side + 8]) <= 2);
        }
    }
    assert!(patch_picture::patch(3, &rgb, Mask::Circle).is_err());
}

fn tensor(images: Vec<f32>) -> Tensor {
    let n = images.len() / VALUES;
    Tensor::from_vec(images, (n, 3, SIDE, SIDE), &Device::Cpu).unwrap()
}

/// Fits a patch for one net.
fn fitted(engine: &dyn Engine, settings: &FitSettings, train: &Subset, target: usize) -> PatchFit {
    let streams = Streams::new(0, "tuning");
    let mut fit = PatchFit::new(settings, picture_side(SIZE));
    let aim = Aim { label: target, target: Some(target) };
    let loss = |_: usize, logits: &[f32], gradient: &mut [f32]| {
        loss::log_odds(&aim, logits, gradient);
        // the cross-entropy's own length: an image that shows the target has no say
        let share = loss::log_share_of_others(logits, target).exp() as f32;
        gradient.iter_mut().for_each(|g| *g *= share);
    };
    while !fit.is_done() {
        let plan = fit.plan_step(&streams, train.len(), SIZE);
        let mut images: Vec<f32> =
            plan.iter().flat_map(|(i, _)| train.image(*i).iter().map(|v| f32::from(*v) / 255.0)).collect();
        let footprints = fit.apply(&plan, SIZE, &mut images);
        let (_, gradient) = engine.logits_and_gradient(&tensor(images), &loss).unwrap();
        fit.update(&footprints, &gradient.flatten_all().unwrap().to_vec1().unwrap());
    }
    fit
}

/// Share of test images predicted as `target` with the picture on them, in 8 bits, in percent.
fn success(engine: &dyn Engine, picture: &Picture, mask: Mask, test: &Subset, area: f64, target: usize) -> f64 {
    let mut images = Vec::new();
    for i in 0..test.len() {
        let mut stream = Streams::new(0, "judged").stream(test.examples[i], 0, "place");
        let placement = Placement::draw(&mut stream, SIZE, area, mask, FitSettings::default().max_angle);
        let mut image = test.image(i).to_vec();
        placement.footprint(SIZE, picture.side).paste_u8(&picture.rgb, &mut image);
        images.extend(image.iter().map(|v| f32::from(*v) / 255.0));
    }
    let logits = engine.logits(&tensor(images)).unwrap().to_vec2::<f32>().unwrap();
    let hits = logits.iter().filter(|z| (0..z.len()).all(|c| c == target || z[c] < z[target])).count();
    100.0 * hits as f64 / test.len() as f64
}

/// Images of other classes than the target.
fn others(subset: &Subset, target: usize, most: usize) -> Subset {
    let rows: Vec<usize> = (0..subset.len()).filter(|i| subset.labels[*i] != target).take(most).collect();
    let of = |v: &[usize]| rows.iter().map(|i| v[*i]).collect();
    let pixels = rows.iter().flat_map(|i| subset.image(*i)).copied().collect();
    Subset::new(of(&subset.examples), of(&subset.labels), pixels, subset.size, subset.classes.clone())
}

const AREAS: [f64; 5] = [0.05, 0.1, 0.15, 0.2, 0.3];

/// Where the default rule, rate and range of areas come from.
#[test]
#[ignore = "minutes of fitting; prints a table"]
fn optimisers_compared() {
    let Some(folder) = shared_data("optimisers_compared") else { return };
    let (cifar, source) = (data::find("cifar10").unwrap(), Source::new(folder));
    let all = cifar.subset(&source, &Choice::new("test", 0, Some(400))).unwrap();
    let target = all.classes.iter().position(|c| c == "frog").unwrap();
    let train = others(&cifar.subset(&source, &Choice::new("train", 0, None)).unwrap(), target, usize::MAX);
    let test = others(&all, target, 200);
    let frog = all.labels.iter().position(|l| *l == target).unwrap();
    for name in ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"] {
        let engine = model::built_in(name).unwrap().engine(&Device::Cpu, Precision::F32).unwrap();
        println!("\n{name}: % predicted frog of {} at areas {AREAS:?}", test.len());
        let row = |name: &str, picture: &Picture| {
            let rates = AREAS.map(|a| format!("{:6.1}", success(&*engine, picture, Mask::Circle, &test, a, target)));
            println!("{name:30} {}", rates.join(" "));
        };
        let side = picture_side(SIZE);
        row("noise", &Picture::noise(side, &mut stream("control")));
        row("grey", &Picture::grey(side));
        row("frog", &Picture::from_rgb_u8(SIDE, all.image(frog)).unwrap());
        let (paper, default) = (FitSettings::paper(), FitSettings::default());
        let with = |rule| FitSettings { rule, ..FitSettings::default() };
        let tried = [
            ("paper", paper.clone()),
            ("paper's areas, default rule", FitSettings { rule: default.rule, ..paper.clone() }),
            ("default areas, paper's rule", with(paper.rule)),
            ("default areas, adam 0.1", with(Rule::Adam { rate: 0.1 })),
            ("default areas, adam 0.05", with(Rule::Adam { rate: 0.05 })),
            ("default areas, adam 0.02", with(Rule::Adam { rate: 0.02 })),
            ("default areas, momentum 0.01", with(Rule::Momentum { rate: 0.01, decay: 0.9 })),
            ("default", default),
        ];
        for (name, settings) in tried {
            let fit = fitted(&*engine, &settings, &train, target);
            row(name, &Picture::from_rgb_u8(fit.side(), &fit.patch_u8()).unwrap());
        }
    }
}

/// A patch made for one net is another line than one made for the net that it is judged on.
#[test]
fn a_patch_fitted_elsewhere_has_a_line_of_its_own() {
    let block = |nets: &str| {
        format!(
            "[[sweep]]\nmodels = [\"vgg11-half-cifar10-robust\"]\ndata = {{ name = \"cifar10-sample\", take = 4 }}\n\
             train = {{ name = \"cifar10-sample\", first = 10, take = 4{nets} }}\ngoals = [\"target:frog\"]\n\
             threats = [{{ norm = \"patch\", area = [\"10 %\", \"20 %\"] }}]\nattacks = [{{ name = \"patch\", steps = 2, images = 2 }}]\n"
        )
    };
    let blocks = ["", ", models = [\"vgg11-half-cifar10\"]"].map(block).concat();
    let (folder, cells) = sweep(&format!("name = \"elsewhere\"\nseed = 0\n{blocks}"), &Source::new("nowhere"), None);
    assert_eq!(cells.len(), 4);
    let svg = std::fs::read_to_string(folder.path().join("figures/patch-area.svg")).unwrap();
    let texts: Vec<&str> = svg.split(['<', '>']).map(str::trim).filter(|t| t.starts_with("patch")).collect();
    assert_eq!(texts, ["patch", "patch, fitted to vgg11-half-cifar10"]);
}
