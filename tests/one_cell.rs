//! `predict`, `attack` and `dream`: what needs no sweep file.

mod support;

use foolproof::analysis::Run;
use foolproof::store::Store;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODEL: &str = "vgg11-half-cifar10";

fn sample(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/cifar10-sample").join(name).display().to_string()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = support::foolproof();
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").args(arguments).arg("--quiet");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Fields of an aligned table, by line: columns are two spaces or more apart.
fn fields(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split("  ").map(str::trim).filter(|f| !f.is_empty()).collect()).collect()
}

#[test]
fn a_picture_is_predicted_as_a_sweep_does() {
    let folder = tempfile::tempdir().unwrap();
    let cat = sample("cifar10_00_3.png");
    let text = ok(folder.path(), &["predict", &cat, "--model", MODEL, "--all"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["picture", "rank", "class", "name", "probability", "logit"]);
    assert_eq!((rows.len(), rows[4][3]), (11, "cat"));
    let sum: f32 = rows[1..].iter().map(|row| row[4].parse::<f32>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    // the logits are those of the network on the picture's pixels
    let model = foolproof::model::built_in(MODEL).unwrap();
    let engine = model.engine(&candle_core::Device::Cpu, foolproof::kernel::Precision::F32).unwrap();
    let picture = image::open(&cat).unwrap().into_rgb8();
    let planes: Vec<u8> = (0..3).flat_map(|c| picture.pixels().map(move |p| p.0[c])).collect();
    let images = foolproof::data::to_tensor(&planes, [32; 2], &candle_core::Device::Cpu).unwrap();
    let logits = engine.logits(&images).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let printed: Vec<f32> = rows[1..].iter().map(|row| row[5].parse().unwrap()).collect();
    assert_eq!(printed, logits);
    let top = ok(folder.path(), &["predict", &cat, "--model", MODEL, "--top", "1"]);
    assert!(top.lines().nth(1).unwrap().contains(",1,3,cat,0.98"), "{top}");
}

#[test]
fn a_picture_is_attacked_whatever_it_shows_and_the_run_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    // a picture that the network gets wrong is attacked, too: what it said before is what counts
    let wrong = folder.path().join("grey.png");
    image::RgbImage::from_fn(48, 32, |x, y| image::Rgb([100 + x as u8, 120, 100 + y as u8])).save(&wrong).unwrap();
    let (cat, grey) = (sample("cifar10_00_3.png"), wrong.display().to_string());
    let asked = ["attack", &cat, &grey, "--model", MODEL, "--eps", "8/255", "--explain"];
    let table = ok(folder.path(), &asked);
    let rows = fields(&table);
    assert_eq!(rows[0], ["picture", "before", "after", "fooled", "change"]);
    assert_eq!((rows[1][0], rows[2][0]), ("cifar10_00_3.png", "grey.png"));
    for row in &rows[1..] {
        assert_eq!((row[3], row[4]), ("yes", "8/255"), "{table}");
        assert_ne!(row[1].split(' ').next(), row[2].split(' ').next(), "{table}");
    }
    let at = folder.path().join("results/cifar10_00_3-pgd");
    let said = ok(folder.path(), &["verify", "cifar10_00_3-pgd"]);
    assert!(
        said.starts_with("1 cells, 2 witnesses, 2 successes, 4 maps verified,") && said.ends_with(" 0 problems\n"),
        "{said}"
    );
    for file in ["side-by-side.png", "side-by-side.svg", "side-by-side.pdf"] {
        assert!(at.join("figures").join(file).is_file(), "{file}");
    }
    // the PNG is the witness that was judged
    let store = Store::open(&at).unwrap();
    let run = Run::read(&store).unwrap();
    let pixels = store.read_witnesses(&run.cells[0].id).unwrap().into_levels();
    let png = image::open(at.join("pictures/cifar10_00_3-adversarial.png")).unwrap().into_rgb8();
    let planes: Vec<u8> = (0..3).flat_map(|c| png.pixels().map(move |p| p.0[c])).collect();
    assert_eq!(planes, pixels[..3 * 32 * 32]);
    // the same command computes nothing
    assert_eq!(ok(folder.path(), &asked), table);
}

#[test]
fn what_a_picture_is_called_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        fs::copy(sample("cifar10_00_3.png"), folder.path().join(name)).unwrap();
    }
    for options in
        [&["--pixels", "1", "--set", "generations=3"][..], &["--eps", "8/255"], &["--attack", "ddn", "--minimal"]]
    {
        let [a, b] = ["a.png", "b.png"].map(|name| {
            let table = ok(folder.path(), &[&["attack", name, "--model", MODEL, "--name", name], options].concat());
            table.lines().nth(1).unwrap().split_once(".png").unwrap().1.to_string()
        });
        assert_eq!(a, b);
        let [a, b] = ["a", "b"].map(|name| {
            fs::read(folder.path().join(format!("results/{name}.png/pictures/{name}-adversarial.png"))).unwrap()
        });
        assert!(a == b, "{options:?}");
    }
}

