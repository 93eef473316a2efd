//! Models that come from elsewhere, over a Hub on this machine: pinned, unpinned, described by themselves; and those that are
//! known by name.

mod support;
#[path = "support/vgg.rs"]
mod vgg;

use foolproof::config::Place;
use foolproof::data::Source;
use foolproof::digest::sha256;
use foolproof::hub::settings::Settings;
use foolproof::hub::{Hub, Kind};
use foolproof::model::{self, MODELS, ModelSource};
use foolproof::store::Store;
use foolproof::sweep::verify;
use std::fs;
use std::path::Path;
use support::hub_server::{HubServer, noise};
use support::machine;
use vgg::Head;

/// VGG-11 at 1/64 of its width, without the place of its weights.
const SMALL: &str = "family = \"vgg11\"\nwidth = 0.015625\nhead = \"linear\"\nclasses = 10\nside = 32\n\
                     mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n";

fn small() -> Vec<u8> {
    vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)))
}

/// A server with the small network as safetensors and as a pickle of PyTorch's; the commit.
fn server() -> (HubServer, String) {
    let server = HubServer::start();
    let pickle = fs::read("tests/data/weights/flat.pth").unwrap();
    let weights = small();
    let files = [("model.safetensors", weights.as_slice(), true), ("pytorch_model.bin", pickle.as_slice(), true)];
    let commit = server.put(Kind::Model, "somebody/small", &files);
    (server, commit)
}

fn problem(found: foolproof::error::Result<ModelSource>) -> String {
    found.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn weights_come_from_the_hub_and_what_pins_them_can_be_pasted() {
    let ((server, commit), folder) = (server(), tempfile::tempdir().unwrap());
    let hub = server.hub(&folder.path().join("cache"));
    let path = folder.path().join("mine.toml");
    let find = |lines: &str| {
        fs::write(&path, format!("{SMALL}hub = \"somebody/small\"\n{lines}\n")).unwrap();
        model::find(path.to_str().unwrap(), Path::new("."), &hub)
    };
    let unpinned = find("sha256 = \"unpinned\"").unwrap();
    let expected = unpinned.load().unwrap();
    assert_eq!((unpinned.name.as_str(), unpinned.is_pinned()), ("mine", false));
    assert_eq!(unpinned.origin.as_deref(), path.to_str());
    assert_eq!(unpinned.digest, sha256(&small()));
    let pin = unpinned.pin();
    assert_eq!(pin, format!("revision = \"{commit}\"\nsha256   = \"{}\"", unpinned.digest));
    let pinned = find(&pin).unwrap();
    assert!(pinned.is_pinned() && pinned.load().unwrap() == expected);
    assert_eq!(pinned.record(), unpinned.record(), "a pin changes no cell");
    let pickle = find("file = \"pytorch_model.bin\"").unwrap();
    assert!(pickle.load().unwrap() == expected && pickle.digest != pinned.digest);

    let other = problem(find(&format!("sha256 = \"{}\"", "0".repeat(64))));
    assert!(other.contains(&"0".repeat(64)) && other.contains(&pinned.digest), "{other}");
    let nothing = problem(find("file = \"weights.bin\""));
    assert!(nothing.contains("weights.bin") && nothing.contains("somebody/small"), "{nothing}");
    // a cached file that is changed under our feet
    let cached = fs::canonicalize(
        hub.get(&support::hub_server::model_file("somebody/small", &commit, "model.safetensors")).unwrap().path,
    )
    .unwrap();
    let mut other = fs::read(&cached).unwrap();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&cached, other).unwrap();
    assert!(pinned.load().map(drop).unwrap_err().to_string().contains("changed since it was checked"));
}

