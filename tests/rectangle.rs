//! Images whose height and width differ, from an ONNX file and pictures to the page: everything that a user of squares has.

#[path = "support/attempts.rs"]
mod attempts;
mod support;
#[path = "support/onnx.rs"]
mod writer;

use attempts::{attempt, results};
use candle_core::{DType, Device, Tensor};
use foolproof::config::ModelFile;
use foolproof::data::{self, Choice, Preparation, Source, resize};
use foolproof::error::Error;
use foolproof::hub::Hub;
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Precision};
use foolproof::model::{self, families};
use foolproof::report;
use foolproof::store::Store;
use foolproof::sweep::run::Event;
use foolproof::sweep::{plan, verify};
use image::{Rgb, RgbImage};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{machine, number, stream};
use writer::{Attribute as A, OPEN, Onnx};

const SIZE: [usize; 2] = [64, 48];
const CLASSES: usize = 10;
/// Of the convolutions: inputs and outputs.
const CONVOLUTIONS: [(usize, usize); 2] = [(3, 6), (6, 8)];
/// Behind two convolutions of stride 2 and a pool of 2×2.
const MAP: [usize; 2] = [8, 6];
/// In a picture, and in no other place of it.
const MARK: Rgb<u8> = Rgb([255, 0, 255]);

/// Weights of a small network that tells places apart, in the order of its layers.
fn weights() -> Vec<Vec<f32>> {
    let mut s = stream("rectangle");
    let mut some = |n: usize, scale: f64| (0..n).map(|_| (number(&mut s) * scale) as f32).collect::<Vec<f32>>();
    let mut all = Vec::new();
    for (inputs, outputs) in CONVOLUTIONS {
        all.extend([some(outputs * inputs * 9, (2.0 / (9.0 * inputs as f64)).sqrt()), some(outputs, 0.1)]);
    }
    let inputs = 8 * MAP[0] * MAP[1];
    all.extend([some(CLASSES * inputs, 3.0 / (inputs as f64).sqrt()), some(CLASSES, 0.1)]);
    all
}

/// The network as an exporter writes it; the size of its images may be left open.
fn exported(height: i64, width: i64) -> Vec<u8> {
    let all = weights();
    let mut file = Onnx::new(&[1, 3, height, width], 17);
    let mut last = "image".to_string();
    for (i, (inputs, outputs)) in CONVOLUTIONS.into_iter().enumerate() {
        let [w, b, made, bent] = ["w", "b", "made", "bent"].map(|name| format!("{name}{i}"));
        file = file
            .weight(&w, &[outputs as i64, inputs as i64, 3, 3], &all[2 * i])
            .weight(&b, &[outputs as i64], &all[2 * i + 1])
            .node("Conv", &[&last, &w, &b], &[&made], &[("pads", A::Ints(&[1; 4])), ("strides", A::Ints(&[2, 2]))])
            .node("Relu", &[&made], &[&bent], &[]);
        last = bent;
    }
    file.weight("w", &[CLASSES as i64, (8 * MAP[0] * MAP[1]) as i64], &all[4])
        .weight("b", &[CLASSES as i64], &all[5])
        .node("MaxPool", &[&last], &["pooled"], &[("kernel_shape", A::Ints(&[2, 2])), ("strides", A::Ints(&[2, 2]))])
        .node("Flatten", &["pooled"], &["flat"], &[])
        .node("Gemm", &["flat", "w", "b"], &["logits"], &[("transB", A::Int(1))])
        .bytes()
}

/// The same network, built here.
fn reference() -> Graph<f64> {
    let all: Vec<Vec<f64>> = weights().into_iter().map(|w| w.into_iter().map(f64::from).collect()).collect();
    let mut graph = Graph::new(SIZE, [0.0; 3], [1.0; 3]);
    let mut x = 0;
    for i in 0..CONVOLUTIONS.len() {
        let (weight, bias) = (all[2 * i].clone(), all[2 * i + 1].clone());
        x = graph.push(Op::Conv { window: Window::square(3, 2, 1), groups: 1, weight, bias }, &[x]).unwrap();
        x = graph.push(Op::Activate(Activation::Relu), &[x]).unwrap();
    }
    x = graph.push(Op::MaxPool { window: Window::square(2, 2, 0), ceil: false }, &[x]).unwrap();
    assert_eq!(graph.shape(x), [8, MAP[0], MAP[1]]);
    x = graph.push(Op::Reshape { shape: vec![8 * MAP[0] * MAP[1]] }, &[x]).unwrap();
    graph.push(Op::Linear { weight: all[4].clone(), bias: all[5].clone() }, &[x]).unwrap();
    graph
}