#[test]
fn pictures_of_one_name_and_odd_names_are_told_apart_and_a_replaced_run_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["p/same.png", "q/same.png", "e\u{1b}[31mX.png"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(sample("cifar10_00_3.png"), path).unwrap();
    }
    let attack = |pictures: &[&str]| {
        let asked = ["--model", MODEL, "--attack", "fgsm", "--name", "one"];
        let output = run(folder.path(), &[&["attack"], pictures, &asked].concat());
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (table, said) = attack(&["p/same.png", "q/same.png"]);
    assert_eq!([fields(&table)[1][0], fields(&table)[2][0]], ["p/same.png", "q/same.png"]);
    assert!(!said.contains("warning"), "{said}");
    let (table, said) = attack(&["e\u{1b}[31mX.png"]);
    assert!(table.contains("e\\u{1b}[31mX.png") && !table.contains('\u{1b}'), "{table:?}");
    assert!(said.contains("warning: run `one` was of something else"), "{said}");
    let svg = fs::read_to_string(folder.path().join("results/one/figures/side-by-side.svg")).unwrap();
    assert!(svg.contains("\u{fffd}") && !svg.contains(|c: char| c.is_control() && c != '\n'));
    // what the first run left behind is checked all the same, its images among it
    assert!(ok(folder.path(), &["verify", "one"]).ends_with(" 0 problems\n"));
    let inputs = fs::read_dir(folder.path().join("results/one/inputs")).unwrap().map(|e| e.unwrap().path());
    let first = inputs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&first, bytes).unwrap();
    let output = run(folder.path(), &["verify", "one"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not what its name says"), "{output:?}");
    let said = fails(folder.path(), &["dream", "frog", "--model", MODEL, "--limit", "1"]);
    assert!(said.contains("--limit counts images"), "{said}");
}

#[test]
fn a_limit_leaves_the_first_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let all = sample("");
    let table = ok(folder.path(), &["attack", &all, "--model", MODEL, "--limit", "2", "--name", "few"]);
    assert_eq!(fields(&table).len(), 3, "{table}");
    let said = ok(folder.path(), &["verify", "few-first-2"]);
    assert!(said.starts_with("1 cells, 2 witnesses") && said.ends_with(" 0 problems\n"), "{said}");
    assert_eq!(
        ok(folder.path(), &["predict", &all, "--model", MODEL, "--limit", "2", "--top", "1"]).lines().count(),
        3
    );
}

