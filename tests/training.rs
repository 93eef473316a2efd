//! `foolproof train`: every recipe learns, the same bytes whatever happens on the way, the model is found by its name, and what is
//! wrong is said.

mod support;

use foolproof::digest::sha256;
use foolproof::rng::Streams;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use support::foolproof;

const HEAD: &str = "name = \"t\"\nseed = 3\n[network]\nfamily = \"resnet18_cifar\"\nwidth = 0.0625\nclasses = 10\nside = 32\n\
                    mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n[data]\nname = \"shapes\"\ntake = 90\n\
                    [held_out]\nname = \"shapes\"\nsplit = \"test\"\ntake = 20\n";

fn train(folder: &Path, file: &str) -> Command {
    fs::write(folder.join("t.toml"), file).unwrap();
    let mut command = foolproof();
    command.current_dir(folder).args(["train", "t.toml"]);
    command
}

fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Of a model's weights.
fn digest(folder: &Path, model: &str) -> String {
    sha256(&fs::read(folder.join(format!("configs/models/{model}.safetensors"))).unwrap())
}

#[test]
fn every_recipe_ends_with_a_model_the_same_with_one_thread() {
    let recipe = |name: &str, more: &str| {
        format!("[[train]]\nmodel = \"m-{name}\"\nrecipe = \"{name}\"\nepochs = 2\nbatch = 30\n{more}\n")
    };
    // one image more than three batches: it joins the last
    let file = [
        HEAD.replace("take = 90", "take = 91").as_str(),
        &recipe("standard", "ema = 0.5\nlabel_smoothing = 0.1\nschedule = \"cosine\""),
        &recipe("fast-at", ""),
        &recipe("pgd-at", "steps = 2\neps = \"4/255\""),
        &recipe("trades", "steps = 2"),
        &recipe("free", "replays = 3"),
    ]
    .concat();
    let models = ["m-standard", "m-fast-at", "m-pgd-at", "m-trades", "m-free"];
    let [two, one] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    ok(train(two.path(), &file).args(["--threads", "2"]));
    ok(train(one.path(), &file).args(["--threads", "1"]));
    for model in models {
        assert_eq!(digest(two.path(), model), digest(one.path(), model), "{model}");
    }
    let all: std::collections::BTreeSet<String> = models.iter().map(|m| digest(two.path(), m)).collect();
    assert_eq!(all.len(), models.len(), "no two recipes are one");
    let table = |folder: &Path| fs::read_to_string(folder.join("results/t/tables/training.csv")).unwrap();
    assert_eq!(table(two.path()), table(one.path()));
    assert_eq!(table(two.path()).lines().count(), 1 + 2 * models.len());
    assert!(two.path().join("results/t/figures/training.png").is_file());
    // done is done
    let again = ok(&mut train(two.path(), &file));
    assert!(String::from_utf8_lossy(&again.stderr).contains("goes on after epoch 2"));
    assert_eq!(table(two.path()), table(one.path()));
}

#[test]
fn a_network_learns_and_a_sweep_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = HEAD.replace("take = 90", "take = 300").replace("0.0625", "0.125")
        + "[[train]]\nmodel = \"learned\"\nrecipe = \"standard\"\nepochs = 6\nbatch = 20\nlearning_rate = 0.05\n";
    ok(&mut train(folder.path(), &file));
    let rows = fs::read_to_string(folder.path().join("results/t/tables/training.csv")).unwrap();
    let losses: Vec<f64> = rows.lines().skip(1).map(|row| row.split(',').nth(5).unwrap().parse().unwrap()).collect();
    assert!(losses[5] < 0.8 * losses[0], "{losses:?}");
    fs::write(
        folder.path().join("s.toml"),
        "name = \"s\"\n[[sweep]]\nmodels = [\"learned\"]\ndata = { name = \"shapes\", split = \"test\", take = 20 }\n\
         goals = [\"untargeted\"]\nthreats = [{ norm = \"linf\", eps = [\"8/255\"] }]\nattacks = [{ name = \"fgsm\" }]\n",
    )
    .unwrap();
    ok(foolproof().current_dir(folder.path()).args(["--config", "s.toml"]));
    // what the training measured is what a sweep measures: batch norms are folded right
    let summary = fs::read_to_string(folder.path().join("results/s/tables/summary.csv")).unwrap();
    let mut lines = csv::Reader::from_reader(summary.as_bytes());
    let column = lines.headers().unwrap().iter().position(|name| name == "clean_correct").unwrap();
    let clean = lines.records().next().unwrap().unwrap()[column].to_string();
    assert_eq!(rows.lines().last().unwrap().split(',').nth(8).unwrap(), clean);
}

