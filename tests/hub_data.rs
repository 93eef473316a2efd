//! Datasets of the Hub, from a server of our own in the exact layout: which files are asked for, what is checked, what is
//! left to be had offline.

mod support;
#[path = "support/tables.rs"]
mod tables;

use foolproof::data::{self, Choice, Preparation, Source, Subset};
use foolproof::digest::sha256;
use foolproof::error::Result;
use foolproof::hub::settings::Settings;
use foolproof::hub::{Hub, Kind};
use foolproof::record::TableRecord;
use foolproof::store::Store;
use foolproof::sweep::{plan, verify};
use parquet::basic::Compression;
use std::path::Path;
use support::hub_server::HubServer;
use support::{machine, stored, sweep};
use tables::{png, table};

const CIFAR: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn source(hub: Hub) -> Source {
    let mut source = Source::new("nowhere");
    source.hub = hub;
    source
}

fn load(name: &str, hub: &Hub, choice: &Choice) -> Result<Subset> {
    data::find(name).unwrap().subset(&source(hub.clone()), choice)
}

fn sample() -> Subset {
    load("cifar10-sample", &Hub::none(), &Choice::new("test", 0, None)).unwrap()
}

/// The 20 sample images as a file of the Hub's.
fn sample_table(label: &str, names: &[&str]) -> Vec<u8> {
    let sample = sample();
    let rows: Vec<_> = (0..20).map(|i| (png(sample.image(i), 32), sample.labels[i] as i64)).collect();
    table(&rows, ["img", label], names, Compression::SNAPPY, 7)
}

/// Rows of small pictures with these labels.
fn pictures(labels: std::ops::Range<i64>, names: &[&str]) -> Vec<u8> {
    let rows: Vec<_> = labels.map(|label| (png(&[label as u8; 3 * 81], 9), label)).collect();
    table(&rows, ["image", "label"], names, Compression::SNAPPY, 2)
}

fn prepared(split: &str, take: Option<usize>) -> Choice {
    Choice { preparation: Preparation::new(8, [8; 2]).ok(), ..Choice::new(split, 0, take) }
}

/// Paths that were asked for.
fn asked(server: &HubServer) -> Vec<String> {
    server.requests().into_iter().map(|r| r.target).collect()
}

const CIFAR10: &str = "uoft-cs/cifar10";
const TEST: &str = "plain_text/test-00000-of-00001.parquet";

#[test]
fn cifar10_comes_from_the_hub_as_it_lies_there_and_only_with_the_pinned_hash() {
    let (server, cache) = (HubServer::start(), tempfile::tempdir().unwrap());
    let bytes = sample_table("label", &CIFAR);
    let train = "plain_text/train-00000-of-00001.parquet";
    let commit = server.put(Kind::Dataset, CIFAR10, &[(TEST, &bytes, true), (train, b"unread", true)]);
    let hub = server.hub(cache.path());
    let named = |hash: Option<String>| {
        let table = TableRecord {
            repository: Some(CIFAR10.into()),
            revision: Some(commit.clone()),
            sha256: hash.into_iter().collect(),
            ..TableRecord::default()
        };
        Choice { table: Some(table), preparation: Preparation::new(32, [32; 2]).ok(), ..Choice::new("test", 0, None) }
    };
    let subset = load("parquet", &hub, &named(None)).unwrap();
    assert_eq!((&subset.digest, &subset.classes), (&sample().digest, &sample().classes));
    let file = &subset.sources[0];
    assert_eq!((file.pinned, &file.sha256, &file.commit, subset.sources.len()), (false, &sha256(&bytes), &commit, 1));
    let path = format!("/datasets/{CIFAR10}/resolve/{commit}/{TEST}");
    assert!(asked(&server).contains(&path), "{:?}", asked(&server));
    assert!(!asked(&server).iter().any(|target| target.contains("train-")));

    let pinned = load("parquet", &hub, &named(Some(sha256(&bytes)))).unwrap();
    assert!(pinned.sources[0].pinned && pinned.digest == subset.digest);
    let wrong = load("parquet", &hub, &named(Some("0".repeat(64)))).unwrap_err().to_string();
    assert!(wrong.contains("is pinned"), "{wrong}");

    // the registry's own entry asks for the real file: ours has the right name and another hash
    server.rename_commit(Kind::Dataset, CIFAR10, "0b2714987fa478483af9968de7c934580d0bb9a2");
    let wrong = load("cifar10", &hub, &Choice::new("test", 0, None)).unwrap_err().to_string();
    assert!(wrong.contains("841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"), "{wrong}");
    let nothing = load("cifar10", &Hub::none(), &Choice::new("test", 0, None)).unwrap_err().to_string();
    assert!(nothing.contains("no file nowhere/cifar10/test.bin") && nothing.contains("FOOLPROOF_DATA"), "{nothing}");
}