#[test]
fn targets_pixels_patches_and_pasted_pictures_are_options() {
    let folder = tempfile::tempdir().unwrap();
    let (cat, frog) = (sample("cifar10_00_3.png"), sample("cifar10_05_6.png"));
    let after = |options: &[&str]| -> String {
        let table = ok(folder.path(), &[&["attack", &cat, "--model", MODEL, "--name", "one"], options].concat());
        fields(&table)[1][2].to_string()
    };
    assert!(after(&["--target", "truck"]).starts_with("truck "));
    assert!(after(&["--target", "9", "--norm", "l2", "--eps", "1"]).starts_with("truck "));
    assert!(after(&["--attack", "ddn", "--minimal", "--set", "steps=50"]).starts_with("dog "));
    assert!(after(&["--patch", "--area", "20 %", "--target", "frog", "--set", "steps=50"]).starts_with("frog "));
    // what one pixel or a pasted picture does is no law
    for options in [&["--pixels", "1", "--set", "generations=2"][..], &["--paste", &frog, "--area", "20 %"]] {
        let class = after(options);
        assert!(class.ends_with(" %"), "{class}");
    }
    // who is the target already is left out, and said
    let table = ok(folder.path(), &["attack", &cat, "--model", MODEL, "--target", "cat"]);
    assert_eq!(fields(&table)[1], ["cifar10_00_3.png", "cat", "is so already", "-", "-"]);
}

#[test]
fn a_dream_is_a_picture_of_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let table = ok(folder.path(), &["dream", "frog", "3", "--model", MODEL, "--recipe", "l2,tv", "--set", "steps=32"]);
    let rows = fields(&table);
    let names: Vec<[&str; 2]> = rows[1..].iter().map(|row| [row[0], row[1]]).collect();
    assert_eq!(names, [["frog", "l2"], ["frog", "tv"], ["cat", "l2"], ["cat", "tv"]]);
    assert!(rows[1..].iter().all(|row| row[3].starts_with(row[0])), "{table}");
    let said = ok(folder.path(), &["verify", "frog-class-max"]);
    assert!(said.starts_with("4 cells, 4 witnesses, 4 successes") && said.ends_with(" 0 problems\n"), "{said}");
    assert_eq!(fs::read_dir(folder.path().join("results/frog-class-max/pictures/class-max")).unwrap().count(), 4);
}

/// A network of two classes that nobody knows, beside its model file.
fn toy(folder: &Path) -> PathBuf {
    let text = fs::read_to_string("configs/models/vgg11-half-cifar10.toml").unwrap();
    let kept: String = text.lines().take_while(|line| !line.starts_with('[')).map(|line| format!("{line}\n")).collect();
    fs::copy("configs/models/vgg11-half-cifar10.safetensors", folder.join("vgg11-half-cifar10.safetensors")).unwrap();
    let path = folder.join("toy.toml");
    fs::write(&path, kept).unwrap();
    path
}

#[test]
fn classes_have_the_names_of_a_file_or_numbers() {
    let folder = tempfile::tempdir().unwrap();
    toy(folder.path());
    let cat = sample("cifar10_00_3.png");
    let named = |options: &[&str]| {
        ok(folder.path(), &[&["predict", &cat, "--model", "toy.toml", "--top", "1"], options].concat())
    };
    assert!(named(&[]).contains(",3,class 3,"));
    assert!(named(&["--classes", "cifar10"]).contains(",3,cat,"));
    let lines: String = (0..10).map(|i| format!("thing {i}\n")).collect();
    fs::write(folder.path().join("names.txt"), lines).unwrap();
    assert!(named(&["--classes", "names.txt"]).contains(",3,thing 3,"));
    let lines: String = (0..10).map(|i| format!("\u{732b} {i}\n")).collect();
    fs::write(folder.path().join("chinese.txt"), lines).unwrap();
    let attack = ["attack", &cat, "--model", "toy.toml", "--attack", "fgsm", "--classes", "chinese.txt", "--name", "c"];
    let said = String::from_utf8(run(folder.path(), &attack).stderr).unwrap();
    assert!(
        said.contains("warning: the figures' font lacks 1 letters (\u{732b}): they are boxes in PNG and PDF"),
        "{said}"
    );
    let svg = fs::read_to_string(folder.path().join("results/c/figures/side-by-side.svg")).unwrap();
    assert!(svg.contains("\u{732b} 3"), "the SVG keeps them");
    let wrong = fails(folder.path(), &["predict", &cat, "--model", "toy.toml", "--classes", "imagenet"]);
    assert!(wrong.contains("`imagenet` names 1000 classes, model `toy` has 10"), "{wrong}");
}