/// A folder with the network, and this instead of its size.
fn model(folder: &Path, bytes: &[u8], size: &str) -> PathBuf {
    let path = folder.join("net.toml");
    fs::write(folder.join("net.onnx"), bytes).unwrap();
    let text = format!("weights = \"net.onnx\"\nclasses = {CLASSES}\n{size}\nresize = 52\nmean = \"inside\"\n");
    fs::write(&path, text).unwrap();
    path
}

/// A picture of coloured waves with a square mark in its middle.
fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
    let mark = width.min(height) / 3;
    let inside = |v: u32, length: u32| (2 * v + 1).abs_diff(length) < mark;
    let wave = |at: u32, by: u32| (127.5 + 90.0 * (f64::from(at * by) / 40.0 + f64::from(seed)).sin()) as u8;
    RgbImage::from_fn(width, height, |x, y| match inside(x, width) && inside(y, height) {
        true => MARK,
        false => Rgb([wave(x, 1 + seed % 3), wave(y, 1 + seed % 4), wave(x + y, 1 + seed % 5)]),
    })
}

/// Pictures of several sizes, all larger than the network takes, in folders of the classes that the network sees in them.
fn pictures(folder: &Path) {
    let engine = Cpu::new(reference().to_f32());
    let preparation = Preparation::new(52, SIZE).unwrap();
    for class in 0..CLASSES {
        fs::create_dir_all(folder.join(format!("c{class}"))).unwrap();
    }
    for (seed, (width, height)) in
        [(96, 128), (130, 90), (60, 200), (150, 150), (64, 80)].repeat(5).into_iter().enumerate()
    {
        let picture = picture(seed as u32, width, height);
        let pixels = preparation.cut(&picture).unwrap();
        let logits = engine.logits(&data::to_tensor(&pixels, SIZE, &Device::Cpu).unwrap()).unwrap();
        let logits: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
        let class = (0..CLASSES).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        picture.save(folder.join(format!("c{class}/{seed:02}.png"))).unwrap();
    }
}

/// All attacks of the program that do not need a picture of their own.
fn sweep(folder: &Path) -> String {
    let (net, pictures) = (folder.join("net.toml"), folder.join("pictures"));
    let block = |data: &str, goal: &str, threat: &str, attacks: &str, more: &str| {
        format!(
            "[[sweep]]\nmodels = [{net:?}]\ndata = {{ {data} }}\ngoals = [\"{goal}\"]\nthreats = [{{ {threat} }}]\n\
             attacks = [{attacks}]\n{more}\n"
        )
    };
    let of = |first: usize| {
        format!("name = \"folder\", path = {pictures:?}, first = {first}, every = 5, take = 4, allow_empty = true")
    };
    let train = format!("train = {{ {} }}", of(1));
    let (patch, pixels) = ("norm = \"patch\", area = [\"5 %\", \"50 %\"]", "norm = \"pixels\", count = [1]");
    let blocks = [
        block(
            &of(0),
            "untargeted",
            "norm = \"linf\", eps = [\"4/255\"]",
            "{ name = \"fgsm\" }, { name = \"pgd\", steps = 5 }",
            "explain = true",
        ),
        block(&of(0), "untargeted", "norm = \"l2\", eps = [\"1\"]", "{ name = \"pgd\", steps = 5 }", ""),
        block(&of(0), "untargeted", "norm = \"l2\", minimal = true", "{ name = \"ddn\", steps = 20 }", ""),
        block(
            &of(0),
            "untargeted",
            pixels,
            "{ name = \"one-pixel\", population = 20, generations = 4 }, { name = \"one-pixel\", variant = \"scan\" }",
            "explain = true",
        ),
        block(
            &of(0),
            "target:1",
            patch,
            "{ name = \"patch\", steps = 20, images = 4, mask = [\"circle\", \"square\"] }, \
             { name = \"patch\", fit = \"per-image\", steps = 10 }, { name = \"paste\", content = [\"noise\", \"mean\"] }",
            &train,
        ),
        block(
            "name = \"blank-cifar10\", take = 1",
            "target:2",
            "norm = \"any\"",
            "{ name = \"class-max\", recipe = [\"l2\", \"blur\", \"tv\", \"fourier\"], steps = 30 }",
            "",
        ),
    ];
    format!("name = \"rectangle\"\n{}", blocks.concat())
}