#[test]
fn twenty_kills_change_no_byte() {
    let file = HEAD.to_string()
        + "[[train]]\nmodel = \"killed\"\nrecipe = \"fast-at\"\nepochs = 3\nbatch = 6\n\
           [[train]]\nmodel = \"freed\"\nrecipe = \"free\"\nepochs = 1\nbatch = 8\nreplays = 2\n";
    let [whole, killed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    ok(&mut train(whole.path(), &file));
    let mut stream = Streams::new(0, "kills").stream(0, 0, "when");
    let mut kills = 0;
    for round in 0.. {
        assert!(round < 400, "it never ends");
        let mut child = train(killed.path(), &file).args(["--quiet", "--checkpoint", "0"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + stream.below(250) as u64));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            if kills >= 20 {
                break;
            }
            // too fast for twenty: once more from the beginning, and killed earlier
            fs::remove_dir_all(killed.path().join("results")).unwrap();
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if kills >= 20 {
            ok(train(killed.path(), &file).arg("--quiet"));
            break;
        }
    }
    for model in ["killed", "freed"] {
        assert_eq!(digest(whole.path(), model), digest(killed.path(), model), "{model}");
    }
    let table = |folder: &Path| fs::read_to_string(folder.join("results/t/tables/training.csv")).unwrap();
    assert_eq!(table(whole.path()), table(killed.path()));
}

#[test]
fn what_is_wrong_is_said_with_a_way_out() {
    let one = "[[train]]\nmodel = \"m\"\nrecipe = \"standard\"\nepochs = 1\n";
    let file = HEAD.to_string() + one;
    for (from, to, says) in [
        ("classes = 10", "classes = 7", "10 classes, and the network has 7 (hint: classes = 10"),
        ("side = 32", "side = 64", "images of side 32, and the network takes side 64"),
        ("take = 90", "take = 1", "1 images, and 2 is the least"),
        ("take = 90", "first = 3000", "does not fit"),
        ("split = \"test\"", "first = 80", "10 of its images are in `data`"),
        ("\"shapes\"\nsplit", "\"blank-cifar10\"\nsplit", "no split"),
        ("recipe = \"standard\"", "recipe = \"standart\"", "unknown `recipe` `standart`"),
        ("epochs = 1", "epochs = 1\nbeta = 3", "`beta` is no key of recipe `standard`"),
        ("epochs = 1", "epochs = 1\neps = \"9\"", "`eps`: expected a fraction above 0, up to 1"),
        ("epochs = 1", "epochs = 0", "`epochs`: expected a whole number from 1"),
        ("epochs = 1", "epochs = 1\nmomentum = 1.5", "`momentum`: expected a number from 0, below 1"),
        ("model = \"m\"", "model = \"../m\"", "`model` becomes a name of files"),
        ("model = \"m\"", "model = \"vgg11-half-cifar10\"", "brings along"),
        ("family = \"resnet18_cifar\"\nwidth = 0.0625", "family = \"vit_tiny_patch16_224\"", "VGG and ResNet"),
        ("family = \"resnet18_cifar\"", "family = \"resnet18_cifar\"\nweights = \"w\"", "weights"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert!(file.contains(from), "{from}");
        let output = train(folder.path(), &file.replacen(from, to, 1)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(says), "{to}: {text}");
        let ways = ["(hint: ", "(known: ", "expected", "use letters"];
        assert!(ways.iter().any(|way| text.contains(way)), "{text}");
        assert!(!folder.path().join("configs").exists(), "{to}");
    }
}

#[test]
fn a_rate_that_diverges_stops_and_keeps_the_last_sound_state() {
    let folder = tempfile::tempdir().unwrap();
    let file = HEAD.to_string() + "[[train]]\nmodel = \"m\"\nrecipe = \"standard\"\nbatch = 15\nlearning_rate = 1e6\n";
    let output = train(folder.path(), &file).args(["--checkpoint", "0"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("no finite number any more at epoch") && text.contains("smaller `learning_rate`"), "{text}");
    assert!(!folder.path().join("configs/models/m.toml").exists());
    let state = fs::read(folder.path().join("results/t/training/m.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&state).unwrap();
    for (name, tensor) in tensors.tensors() {
        let sound = tensor.data().as_chunks::<4>().0.iter().all(|b| f32::from_le_bytes(*b).is_finite());
        assert!(sound || !name.starts_with("tensors."), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_takes_no_models_is_told_before_hours_of_training() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("configs"), "a file").unwrap();
    let file = HEAD.to_string() + "[[train]]\nmodel = \"m\"\nrecipe = \"standard\"\n";
    let output = train(folder.path(), &file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("configs/models"), "{text}");
    assert!(!text.contains("epoch 1/"), "{text}");
}

#[test]
fn what_lies_there_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = HEAD.to_string() + "[[train]]\nmodel = \"m\"\nrecipe = \"standard\"\nepochs = 1\n";
    let model = folder.path().join("configs/models/m.toml");
    fs::create_dir_all(model.parent().unwrap()).unwrap();
    fs::write(&model, "family = \"vgg11\"\n").unwrap();
    let refused = train(folder.path(), &file).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no training wrote it"));
    assert_eq!(fs::read_to_string(&model).unwrap(), "family = \"vgg11\"\n");
    fs::remove_file(&model).unwrap();
    ok(&mut train(folder.path(), &file));
    let first = digest(folder.path(), "m");
    // another recipe under the same name
    let other = file.replace("epochs = 1", "epochs = 1\ncrop = 0");
    let refused = train(folder.path(), &other).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("by another recipe"));
    assert_eq!(digest(folder.path(), "m"), first);
    ok(train(folder.path(), &other).arg("--restart"));
    assert_ne!(digest(folder.path(), "m"), first);
    // a state that is cut off or altered
    let state = folder.path().join("results/t/training/m.safetensors");
    let bytes = fs::read(&state).unwrap();
    let altered = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    for damaged in [bytes[..bytes.len() / 2].to_vec(), altered(bytes.len() - 1), altered(bytes.len() / 2)] {
        fs::write(&state, damaged).unwrap();
        let refused = train(folder.path(), &other).output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("no sound state"), "{refused:?}");
    }
}