#[test]
fn a_model_file_names_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let plain = fs::read_to_string(toy(at)).unwrap();
    let cat = sample("cifar10_00_3.png");
    let with = |name: &str, key: &str| {
        let text = plain.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        fs::write(at.join(name), text.replace("classes = 10", &format!("classes = 10\n{key}"))).unwrap();
    };
    let predict = |model: &str, options: &[&str]| {
        ok(at, &[&["predict", &cat, "--model", model, "--top", "1"][..], options].concat())
    };
    let listed: Vec<String> = (0..10).map(|i| format!("\"thing {i}\"")).collect();
    let list = format!("class_names = [{}]", listed.join(", "));
    with("list.toml", &list);
    assert!(predict("list.toml", &[]).contains(",3,thing 3,"));
    assert!(predict("list.toml", &["--classes", "cifar10"]).contains(",3,cat,"), "what is asked for comes first");
    assert!(ok(at, &["attack", &cat, "--model", "list.toml", "--target", "thing 5"]).contains("thing 3"));
    with("set.toml", "class_names = \"cifar10\"");
    assert!(predict("set.toml", &[]).contains(",3,cat,"));
    // a file lies beside the model file, wherever the program is called
    fs::create_dir(at.join("below")).unwrap();
    fs::copy(at.join("vgg11-half-cifar10.safetensors"), at.join("below/vgg11-half-cifar10.safetensors")).unwrap();
    let lines: Vec<String> = (0..10).map(|i| format!("line {i}")).collect();
    fs::write(at.join("below/names.txt"), format!("\u{feff}{}\r\n\n", lines.join("\r\n"))).unwrap();
    with("below/file.toml", "class_names = \"names.txt\"");
    assert!(predict("below/file.toml", &[]).contains(",3,line 3,"));
    let all = ok(at, &["predict", &cat, "--model", "below/file.toml", "--all"]);
    assert!(all.contains(",0,line 0,"), "without its byte order mark");

    // images whose classes are the same in another order
    with("numbers.toml", "class_names = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\", \"10\"]");
    for class in 1..11 {
        fs::create_dir_all(at.join(format!("pics/{class}"))).unwrap();
        fs::copy(&cat, at.join(format!("pics/{class}/cat.png"))).unwrap();
    }
    let text = "name = \"n\"\n[[sweep]]\nmodels = [\"numbers.toml\"]\ndata = { name = \"folder\", path = \"pics\" }\n\
                goals = [\"untargeted\"]\nthreats = [{ norm = \"linf\", eps = [\"0\"] }]\nattacks = [{ name = \"noise\" }]\n";
    fs::write(at.join("n.toml"), text).unwrap();
    let told = String::from_utf8(run(at, &["list", "n.toml"]).stderr).unwrap();
    assert!(told.contains("model `numbers.toml` calls class 1 `2`, and it is `10` in dataset `folder`"), "{told}");
    assert!(told.contains("`10` is class 1, before `2`"), "{told}");

    // networks as one: those that have names must agree
    assert!(predict("toy.toml + list.toml", &[]).contains(",3,thing 3,"));
    assert!(predict(&format!("{MODEL} + toy.toml"), &[]).contains(",3,cat,"), "by the published accuracy of one");
    assert!(predict(&format!("list.toml + {MODEL}"), &[]).contains(",3,class 3,"));
    let told = support::foolproof().args(["predict", &cat, "--model", "list.toml + set.toml"]).current_dir(at).output();
    let told = String::from_utf8(told.unwrap().stderr).unwrap();
    assert!(told.contains("the networks of `list + set` name their classes differently: they are numbered"), "{told}");

    // they decide nothing else
    let source = |name: &str| foolproof::model::find(name, at, &foolproof::hub::Hub::none()).unwrap().record();
    assert_eq!(source("list.toml").network, source("toy.toml").network);

    fs::write(at.join("short.txt"), "a\nb\n").unwrap();
    fs::write(at.join("gap.txt"), lines.join("\n").replace("line 4", "")).unwrap();
    fs::write(at.join("twice.txt"), lines.join("\n").replace("line 4", "line 1")).unwrap();
    for (key, expected) in [
        ("class_names = [\"a\", \"b\"]", "5: `class_names`: 2 names for 10 classes (hint: one name a class"),
        (&list.replace("thing 7", " "), "5: `class_names`: class 7 has an empty name (hint:"),
        (&list.replace("thing 7", "thing 2"), "5: `class_names`: classes 2 and 7 are both called \"thing 2\" (hint:"),
        (
            &list.replace("thing 7", "thing\\n7"),
            "5: `class_names`: class 7 is called \"thing\\n7\", with a control character (hint:",
        ),
        ("class_names = []", "5: `class_names`: the list is empty (hint:"),
        ("class_names = 3", "5: `class_names`: expected a list"),
        ("class_names = \"short.txt\"", "5: `class_names`: \"short.txt\": 2 names for 10 classes (hint:"),
        (
            "class_names = \"gap.txt\"",
            "5: `class_names`: \"gap.txt\": line 5 is empty, and every line names a class (hint:",
        ),
        ("class_names = \"twice.txt\"", "5: `class_names`: \"twice.txt\": classes 1 and 4 are both called \"line 1\""),
        ("class_names = \"none.txt\"", "5: `class_names`: \"none.txt\": no file that can be read: "),
        ("class_names = \"imagenet\"", "5: `class_names`: \"imagenet\": 1000 names for 10 classes (hint:"),
    ] {
        with("wrong.toml", key);
        let problem = fails(at, &["predict", &cat, "--model", "wrong.toml"]);
        assert!(problem.contains(&format!("wrong.toml:{expected}")), "{key}: {expected}\nin {problem}");
        assert_eq!(problem.matches("wrong.toml:").count(), 1, "{problem}");
    }
    let gap = fails(at, &["predict", &cat, "--model", "toy.toml", "--classes", "gap.txt"]);
    assert!(gap.contains("classes `gap.txt`: line 5 is empty, and every line names a class (hint:"), "{gap}");
}