#[test]
fn a_sweep_over_pictures_runs_resumes_is_verified_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), &exported(64, 48), "size = [64, 48]");
    pictures(&folder.path().join("pictures"));
    let text = sweep(folder.path());
    let (run, broken) = (folder.path().join("run"), folder.path().join("broken"));
    attempt(&text, &run, &AtomicBool::new(false), &mut |_| {}).unwrap();

    // stopped in the middle of a fit, and taken up again
    let stop = AtomicBool::new(false);
    let mut halfway = |event| {
        if matches!(event, Event::Fitted(share) if share >= 0.5) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    assert!(matches!(attempt(&text, &broken, &stop, &mut halfway), Err(Error::Interrupted)));
    let done = attempt(&text, &broken, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(results(&run) == results(&broken), "what was stopped ends with the same bytes");
    assert_eq!((done.failed, results(&run).len() > 30), (0, true));

    let store = Store::open(&run).unwrap();
    let findings = verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
    assert_eq!(findings.problems, [""; 0]);
    let plan = plan::parse(Path::new("x.toml"), &text, &Source::new("nowhere")).unwrap();
    for planned in &plan.cells {
        let stored = store.read(&planned.id).unwrap();
        let what = format!("{} {}", stored.cell.attack.name, stored.cell.budget_text());
        assert!(stored.outcomes.iter().all(|o| !o.is_error()), "{what}");
        assert_eq!(
            stored.cell.model.network,
            "onnx reading=2 classes=10 size=64x48 mean=[0.0, 0.0, 0.0] std=[1.0, 1.0, 1.0]"
        );
        let prepared = &stored.cell.data.prepared;
        assert!(prepared.starts_with("resize=52 crop=64x48 bilinear") || prepared == "size=64x48", "{prepared}");
        let inputs = store.read_inputs(&stored.cell.data.digest).unwrap();
        assert_eq!((inputs.size, inputs.pixels.len()), (SIZE, inputs.examples.len() * 3 * 64 * 48));
        let fooled = stored.outcomes.iter().filter(|o| o.success == Some(true)).count();
        let strong = ["fgsm", "pgd", "ddn", "class-max"].contains(&stored.cell.attack.name.as_str());
        assert!(!strong || fooled > 0, "{what} fools none");
    }
    let maps = store.read_explanation(&plan.cells[0].id).unwrap().unwrap();
    assert_eq!((maps.size, maps.clean.len()), ([16, 12], 4 * 16 * 12));
    let fits: Vec<_> = store.fits().iter().map(|id| store.read_fit(id).unwrap()).collect();
    assert!(fits.iter().all(|(fit, pictures)| (fit.size, pictures.side) == (SIZE, 28)), "half of √(64·48)");
    assert!(fits[0].0.canonical().contains("\"side\": [64,48]"), "{}", fits[0].0.canonical());

    report::write(&store).unwrap();
    let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    let explain = read("tables/explain.csv");
    assert!(explain.lines().next().unwrap().ends_with(",layer,side,height,width"), "{explain}");
    assert!(explain.lines().nth(1).unwrap().ends_with(",,16,12"), "{explain}");
    let page = read("report.html");
    assert!(page.contains("object-fit: contain") && page.contains("object-fit:contain"));
    assert!(page.contains("16×12"), "the size of the maps");
    for figure in ["gallery", "grad-cam", "class-max"] {
        assert!(run.join(format!("figures/{figure}.pdf")).is_file(), "{figure}");
    }
    squares_stay_squares(&run.join("figures/gallery.png"));
    squares_stay_squares(&run.join("figures/grad-cam.png"));
}

/// The marks of clean pictures are as wide as they are high: nothing is stretched.
fn squares_stay_squares(figure: &Path) {
    let drawn = image::open(figure).unwrap().into_rgb8();
    let (width, height) = drawn.dimensions();
    let mut seen = vec![false; (width * height) as usize];
    let mut sizes = Vec::new();
    for (x, y, pixel) in drawn.enumerate_pixels() {
        if *pixel != MARK || seen[(y * width + x) as usize] {
            continue;
        }
        let along = |dx: u32, dy: u32| {
            (0..).take_while(|k| drawn.get_pixel_checked(x + k * dx, y + k * dy) == Some(&MARK)).count()
        };
        let size = (along(1, 0) as u32, along(0, 1) as u32);
        (0..size.1).for_each(|j| (0..size.0).for_each(|i| seen[((y + j) * width + x + i) as usize] = true));
        sizes.push(size);
    }
    // a pixel of the network is about five dots wide, and resizing blurs the rim of a mark; what an attack changed is in pieces
    let large: Vec<_> = sizes.into_iter().filter(|(w, h)| *w.min(h) > 40).collect();
    assert!(large.len() >= 3 && large.iter().all(|(w, h)| w.abs_diff(*h) <= 10), "{}: {large:?}", figure.display());
}

#[test]
fn an_onnx_file_is_the_network_that_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let x: Vec<f64> = {
        let mut s = stream("pixels");
        (0..2 * 3 * 64 * 48).map(|_| f64::from(s.uniform())).collect()
    };
    let x = Tensor::from_vec(x, (2, 3, 64, 48), &Device::Cpu).unwrap();
    let slope = |_: usize, _: &[f32], g: &mut [f32]| g.iter_mut().enumerate().for_each(|(i, g)| *g = i as f32 - 4.0);
    let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (logits, gradient) = Plain::new(reference()).logits_and_gradient(&x, &slope).unwrap();
    for bytes in [exported(64, 48), exported(OPEN, OPEN), exported(OPEN, 48)] {
        let path = model(folder.path(), &bytes, "size = [64, 48]");
        let source = model::find(path.to_str().unwrap(), Path::new("."), &Hub::none()).unwrap();
        let engine = source.engine(&Device::Cpu, Precision::F32).unwrap();
        let (found, slopes) = engine.logits_and_gradient(&x.to_dtype(DType::F32).unwrap(), &slope).unwrap();
        for (found, expected) in [(&found, &logits), (&slopes, &gradient)] {
            let scale = values(expected).iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (a, b) in values(found).iter().zip(values(expected)) {
                assert!((a - b).abs() < 1e-5 * scale, "{a} {b}");
            }
        }
    }
}