#[test]
fn an_entry_without_a_hash_is_read_and_said_to_be_unpinned() {
    let (server, cache) = (HubServer::start(), tempfile::tempdir().unwrap());
    let bytes = sample_table("fine_label", &[]);
    let name = "uoft-cs/cifar100";
    server.put(Kind::Dataset, name, &[("cifar100/train-00000-of-00001.parquet", &bytes, true)]);
    server.rename_commit(Kind::Dataset, name, "aadb3af77e9048adbea6b47c21a81e47dd092ae5");
    let subset = load("cifar100", &server.hub(cache.path()), &Choice::new("train", 0, Some(3))).unwrap();
    assert_eq!((subset.classes.len(), subset.pixels.as_slice()), (100, &sample().pixels[..3 * 3072]));
    assert!(!subset.sources[0].pinned);
}

#[test]
fn imagenet_needs_its_token_and_brings_no_shard_too_many() {
    let (server, cache) = (HubServer::start(), tempfile::tempdir().unwrap());
    let name = "ILSVRC/imagenet-1k";
    let path = |shard: usize| format!("data/validation-{shard:05}-of-00014.parquet");
    let shards: Vec<(String, Vec<u8>)> =
        (0..3).map(|k| (path(k), pictures(5 * k as i64..5 * k as i64 + 5, &[]))).collect();
    let files: Vec<(&str, &[u8], bool)> =
        shards.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice(), true)).collect();
    server.put(Kind::Dataset, name, &files);
    server.rename_commit(Kind::Dataset, name, "49e2ee26f3810fb5a7536bbf732a7b07389a47b5");
    server.gate(Kind::Dataset, name);
    server.set_token("hf_marker");
    let refused =
        load("imagenet-1k", &server.hub(cache.path()), &prepared("validation", Some(1))).unwrap_err().to_string();
    assert!(refused.contains(name) && refused.contains("HF_TOKEN"), "{refused}");

    let hub = server.hub_with_token(cache.path(), "hf_marker");
    let labels = |hub: &Hub, choice: &Choice| load("imagenet-1k", hub, choice).map(|s| s.labels);
    assert_eq!(labels(&hub, &prepared("validation", Some(5))).unwrap(), [0, 1, 2, 3, 4]);
    assert!(
        asked(&server).iter().any(|t| t.ends_with(&path(0))) && !asked(&server).iter().any(|t| t.ends_with(&path(1)))
    );
    let chosen = Choice { indices: Some(vec![8, 2]), ..prepared("validation", None) };
    assert_eq!(labels(&hub, &chosen).unwrap(), [8, 2]);
    assert!(
        asked(&server).iter().any(|t| t.ends_with(&path(1))) && !asked(&server).iter().any(|t| t.ends_with(&path(2)))
    );

    let offline = Hub::new(Settings { offline: true, ..server.settings(cache.path()) });
    assert_eq!(labels(&offline, &chosen).unwrap(), [8, 2]);
    let missing = labels(&offline, &prepared("validation", Some(11))).unwrap_err().to_string();
    assert!(missing.contains(&path(2)) && missing.contains("foolproof fetch"), "{missing}");
    // a shuffled subset must know how many there are
    let shuffled = Choice { shuffle: Some(1), ..prepared("validation", Some(2)) };
    assert!(labels(&hub, &shuffled).unwrap_err().to_string().contains(&path(3)));
}