#[test]
fn wrong_use_names_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let cat = sample("cifar10_00_3.png");
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("no.png"), "no picture").unwrap();
    let attack = |options: &[&str]| fails(folder.path(), &[&["attack", &cat, "--model", MODEL], options].concat());
    for (options, expected) in [
        (&["--attack", "pdg"][..], "unknown attack `pdg` (hint: did you mean `pgd`?)"),
        (&["--eps", "8"], "eps"),
        (&["--eps", "x"], "`x`"),
        (&["--target", "toaster"], "unknown goal `target:toaster`"),
        (&["--target", "10"], "the classes are 0 to 9 (hint: a number of these, or a name)"),
        (&["--target", "-1"], "unknown goal `target:-1`"),
        (&["--eps", "-1/255"], "eps `-1/255`"),
        (&["--confidence", "-1"], "`confidence` \"-1\""),
        (&["--patch", "--area", "-1"], "area `-1`"),
        (&["--pixels", "1025"], "count 1025: images of side 32 have 1024 pixels (hint: "),
        (
            &["--norm", "l0", "--attack", "sparse-rs", "--eps", "3073"],
            "count 3073: images of side 32 have 3072 components",
        ),
        (&["--set", "step=3"], "attack `pgd` has no parameter `step` (hint: did you mean `steps`?)"),
        (&["--set", "steps"], "expected KEY=VALUE"),
        (&["--set", "steps=3", "--set", "steps=4"], "`steps` is said twice"),
        (
            &["--set", "steps=1,2"],
            "--set `steps=1,2`: more than one value (hint: one value; a sweep file takes several",
        ),
        (&["--set", "steps=5, restarts=2"], "(hint: --set steps=5 --set restarts=2)"),
        (&["--patch", "--set", "fit=universal"], "`fit` is said twice"),
        (&["--norm", "l3"], "--norm `l3` (hint: did you mean `l2`?)"),
        (&["--norm", "l1", "--attack", "fgsm"], "fgsm"),
        (&["--attack", "one-pixel"], "hint: --pixels COUNT"),
        (&["--attack", "class-max"], "hint: foolproof dream CLASS"),
        (&["--area", "10 %"], "--area is the size of a patch"),
        (&["--patch", "--area", "90 %"], "area"),
        (&["--paste", "nothing.png"], "nothing.png"),
        (&["--resize", "8"], "`resize` is 8"),
        (&["--name", "a/b"], "`name` becomes a folder"),
        (&["--name", &"a".repeat(101)], "100 at most"),
    ] {
        let said = attack(options);
        assert!(said.contains(expected), "{options:?}: {said}");
        assert!(!said.contains("command line:"), "{said}");
    }
    for (picture, expected) in
        [("none.png", "no picture none.png"), ("empty", "no picture in folder empty"), ("no.png", "no picture format")]
    {
        let said = fails(folder.path(), &["predict", picture, "--model", MODEL]);
        assert!(said.contains(expected), "{picture}: {said}");
    }
    let said = fails(folder.path(), &["predict", &cat, "--model", "vgg11-half-cifar"]);
    assert!(said.contains("did you mean `vgg11-half-cifar10`?"), "{said}");
    let said = fails(folder.path(), &["dream", "unicorn", "--model", MODEL]);
    assert!(said.contains("unknown goal `target:unicorn`"), "{said}");
    let two = format!("{MODEL}+{MODEL}-robust");
    let said = fails(folder.path(), &["predict", &cat, "--model", &two]);
    assert!(said.contains(&format!("did you mean `{MODEL} + {MODEL}-robust`, the networks together?")), "{said}");
    // a sweep file cannot name what the command line gives
    let text = format!(
        "name = \"s\"\n[[sweep]]\nmodels = [\"{MODEL}\"]\ndata = {{ name = \"pictures\" }}\ngoals = [\"untargeted\"]\n\
         threats = [{{ norm = \"linf\", eps = [\"8/255\"] }}]\nattacks = [{{ name = \"pgd\" }}]\n"
    );
    fs::write(folder.path().join("s.toml"), text).unwrap();
    let said = fails(folder.path(), &["--config", "s.toml"]);
    assert!(said.contains("s.toml:4: dataset `pictures` is what the command line gives"), "{said}");
}