#[test]
fn model_files_say_where_weights_are_in_one_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let find = |text: &str| {
        fs::write(&path, text).unwrap();
        problem(model::find(path.to_str().unwrap(), Path::new("."), &Hub::none()))
    };
    for (lines, expected) in [
        ("", "missing key `weights` (a file) or `hub` (\"owner/name\")"),
        ("weights = \"a\"\nhub = \"a/b\"\n", "weights are in one place"),
        ("weights = \"a\"\nrevision = \"main\"\n", "`revision` belongs to `hub`"),
        ("hub = \"vgg16\"\n", "`hub`: expected \"owner/name\", found \"vgg16\""),
        ("hub = \"../..\"\n", "`hub`: expected \"owner/name\""),
        ("hub = \"a/b\"\nsha256 = \"unpined\"\n", "64 lower-case hexadecimal digits, or \"unpinned\""),
        ("weights = \"a\"\nkeys = \"tim\"\n", "unknown `keys` `tim` (hint: did you mean `timm`?)"),
        ("weights = \"a\"\nresize = 0\n", "`resize`: expected a whole number from 1"),
    ] {
        let found = find(&format!("{SMALL}{lines}"));
        assert!(found.contains(expected), "{lines}: {found}");
    }
    let alone = find("hub = \"a/b\"\nclasses = 10\n");
    assert!(alone.contains("unknown key `classes`"), "{alone}");
    for name in ["hub:", "hub:vgg16", "hub:a/b/c", "hub:a/b@", "hub:../x"] {
        let found = problem(model::find(name, Path::new("."), &Hub::none()));
        assert!(found.contains("expected hub:owner/name or hub:owner/name@revision"), "{name}: {found}");
    }
}

const CONFIG: &str = r#"{"architecture": "vgg16", "num_classes": 1000, "pretrained_cfg": {"input_size": [3, 224, 224],
    "interpolation": "bilinear", "crop_pct": 0.875, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#;

#[test]
fn a_vgg16_of_full_size_describes_itself_and_comes_over_the_hub() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let mut tensors = vgg::tensors("vgg16", 1.0, Head::Mlp(1000));
    vgg::as_timm(&mut tensors);
    let bytes = vgg::safetensors(&tensors);
    drop(tensors);
    let files = [("config.json", CONFIG.as_bytes(), false), ("model.safetensors", bytes.as_slice(), true)];
    let commit = server.put(Kind::Model, "somebody/vgg16", &files);
    let cache = folder.path().join("cache");
    let source = model::find("hub:somebody/vgg16", Path::new("."), &server.hub(&cache)).unwrap();
    assert_eq!((source.name.as_str(), source.file.resize, source.is_pinned()), ("vgg16", Some(256), false));
    let origin = format!("hub:somebody/vgg16@{commit}");
    assert_eq!(source.origin.as_ref(), Some(&origin));
    let expected =
        Place::Hub { repository: "somebody/vgg16".into(), revision: commit.clone(), file: "model.safetensors".into() };
    assert_eq!(source.file.place, expected);
    let pin = format!("hub      = \"somebody/vgg16\"\nrevision = \"{commit}\"\nsha256   = \"{}\"", source.digest);
    assert_eq!((source.digest.as_str(), source.pin()), (sha256(&bytes).as_str(), pin.clone()));
    assert_eq!(
        source.network(),
        "vgg16 width=1 head=mlp classes=1000 side=224 mean=[0.485, 0.456, 0.406] std=[0.229, 0.224, 0.225]"
    );
    let graph = source.load().unwrap();
    // 13 convolutions with their ReLUs, 5 pools; the map as a vector; 3 layers and the 2 ReLUs between them
    assert_eq!((graph.classes(), graph.size(), graph.nodes().len()), (1000, [224, 224], 2 * 13 + 5 + 1 + 5));
    drop(graph);

    // what was pasted, and how a run finds it again, need no network
    let offline = Hub::new(Settings { offline: true, ..server.settings(&cache) });
    let path = folder.path().join("pasted.toml");
    fs::write(&path, pin).unwrap();
    for (name, pinned) in [(origin.as_str(), false), (path.to_str().unwrap(), true)] {
        let again = model::find(name, Path::new("."), &offline).unwrap();
        assert_eq!(
            (again.digest.as_str(), again.network(), again.is_pinned()),
            (source.digest.as_str(), source.network(), pinned)
        );
    }
}