#[test]
fn imagenette_is_found_by_the_hubs_list_and_offline_by_the_caches() {
    let (server, cache) = (HubServer::start(), tempfile::tempdir().unwrap());
    let name = "frgfm/imagenette";
    let [first, second] = [pictures(0..2, &["parachute", "tench"]), pictures(0..1, &["parachute", "tench"])];
    server.put(
        Kind::Dataset,
        name,
        &[
            ("320px/validation-00001-of-00002.parquet", &second, true),
            ("320px/validation-00000-of-00002.parquet", &first, true),
            ("320px/train-00000-of-00001.parquet", b"unread", true),
            ("160px/validation-00000-of-00001.parquet", b"unread", true),
            ("README.md", b"text", false),
        ],
    );
    server.rename_commit(Kind::Dataset, name, "4b23ffb92a8029db9958bdfdbd6978427d09b1a0");
    server.set_page(2);
    let hub = server.hub(cache.path());
    let all = load("imagenette", &hub, &prepared("validation", None)).unwrap();
    assert_eq!((all.labels.as_slice(), all.sources.len()), ([701, 0, 701].as_slice(), 2));
    let offline = Hub::new(Settings { offline: true, ..server.settings(cache.path()) });
    assert_eq!(load("imagenette", &offline, &prepared("validation", None)).unwrap().digest, all.digest);
    let none = load("imagenette-160px", &hub, &prepared("train", None)).unwrap_err().to_string();
    assert!(none.contains("no parquet file in the Hub's dataset `frgfm/imagenette`"), "{none}");
}

#[test]
fn mini_imagenet_is_found_again_at_a_commit_after_its_branch_moved() {
    let (server, cache) = (HubServer::start(), tempfile::tempdir().unwrap());
    let put = |labels: std::ops::Range<i64>| {
        let bytes = pictures(labels, &["tench", "n01443537", "parachute"]);
        server.put(Kind::Dataset, "timm/mini-imagenet", &[("data/test-00000-of-00001.parquet", &bytes, true)])
    };
    let first = put(0..2);
    let hub = server.hub(cache.path());
    let choice = prepared("test", Some(1));
    let before = load("mini-imagenet", &hub, &choice).unwrap();
    assert_eq!(before.sources[0].commit, first);
    put(1..3);
    assert_eq!(load("mini-imagenet", &hub.at(Some(&first)), &choice).unwrap().digest, before.digest);
    assert_ne!(load("mini-imagenet", &hub, &choice).unwrap().digest, before.digest);
}