#[test]
fn a_success_is_as_sure_as_asked_and_the_first_one_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let cat = sample("cifar10_00_3.png");
    let sure = |options: &[&str]| -> f64 {
        let asked = ["attack", &cat, "--model", MODEL, "--target", "truck", "--set", "random_start=false"];
        let table = ok(folder.path(), &[&asked[..], options].concat());
        let after = fields(&table)[1][2].to_string();
        after.strip_prefix("truck ").unwrap().trim_end_matches(" %").parse().unwrap()
    };
    let (first, later) = (sure(&[]), sure(&["--confidence", "95 %"]));
    assert!(first < 95.0 && later >= 95.0, "{first} {later}");
    // out of reach: the surest that was found, and the row says so
    let table = ok(folder.path(), &["attack", &cat, "--model", MODEL, "--attack", "fgsm", "--confidence", "99.9 %"]);
    assert_eq!(fields(&table)[1][3], "yes, below 99.9 %", "{table}");
    let nearest = ["attack", &cat, "--model", MODEL, "--attack", "deepfool", "--confidence", "90 %"];
    let said = String::from_utf8(run(folder.path(), &nearest).stderr).unwrap();
    assert!(said.contains("`confidence` changes nothing"), "{said}");
    assert!(sure(&["--confidence", "0.9999999"]) >= later);
    let said = ok(folder.path(), &["verify", "cifar10_00_3-pgd"]);
    assert!(said.ends_with(" 0 problems\n"), "{said}");
    for wrong in ["0", "1", "x", "120 %"] {
        let said = fails(folder.path(), &["attack", &cat, "--model", MODEL, "--confidence", wrong]);
        assert!(said.contains("expected a probability between 0 and 1"), "{said}");
    }
}