#[test]
fn descriptions_of_what_is_not_built_here_are_refused() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let hub = server.hub(&folder.path().join("cache"));
    let long = format!("{CONFIG}{}", " ".repeat(2 << 20));
    for (config, expected) in [
        (CONFIG.replace("vgg16", "swin_tiny"), "config.json: architecture `swin_tiny` is none that is built here"),
        (CONFIG.to_string(), "no model.safetensors and no pytorch_model.bin (hint:"),
        ("[".into(), "config.json: EOF"),
        (long, "more than a description has"),
    ] {
        server.put(Kind::Model, "somebody/else", &[("config.json", config.as_bytes(), false)]);
        let found = problem(model::find("hub:somebody/else", Path::new("."), &hub));
        assert!(found.starts_with("model `hub:somebody/else`: ") && found.contains(expected), "{found}");
    }
}

const SWEEP: &str = r#"
name = "hub"
[[sweep]]
models  = ["MODEL"]
data    = { name = "cifar10-sample", take = 4 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
"#;

#[test]
fn a_sweep_says_in_every_row_whether_its_weights_are_pinned() {
    let ((server, commit), folder) = (server(), tempfile::tempdir().unwrap());
    let at = folder.path();
    let pin = format!("revision = \"{commit}\"\nsha256 = \"{}\"\n", sha256(&small()));
    let mut ids = Vec::new();
    for (lines, pinned, out) in [("", "no", "a"), (pin.as_str(), "yes", "b"), (pin.as_str(), "yes", "a")] {
        fs::write(at.join("mine.toml"), format!("{SMALL}hub = \"somebody/small\"\n{lines}")).unwrap();
        fs::write(at.join("sweep.toml"), SWEEP.replace("MODEL", "mine.toml")).unwrap();
        let run = support::foolproof()
            .args(["--config", "sweep.toml", "--out", out])
            .current_dir(at)
            .env("HF_ENDPOINT", server.endpoint())
            .env("HF_HOME", at.join("home"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{said}");
        let warned = said.contains("warning: nothing pins model `mine`");
        assert_eq!(warned, pinned == "no", "{said}");
        if warned {
            assert!(said.contains("put this into mine.toml)\n"), "{said}");
            assert!(said.contains(&format!("revision = \"{commit}\"")) && said.contains(&sha256(&small())), "{said}");
        }
        for table in ["summary", "images"] {
            let text = fs::read(at.join(out).join("hub/tables").join(format!("{table}.csv"))).unwrap();
            let mut reader = csv::Reader::from_reader(text.as_slice());
            let column = reader.headers().unwrap().iter().position(|h| h == "weights_pinned").unwrap();
            let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
            assert!(!rows.is_empty() && rows.iter().all(|row| &row[column] == pinned), "{table}: {rows:?}");
            ids.push(rows[0][0].to_string());
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "a pin changes no cell: {ids:?}");

    // the run finds its model again
    let verified = support::foolproof()
        .args(["verify", "hub", "--out", "b"])
        .current_dir(at)
        .env("HF_ENDPOINT", server.endpoint())
        .env("HF_HOME", at.join("home"))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn a_run_is_verified_at_its_own_commits_after_the_branches_moved() {
    let ((server, commit), folder) = (server(), tempfile::tempdir().unwrap());
    server.put(Kind::Model, "somebody/asked", &[("model.safetensors", &small(), true)]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (name, repository) in [("attacked.toml", "small"), ("asked.toml", "asked")] {
        fs::write(at(name), format!("{SMALL}hub = \"somebody/{repository}\"\n")).unwrap();
    }
    let text = SWEEP.replace("MODEL", &at("attacked.toml")) + &format!("transfer_to = [\"{}\"]\n", at("asked.toml"));
    let mut source = Source::new("nowhere");
    source.hub = server.hub(&folder.path().join("cache"));
    let (run, cells) = support::sweep(&text, &source, None);
    let store = Store::open(run.path()).unwrap();
    assert_eq!(store.read(&cells[0].id).unwrap().provenance.model_commit, Some(commit));

    let other = vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)).split_off(1));
    for repository in ["somebody/small", "somebody/asked"] {
        server.put(Kind::Model, repository, &[("model.safetensors", &other, true)]);
    }
    server.forget();
    for offline in [false, true] {
        source.hub = Hub::new(Settings { offline, ..server.settings(&folder.path().join("cache")) });
        let findings = verify::verify(&store, &source, &machine(None)).unwrap();
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        assert_eq!((findings.witnesses, findings.transfers), (4, 4));
    }
    assert!(server.requests().is_empty(), "what lies in the cache is not asked for");
    // the branch has moved indeed
    source.hub = server.hub(&folder.path().join("cache"));
    assert_eq!(model::find(&at("attacked.toml"), Path::new("."), &source.hub).unwrap().digest, sha256(&other));
}

#[test]
fn a_repository_that_describes_itself_is_pinned_by_a_commit_and_found_again_at_it() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let hub = server.hub(&folder.path().join("cache"));
    let weights = noise(1000, 1);
    let put = |config: &str| {
        let files = [("config.json", config.as_bytes(), false), ("model.safetensors", weights.as_slice(), true)];
        server.put(Kind::Model, "somebody/vgg16", &files)
    };
    let commit = put(CONFIG);
    let path = folder.path().join("mine.toml");
    let find = |lines: &str, hub: &Hub| {
        fs::write(&path, format!("hub = \"somebody/vgg16\"\nsha256 = \"{}\"\n{lines}", sha256(&weights))).unwrap();
        model::find(path.to_str().unwrap(), Path::new("."), hub).unwrap()
    };
    let loose = find("", &hub);
    assert!(!loose.is_pinned(), "mean and std are whatever `main` says");
    assert!(loose.pin().contains(&format!("revision = \"{commit}\"")));
    server.forget();
    let pinned = find(&format!("revision = \"{commit}\"\n"), &hub);
    assert!(pinned.is_pinned() && pinned.record() == loose.record());
    assert!(server.requests().is_empty(), "a commit that lies here needs no list: {:?}", server.requests());

    put(&CONFIG.replace("0.485", "0.5"));
    assert_ne!(find("", &hub).record(), loose.record());
    assert_eq!(find("", &hub.at(Some(&commit))).record(), loose.record());
}

#[test]
fn a_model_known_by_name_is_found_again_at_a_commit_and_prints_its_whole_description() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let (at, hub) = (folder.path(), server.hub(&folder.path().join("cache")));
    let put = |seed| server.put(Kind::Model, "timm/vgg13.tv_in1k", &[("model.safetensors", &noise(1000, seed), true)]);
    let find = |hub: &Hub| model::find("vgg13.tv_in1k", Path::new("."), hub).unwrap().digest;
    let (commit, first) = (put(1), find(&hub));
    put(2);
    assert_ne!(find(&hub), first);
    assert_eq!(find(&hub.at(Some(&commit))), first);

    // without a checkout there is no model file to put a pin into
    let commit = put(3);
    let sweep = "name = \"x\"\n[[sweep]]\nmodels = [\"vgg13.tv_in1k\"]\ngoals = [\"target:0\"]\n\
                 data = { name = \"blank-imagenet\" }\nthreats = [{ norm = \"any\" }]\nattacks = [{ name = \"class-max\" }]\n";
    fs::write(at.join("sweep.toml"), sweep).unwrap();
    let fetch = || {
        let mut command = support::foolproof();
        command.args(["fetch", "sweep.toml"]).current_dir(at).env("HF_HOME", at.join("home"));
        let output = command.env("HF_ENDPOINT", server.endpoint()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let said = fetch().1;
    assert!(said.contains("save this as configs/models/vgg13.tv_in1k.toml)\n    family "), "{said}");
    assert!(!said.contains('#'), "what its comments say holds no longer: {said}");
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    fs::create_dir_all(at.join("configs/models")).unwrap();
    fs::write(at.join("configs/models/vgg13.tv_in1k.toml"), lines.join("\n")).unwrap();
    put(4);
    let (brought, said) = fetch();
    assert!(brought.contains(&commit) && brought.contains(&sha256(&noise(1000, 3))), "{brought}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_commit_whose_only_weights_are_a_pickle_needs_no_list_where_none_is_to_be_had() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let hub = server.hub(&folder.path().join("cache"));
    let files = [("config.json", CONFIG.as_bytes(), false), ("pytorch_model.bin", &noise(1000, 1), true)];
    let commit = server.put(Kind::Model, "somebody/vgg16", &files);
    let name = format!("hub:somebody/vgg16@{commit}");
    let found = model::find(&name, Path::new("."), &hub).unwrap();
    // the Hub answers nothing any more
    server.gate(Kind::Model, "somebody/vgg16");
    let again = model::find(&name, Path::new("."), &hub).unwrap();
    assert_eq!((again.digest, again.file.place), (found.digest, found.file.place));
}

#[test]
fn what_is_known_of_a_repository_counts_before_what_it_says_of_itself() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let hub = server.hub(folder.path());
    for name in ["hub:timm/vgg16.tv_in1k", "vgg16.tv_in1k"] {
        server.forget();
        let found = problem(model::find(name, Path::new("."), &hub));
        assert!(found.contains("timm/vgg16.tv_in1k"), "{found}");
        let asked = server.requests();
        let expected = "/timm/vgg16.tv_in1k/resolve/b8d8aa2dd860af9233c8c67385a8097fd6c35d3f/model.safetensors";
        assert!(!asked.is_empty() && asked.iter().all(|r| r.target == expected), "{asked:?}");
    }
}

#[test]
fn a_repository_of_several_known_models_says_their_names() {
    let found = problem(model::find("hub:madrylab/robust-imagenet-models", Path::new("."), &Hub::none()));
    assert!(found.contains("(hint: one of `salman2020-resnet50-linf`, `salman2020-resnet50-l2`)"), "{found}");
}

#[test]
fn every_model_file_of_the_repository_is_known_by_name_and_sound() {
    let mut files: Vec<String> = fs::read_dir("configs/models")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".toml").map(String::from))
        .collect();
    files.sort();
    let mut known: Vec<&str> = MODELS.iter().map(|m| m.name).collect();
    known.sort();
    assert_eq!(files, known);
    let mut from_hub = 0;
    for known in &MODELS {
        let file = known.file().unwrap();
        assert!(model::families::checked(&file).is_ok(), "{}", known.name);
        if let Place::Hub { repository, revision, .. } = &file.place {
            from_hub += 1;
            // where a repository holds one model, that has its name
            let (owner, name) = repository.split_once('/').unwrap();
            assert!(name == known.name || !["timm", "edadaltocg"].contains(&owner), "{name}: {}", known.name);
            let commit = revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(commit || revision == "main", "{name}: {revision}");
        }
        if let Some(robust) = &file.robust {
            assert!(["linf", "l2"].contains(&robust.norm.as_str()) && robust.attack == "autoattack", "{}", known.name);
            assert!(robust.accuracy.correct < file.published.unwrap().correct, "{}", known.name);
        }
    }
    assert_eq!(from_hub, 21);
    let listed = support::foolproof().arg("models").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 1 + MODELS.len());
    assert!(listed.contains("\nvgg13.tv_in1k,vgg13,,224,1000,unpinned,34964/50000 on imagenet-val,"), "{listed}");
    assert!(listed.contains(",hub,timm/vgg13.tv_in1k,main,,\n"), "{listed}");
    assert!(
        listed.contains(",main,6731/10000 on cifar10-test by autoattack in linf at 8/255,\"RobustBench, "),
        "{listed}"
    );
}