#[test]
fn what_the_cache_lacks_of_a_table_is_missed_offline() {
    let server = HubServer::start();
    let (name, names) = ("timm/mini-imagenet", ["parachute", "tench"]);
    let path = |shard: usize| format!("data/train-{shard:05}-of-00003.parquet");
    let hashed = |shard: usize| format!("data/valid-{shard:05}-of-00002-70d52db3c749a93{shard}.parquet");
    let shard = pictures(0..2, &names);
    let paths: Vec<String> = (0..3).map(path).chain((0..2).map(hashed)).collect();
    let files: Vec<(&str, &[u8], bool)> = paths.iter().map(|p| (p.as_str(), shard.as_slice(), true)).collect();
    server.put(Kind::Dataset, name, &files);
    let offline = |cache: &Path| Hub::new(Settings { offline: true, ..server.settings(cache) });
    let shuffled = Choice { shuffle: Some(0), ..prepared("train", Some(2)) };
    let problem = |hub: &Hub, choice: &Choice| load("mini-imagenet", hub, choice).unwrap_err().to_string();

    let first = tempfile::tempdir().unwrap();
    let two = load("mini-imagenet", &server.hub(first.path()), &prepared("train", Some(2))).unwrap();
    assert_eq!(load("mini-imagenet", &offline(first.path()), &prepared("train", Some(2))).unwrap().digest, two.digest);
    let missing = problem(&offline(first.path()), &shuffled);
    assert!(missing.contains(&path(1)) && missing.contains("foolproof fetch"), "{missing}");
    let all = load("mini-imagenet", &server.hub(first.path()), &shuffled).unwrap();
    assert_eq!(load("mini-imagenet", &offline(first.path()), &shuffled).unwrap().digest, all.digest);

    // the last shard is not the first because it is alone
    let last = tempfile::tempdir().unwrap();
    let file = server.hub(last.path()).list(Kind::Dataset, name, "main", &path(2)).unwrap().remove(0);
    server.hub(last.path()).get(&file).unwrap();
    let missing = problem(&offline(last.path()), &prepared("train", Some(1)));
    assert!(missing.contains(&path(0)) && missing.contains("foolproof fetch"), "{missing}");

    // names that cannot be known
    let table = TableRecord { repository: Some(name.into()), ..TableRecord::default() };
    let valid = |take| Choice { table: Some(table.clone()), ..prepared("valid", Some(take)) };
    let one = tempfile::tempdir().unwrap();
    load("parquet", &server.hub(one.path()), &valid(2)).unwrap();
    assert_eq!(load("parquet", &offline(one.path()), &valid(2)).unwrap().len(), 2);
    let missing = load("parquet", &offline(one.path()), &valid(3)).unwrap_err().to_string();
    assert!(
        missing.contains("data/valid-00001-of-00002-….parquet") && missing.contains("foolproof fetch"),
        "{missing}"
    );
}

#[test]
fn a_run_on_a_dataset_of_the_hub_is_verified_from_the_cache() {
    let (server, cache) = (HubServer::start(), tempfile::tempdir().unwrap());
    server.put(Kind::Dataset, CIFAR10, &[(TEST, &sample_table("label", &CIFAR), true)]);
    let text = r#"
name = "hub"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "parquet", repository = "uoft-cs/cifar10", files = "plain_text/test-*.parquet", resize = 32, take = 4 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
"#;
    let online = source(server.hub(cache.path()));
    let unpinned = plan::parse(Path::new("x.toml"), text, &online).unwrap().unpinned_data();
    assert!(unpinned.len() == 1 && unpinned[0].contains(TEST) && unpinned[0].contains("SHA-256"), "{unpinned:?}");
    let (folder, cells) = sweep(text, &online, None);
    let kept = stored(folder.path(), &cells).remove(0);
    assert_eq!(kept.provenance.data_files[0].path, TEST);
    for name in ["summary.csv", "images.csv"] {
        let mut table = csv::Reader::from_path(folder.path().join("tables").join(name)).unwrap();
        let column = table.headers().unwrap().iter().position(|h| h == "data_pinned").unwrap();
        assert!(table.records().all(|row| &row.unwrap()[column] == "no"), "{name}");
    }
    // the branch moves on to other images
    let other = sample_table("label", &["x"; 10]);
    let moved = server.put(Kind::Dataset, CIFAR10, &[(TEST, &other, true)]);
    assert_ne!(kept.provenance.data_files[0].commit, moved);
    server.forget();
    for offline in [false, true] {
        let source = source(Hub::new(Settings { offline, ..server.settings(cache.path()) }));
        let findings = verify::verify(&Store::open(folder.path()).unwrap(), &source, &machine(None)).unwrap();
        assert!(findings.problems.is_empty() && findings.witnesses == 4, "{offline}: {:?}", findings.problems);
    }
    assert_eq!(server.body_bytes(), 0, "nothing is downloaded for it");
}