#[test]
fn a_model_file_has_a_side_or_a_size() {
    let folder = tempfile::tempdir().unwrap();
    for (size, expected) in [
        ("size = [64, 48]\nside = 64", "net.toml:3: `size` beside `side`: one of the two"),
        ("", "missing key `side` (or, where height and width differ, `size`, as [224, 192])"),
        ("side = 0", "`side`: expected a whole number from 1 to 4096"),
        ("size = [64]", "net.toml:3: `size`: expected height and width, whole numbers from 1 to 4096 (as [224, 192])"),
        ("size = [64, 0]", "`size`: expected height and width"),
        ("size = [64, 48.5]", "`size`: expected height and width"),
        ("size = [64, 5000]", "`size`: expected height and width"),
        ("size = 64", "`size`: expected a list of numbers"),
        ("size = [48, 64]", "images of size 64×48, not of size 48×64 (hint: `size = [64, 48]` in the model file)"),
        ("side = 64", "images of size 64×48, not of side 64 (hint: `size = [64, 48]` in the model file)"),
    ] {
        let path = model(folder.path(), &exported(64, 48), size);
        let found = model::find(path.to_str().unwrap(), Path::new("."), &Hub::none());
        let problem = found.and_then(|source| source.load()).map(drop).unwrap_err().to_string();
        assert!(problem.contains(expected), "{size}: {problem}");
    }
}

fn described(family: &str, size: &str) -> ModelFile {
    let text =
        format!("family = \"{family}\"\nclasses = 10\n{size}\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nweights = \"none\"\n");
    families::parse(Path::new("m.toml"), &text).unwrap()
}

#[test]
fn a_square_is_the_same_however_it_is_written() {
    let text = |size: &str| families::find("vgg11").unwrap().text(&described("vgg11", size));
    assert_eq!(text("size = [64, 64]"), text("side = 64"));
    assert!(text("side = 64").contains(" side=64 ") && text("size = [64, 96]").contains(" size=64x96 "));
}

#[test]
fn convolutional_families_and_patches_take_rectangles() {
    for family in ["vgg11", "resnet18", "squeezenet1_0", "densenet121", "mobilenet_v2", "convnext_tiny"] {
        let file = described(family, "size = [96, 64]");
        let network = families::checked(&file).unwrap().network(&file, None).unwrap();
        assert_eq!((network.graph.size(), network.graph.classes()), ([96, 64], 10), "{family}");
        let wide = network.layers.iter().filter(|l| l.size[0] == l.size[1] && l.size[0] > 7).count();
        assert_eq!(wide, 0, "{family}: its maps are as the images");
    }
    let vit = described("vit_tiny_patch16_224", "size = [96, 64]");
    let positions = families::checked(&vit).unwrap().network(&vit, None).unwrap().tensors;
    assert!(positions.contains(&("pos_embed".into(), vec![1, 6 * 4 + 1, 192])), "a position for each patch of 6×4");
    let problem = |family: &str, size: &str| families::checked(&described(family, size)).map(drop).unwrap_err();
    assert!(
        problem("vit_tiny_patch16_224", "size = [96, 60]").contains("size 96×60 is no multiple of the patches' 16")
    );
    assert!(problem("vgg11", "size = [64, 31]").contains("size 64×31 leaves nothing after five pools"));
    assert!(problem("squeezenet1_0", "size = [28, 64]").contains("size 28×64 leaves nothing after three pools"));
}

/// Every picture covers the crop at the ratio that `resize` gives for its shorter side, no more than it must, unstretched.
#[test]
fn a_picture_covers_the_crop() {
    for (resize, crop) in [(52, SIZE), (48, SIZE), (219, [224, 192]), (40, [32, 96])] {
        let [height, width] = resize::covered(resize, crop);
        assert_eq!(height.min(width), resize);
        for (w, h) in [(100, 100), (30, 200), (300, 40), (48, 64), (width as u32, height as u32)] {
            // a ramp along each axis: what is left of it in the middle says how large the picture was made
            let ramp = |v: u32, length: u32| (v * 255 / (length - 1)) as u8;
            let picture = RgbImage::from_fn(w, h, |x, y| Rgb([ramp(x, w), ramp(y, h), 0]));
            let cut = resize::covering_and_centre(&picture, resize, crop, resize::Filter::Bilinear);
            assert_eq!(cut.len(), 3 * crop[0] * crop[1]);
            let at = |x: usize, y: usize, c: usize| f64::from(cut[3 * (y * crop[1] + x) + c]);
            let slope = |from: f64, to: f64, n: usize| 255.0 * (n as f64 - 1.0) / (to - from);
            let (x, y) = (crop[1] / 2, crop[0] / 2);
            let made = [
                slope(at(x, 0, 1), at(x, crop[0] - 1, 1), crop[0]),
                slope(at(0, y, 0), at(crop[1] - 1, y, 0), crop[1]),
            ];
            let times = (height as f64 / f64::from(h)).max(width as f64 / f64::from(w));
            for (made, from) in made.into_iter().zip([h, w]) {
                let expected = times * f64::from(from);
                assert!((made / expected - 1.0).abs() < 0.08, "{w}×{h} for {crop:?}: {made} {expected}");
            }
        }
    }
}

#[test]
fn pictures_of_the_models_size_are_taken_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    let path = folder.path().join("a/0.png");
    let picture = picture(1, 48, 64);
    picture.save(&path).unwrap();
    let choice = |crop: [usize; 2]| Choice {
        path: Some(folder.path().to_path_buf()),
        preparation: Some(Preparation::usual(256, crop).unwrap()),
        ..Choice::new("all", 0, None)
    };
    let load = |crop| data::find("folder").unwrap().subset(&Source::new("nowhere"), &choice(crop)).unwrap();
    let own = load(SIZE);
    let text = own.preparation.unwrap().text();
    assert!(text.starts_with("size=64x48 as stored decoder="), "{text}");
    assert_eq!(Preparation::parse(&text), own.preparation);
    assert_eq!(own.pixels[..10], picture.pixels().take(10).map(|p| p.0[0]).collect::<Vec<u8>>());
    // turned by a quarter it is another size
    let other = load([48, 64]).preparation.unwrap();
    assert!(other.text().starts_with("resize=256 crop=48x64 bilinear"), "{}", other.text());
    assert_eq!(Preparation::parse(&other.text()), Some(other));
}

#[test]
fn a_run_on_rectangles_refuses_squares() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path(), &exported(64, 48), "size = [64, 48]");
    let problem = |models: &str, data: &str| {
        let text = format!(
            "name = \"x\"\n[[sweep]]\nmodels = [{models}]\ndata = {{ {data} }}\ngoals = [\"untargeted\"]\n\
             threats = [{{ norm = \"linf\", eps = [\"1/255\"] }}]\nattacks = [{{ name = \"fgsm\" }}]\n"
        );
        match plan::parse(Path::new("x.toml"), &text, &Source::new("nowhere")) {
            Err(Error::Config(problems)) => problems.join("\n"),
            Err(other) => panic!("another error: {other}"),
            Ok(_) => String::new(),
        }
    };
    let found = problem(&format!("{path:?}"), "name = \"cifar10-sample\"");
    let expected = "takes size 64×48 and has 10 classes, dataset `cifar10-sample` has side 32 and 10 classes";
    assert!(found.contains(expected), "{found}");
    pictures(&folder.path().join("pictures"));
    let pictures = format!("name = \"folder\", path = {:?}, allow_empty = true", folder.path().join("pictures"));
    let found = problem(&format!("{path:?}, \"vgg11-half-cifar10\""), &pictures);
    assert!(found.contains("these take 64x48 and 32 (hint: a [[sweep]] for each)"), "{found}");
    let found = problem(&format!("{path:?}"), &format!("{pictures}, resize = 47"));
    assert!(found.contains("`resize` is 47, less than the short side of 48 that the models take"), "{found}");
}

#[cfg(unix)]
#[test]
fn pictures_of_a_folder_are_decoded_once_and_what_is_kept_is_held_to_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    for (class, level) in [("cat", 10), ("dog", 200)] {
        let pictures = folder.path().join("pictures").join(class);
        fs::create_dir_all(&pictures).unwrap();
        let file = pictures.join("0.png");
        RgbImage::from_pixel(4, 4, Rgb([level, 7, 9])).save(&file).unwrap();
        let hour = std::time::Duration::from_secs(3600);
        fs::File::options().write(true).open(&file).unwrap().set_modified(std::time::SystemTime::now() - hour).unwrap();
    }
    let choice = Choice {
        path: Some(folder.path().join("pictures")),
        preparation: Preparation::usual(4, [4; 2]).ok(),
        ..Choice::new("all", 0, None)
    };
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // what stands in `change` becomes of what is kept
    let subset = |kept: Option<&data::Subset>, change: u8| {
        let (asked, inputs) = (asked.clone(), kept.map(data::Subset::inputs));
        let kept = data::Kept::by(move |digest| {
            asked.fetch_add(1, Ordering::Relaxed);
            let mut inputs = inputs.clone()?;
            inputs.pixels[0] ^= change;
            (digest.len() == 64).then_some(inputs)
        });
        let fingerprints = foolproof::fingerprint::Fingerprints::at(folder.path().join("kept"));
        let mut source = Source::new("nowhere").with(kept);
        source.fingerprints = fingerprints;
        data::find("folder").unwrap().subset(&source, &choice).unwrap()
    };
    let same = |a: &data::Subset, b: &data::Subset| {
        assert_eq!((&a.digest, &a.pixels, &a.labels, &a.classes), (&b.digest, &b.pixels, &b.labels, &b.classes));
        assert_eq!((a.preparation, &a.notes), (b.preparation, &b.notes));
    };
    let first = subset(None, 0);
    assert_eq!(asked.load(Ordering::Relaxed), 0, "no digest is known");
    for (kept, change) in [(None, 0), (Some(&first), 0), (Some(&first), 1)] {
        same(&subset(kept, change), &first);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let file = folder.path().join("pictures/cat/0.png");
    RgbImage::from_pixel(4, 4, Rgb([11, 7, 9])).save(&file).unwrap();
    assert_ne!(subset(Some(&first), 0).digest, first.digest);
    assert_eq!(asked.load(Ordering::Relaxed), 3, "another file: another digest");
}
