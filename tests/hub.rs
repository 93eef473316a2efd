//! The Hub against a server of our own: what is found, where it is kept, and what the server sees.

mod support;

use foolproof::digest::sha256;
use foolproof::hub::settings::Settings;
use foolproof::hub::{Event, Hub, Kind, RemoteFile};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::hub_server::{Fault, Host, HubServer, git_hash, model_file, noise};

const REPOSITORY: &str = "timm/vgg16.tv_in1k";
const WEIGHTS: &str = "model.safetensors";

/// A server with one repository of an LFS file and a plain one; the commit; the LFS file's bytes.
fn server() -> (HubServer, String, Vec<u8>) {
    let server = HubServer::start();
    let weights = noise(300_000, 1);
    let commit = server.put(Kind::Model, REPOSITORY, &[(WEIGHTS, &weights, true), ("config.json", b"{}", false)]);
    (server, commit, weights)
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn offline(server: &HubServer, cache: &Path) -> Hub {
    Hub::new(Settings { offline: true, ..server.settings(cache) })
}

#[test]
fn a_file_is_brought_once_and_kept_as_python_keeps_it() {
    let (server, commit, weights) = server();
    let cache = cache();
    let hub = server.hub(cache.path());
    let file = model_file(REPOSITORY, "main", WEIGHTS);
    assert!(hub.cached(&file).unwrap().is_none());
    let local = hub.get(&file).unwrap();
    let folder = cache.path().join("models--timm--vgg16.tv_in1k");
    assert_eq!(local.path, folder.join("snapshots").join(&commit).join(WEIGHTS));
    assert_eq!(fs::read(&local.path).unwrap(), weights);
    assert_eq!((local.sha256.as_str(), local.size, &local.commit), (sha256(&weights).as_str(), 300_000, &commit));
    assert_eq!(fs::read_link(&local.path).unwrap(), Path::new("../../blobs").join(sha256(&weights)));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), commit);
    assert!(cache.path().join(".locks/models--timm--vgg16.tv_in1k").join(sha256(&weights) + ".lock").is_file());
    let plain = hub.get(&model_file(REPOSITORY, &commit, "config.json")).unwrap();
    assert_eq!(fs::read_link(plain.path).unwrap(), Path::new("../../blobs").join(git_hash(b"{}")));
    assert!(fs::read_dir(folder.join("blobs")).unwrap().all(|e| e.unwrap().path().extension().is_none()));

    server.forget();
    assert_eq!(hub.cached(&file).unwrap().unwrap().path, local.path);
    assert_eq!(hub.get(&model_file(REPOSITORY, &commit, WEIGHTS)).unwrap().path, local.path);
    assert_eq!(server.requests().len(), 0, "what a commit holds never changes");
    assert_eq!(hub.get(&file).unwrap().path, local.path);
    assert_eq!(server.requests().len(), 1, "a branch may have moved");
    assert_eq!(server.body_bytes(), 0);
    let fetched: Vec<_> =
        hub.fetched().into_iter().map(|(f, l, downloaded)| (f.revision, f.path, l.path, downloaded)).collect();
    assert_eq!(fetched.len(), 3);
    assert_eq!(fetched[0], ("main".into(), WEIGHTS.into(), local.path.clone(), true));
    assert_eq!(fetched[2], (commit.clone(), WEIGHTS.into(), local.path, false));
}

#[test]
fn progress_and_requests_are_what_they_should_be() {
    let (server, commit, weights) = server();
    let cache = cache();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    let hub = server.hub(cache.path()).with_progress(move |event| {
        log.lock().unwrap().push(match event {
            Event::Begin { file, bytes } => format!("begin {} {bytes}", file.path),
            Event::Here(n) => format!("here {n}"),
            Event::End(whole) => format!("end {whole}"),
            Event::Note(text) => format!("note {text}"),
        });
    });
    hub.get(&model_file(REPOSITORY, "main", WEIGHTS)).unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.first().unwrap(), "begin model.safetensors 300000");
    assert_eq!(heard.last().unwrap(), "end true");
    assert_eq!(heard[heard.len() - 2], "here 300000");
    assert!(!heard.iter().any(|e| e.starts_with("note")), "{heard:?}");
    let requests: Vec<_> = server.requests().iter().map(|r| (r.host, r.method.clone(), r.target.clone())).collect();
    let lfs = format!("/lfs/{}?signature=secret", sha256(&weights));
    assert_eq!(
        requests,
        [
            (Host::Hub, "HEAD".into(), format!("/{REPOSITORY}/resolve/main/{WEIGHTS}")),
            (Host::Hub, "GET".into(), format!("/{REPOSITORY}/resolve/{commit}/{WEIGHTS}")),
            (Host::Cdn, "GET".into(), lfs),
        ]
    );
}

#[test]
fn odd_names_are_encoded_and_folders_are_kept() {
    let server = HubServer::start();
    let odd = "plain text/[train] 50%+ü.parquet";
    let commit = server.put(Kind::Dataset, "uoft-cs/cifar10", &[(odd, b"rows", true), ("a/b/c.txt", b"deep", false)]);
    let cache = cache();
    let hub = server.hub(cache.path());
    for (revision, path, bytes) in [("refs/convert/parquet", odd, b"rows"), (commit.as_str(), "a/b/c.txt", b"deep")] {
        let (repository, revision, path) = ("uoft-cs/cifar10".to_string(), revision.to_string(), path.to_string());
        let file = RemoteFile { kind: Kind::Dataset, repository, revision, path: path.clone(), sha256: None };
        let local = hub.get(&file).unwrap();
        assert!(local.path.ends_with(format!("datasets--uoft-cs--cifar10/snapshots/{commit}/{path}")));
        assert_eq!(fs::read(&local.path).unwrap(), bytes);
        assert!(offline(&server, cache.path()).get(&file).is_ok());
    }
    let refs = cache.path().join("datasets--uoft-cs--cifar10/refs/refs/convert/parquet");
    assert_eq!(fs::read_to_string(refs).unwrap(), commit);
    let target = &server.requests()[0].target;
    assert_eq!(
        target,
        "/datasets/uoft-cs/cifar10/resolve/refs%2Fconvert%2Fparquet/plain%20text/%5Btrain%5D%2050%25%2B%C3%BC.parquet"
    );
}

#[test]
fn a_tree_is_listed_page_by_page_and_offline_from_the_snapshot() {
    let server = HubServer::start();
    let names: Vec<String> = (0..10).map(|i| format!("data/{:02}.parquet", 9 - i)).collect();
    let mut files: Vec<(&str, &[u8], bool)> = names.iter().map(|n| (n.as_str(), n.as_bytes(), true)).collect();
    files.push(("README.md", b"card", false));
    server.put(Kind::Dataset, "o/n", &files);
    server.set_page(3);
    let cache = cache();
    let hub = server.hub(cache.path());
    let list = hub.list(Kind::Dataset, "o/n", "main", "data/").unwrap();
    let paths: Vec<&str> = list.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths.len(), 10);
    assert!(paths.is_sorted());
    assert!(list.iter().all(|f| f.sha256 == Some(sha256(f.path.as_bytes())) && f.revision == "main"));
    assert_eq!(server.requests().len(), 4);
    let all = hub.list(Kind::Dataset, "o/n", "main", "").unwrap();
    assert_eq!((all.len(), &all[0].path, &all[0].sha256), (11, &"README.md".to_string(), &None));

    let offline = offline(&server, cache.path());
    let problem = offline.list(Kind::Dataset, "o/n", "main", "").unwrap_err().to_string();
    assert!(problem.contains("o/n") && problem.contains("foolproof fetch"), "{problem}");
    for file in [&all[0], &all[1]] {
        hub.get(file).unwrap();
    }
    assert_eq!(offline.list(Kind::Dataset, "o/n", "main", "").unwrap(), all[..2]);
}

#[test]
fn the_list_of_a_commit_is_kept_and_then_needs_no_network() {
    let server = HubServer::start();
    let names: Vec<String> = (0..10).map(|i| format!("data/{i:02}.parquet")).collect();
    let files: Vec<(&str, &[u8], bool)> = names.iter().map(|n| (n.as_str(), n.as_bytes(), true)).collect();
    let commit = server.put(Kind::Dataset, "o/n", &files);
    server.set_page(3);
    let cache = cache();
    let (online, offline) = (server.hub(cache.path()), offline(&server, cache.path()));
    let list = |hub: &Hub, revision: &str, prefix: &str| hub.list(Kind::Dataset, "o/n", revision, prefix);
    let all = list(&online, &commit, "data/").unwrap();
    assert_eq!((all.len(), server.requests().len()), (10, 4));
    assert_eq!(all[7].sha256, Some(sha256(b"data/07.parquet")));
    // one file of ten is there: the list is whole all the same
    online.get(&all[0]).unwrap();
    server.forget();
    for hub in [&online, &offline] {
        assert_eq!(list(hub, &commit, "").unwrap(), all);
        assert_eq!(list(hub, &commit, "data/03").unwrap(), all[3..4]);
    }
    assert!(server.requests().is_empty());

    let kept = cache.path().join(format!("datasets--o--n/.foolproof/{commit}.json"));
    let text = fs::read_to_string(&kept).unwrap();
    let damaged = [
        text[..text.len() / 2].to_string(),
        text.replace("data/03", "../data"),
        text.replace(&sha256(b"data/07.parquet"), "0"),
        format!("[{}]", vec![r#"{"path":"x"}"#; 100_001].join(",")),
        format!("{}{text}", " ".repeat(33 << 20)),
    ];
    for text in damaged {
        fs::write(&kept, text).unwrap();
        assert_eq!(list(&offline, &commit, "").unwrap(), all[..1], "what the cache has");
    }
    server.forget();
    assert_eq!(list(&online, &commit, "").unwrap(), all);
    assert_eq!(server.requests().len(), 4, "it is listed anew");
    assert_eq!(list(&offline, &commit, "").unwrap(), all);
    assert_eq!(fs::read_dir(kept.parent().unwrap()).unwrap().count(), 1);

    // a branch is asked for each time; its list is kept if the Hub says of which commit it is
    let branch = |count: usize| RemoteFile { revision: "main".into(), ..all[count].clone() };
    fs::remove_file(&kept).unwrap();
    server.forget();
    server.order(Host::Hub, "GET", Fault::Header("X-Repo-Commit".into(), commit.clone()), 4);
    assert_eq!(list(&online, "main", "").unwrap().len(), 10);
    assert_eq!(server.requests().len(), 4);
    online.get(&branch(0)).unwrap();
    assert_eq!(list(&offline, "main", "").unwrap()[9], branch(9));
    server.forget();
    server.order(Host::Hub, "GET", Fault::Header("X-Repo-Commit".into(), "0".repeat(40)), 1);
    assert_eq!(list(&online, "main", "").unwrap().len(), 10, "a branch that moves between two pages");
    assert_eq!(server.requests().len(), 4);
    assert!(!kept.with_file_name("0".repeat(40) + ".json").exists());
}

#[test]
fn a_branch_that_cannot_be_noted_fails_no_file() {
    let (server, _, weights) = server();
    let cache = cache();
    let refs = cache.path().join("models--timm--vgg16.tv_in1k/refs");
    fs::create_dir_all(refs.parent().unwrap()).unwrap();
    fs::write(&refs, "no folder").unwrap();
    let local = server.hub(cache.path()).get(&model_file(REPOSITORY, "main", WEIGHTS)).unwrap();
    assert_eq!(local.sha256, sha256(&weights));
}

#[test]
fn a_copy_is_held_against_what_the_hub_says() {
    let (server, commit, weights) = server();
    let cache = cache();
    let hub = Hub::new(Settings { symlinks: false, ..server.settings(cache.path()) });
    for revision in [commit.as_str(), "main"] {
        for (path, bytes) in [(WEIGHTS, weights.as_slice()), ("config.json", b"{}".as_slice())] {
            let file = model_file(REPOSITORY, revision, path);
            let local = hub.get(&file).unwrap();
            server.forget();
            assert_eq!(hub.get(&file).unwrap().sha256, sha256(bytes));
            assert_eq!(server.requests().len(), 1, "{revision} {path}: only the Hub knows its hash");
            fs::write(&local.path, b"other").unwrap();
            assert_eq!(offline(&server, cache.path()).get(&file).unwrap().sha256, sha256(b"other"), "nothing is known");
            assert_eq!(hub.get(&file).unwrap().sha256, sha256(bytes), "{revision} {path}");
            assert_eq!(fs::read(&local.path).unwrap(), bytes);
            assert_eq!(server.body_bytes(), 0, "the blob was still there");
        }
    }
}

#[test]
fn a_branch_that_moves_is_followed_online_and_stands_still_offline() {
    let (server, old, weights) = server();
    let cache = cache();
    let file = model_file(REPOSITORY, "main", WEIGHTS);
    server.hub(cache.path()).get(&file).unwrap();
    let new = server.put(Kind::Model, REPOSITORY, &[("config.json", b"{\"new\": 1}", false)]);
    assert_ne!(old, new);
    assert_eq!(offline(&server, cache.path()).get(&file).unwrap().commit, old);
    server.forget();
    let local = server.hub(cache.path()).get(&file).unwrap();
    assert_eq!((local.commit, local.sha256), (new.clone(), sha256(&weights)));
    assert_eq!(server.body_bytes(), 0, "the same blob serves both commits");
    assert_eq!(offline(&server, cache.path()).get(&file).unwrap().commit, new);
}

#[test]
fn a_pin_is_held_before_and_after_the_download() {
    let (server, commit, weights) = server();
    let cache = cache();
    let hub = server.hub(cache.path());
    let pinned = |path: &str, pin: String| RemoteFile { sha256: Some(pin), ..model_file(REPOSITORY, &commit, path) };
    let wrong = sha256(b"another");
    for (path, bytes, sent) in [(WEIGHTS, weights.as_slice(), 0), ("config.json", b"{}".as_slice(), 2)] {
        server.forget();
        let problem = hub.get(&pinned(path, wrong.clone())).unwrap_err().to_string();
        assert!(problem.contains(&wrong) && problem.contains(&sha256(bytes)) && problem.contains(path), "{problem}");
        assert_eq!(server.body_bytes(), sent, "an LFS file's hash is known before");
        assert!(hub.cached(&pinned(path, wrong.clone())).unwrap().is_none(), "nothing is stored");
        assert_eq!(hub.get(&pinned(path, sha256(bytes).to_uppercase())).unwrap().sha256, sha256(bytes));
        // a right file under a wrong pin stays
        let problem = hub.get(&pinned(path, wrong.clone())).unwrap_err().to_string();
        assert!(problem.contains(&wrong), "{problem}");
        assert!(hub.cached(&pinned(path, sha256(bytes))).unwrap().is_some());
    }
    let problem = hub.get(&pinned(WEIGHTS, "unpinned".into())).unwrap_err().to_string();
    assert!(problem.contains("64 hexadecimal digits"), "{problem}");
}

#[test]
fn a_damaged_blob_is_never_used() {
    for (path, revision_is_commit) in [(WEIGHTS, true), (WEIGHTS, false), ("config.json", true), ("config.json", false)]
    {
        let (server, commit, weights) = server();
        let cache = cache();
        let notes = Arc::new(Mutex::new(String::new()));
        let log = notes.clone();
        let hub = server.hub(cache.path()).with_progress(move |e| {
            if let Event::Note(text) = e {
                log.lock().unwrap().push_str(text);
            }
        });
        let file = model_file(REPOSITORY, if revision_is_commit { &commit } else { "main" }, path);
        let local = hub.get(&file).unwrap();
        for damage in ["one bit", "cut", "empty"] {
            let mut bytes = fs::read(&local.path).unwrap();
            match damage {
                "one bit" => bytes[1] ^= 16,
                "cut" => drop(bytes.pop()),
                _ => bytes.clear(),
            }
            fs::write(&local.path, bytes).unwrap();
            let problem = offline(&server, cache.path()).get(&file).unwrap_err().to_string();
            assert!(
                problem.contains("damaged") && problem.contains("foolproof cache") && problem.contains(path),
                "{problem}"
            );
            assert!(hub.cached(&file).is_err());
            notes.lock().unwrap().clear();
            assert_eq!(hub.get(&file).unwrap().sha256, local.sha256, "{damage}: it is downloaded again");
            assert!(notes.lock().unwrap().contains("damaged"));
            let right = if path == WEIGHTS { weights.clone() } else { b"{}".to_vec() };
            assert_eq!(fs::read(&local.path).unwrap(), right);
        }
    }
}

#[test]
fn without_symlinks_snapshots_hold_copies() {
    let (server, commit, weights) = server();
    let cache = cache();
    let hub = Hub::new(Settings { symlinks: false, ..server.settings(cache.path()) });
    let file = RemoteFile { sha256: Some(sha256(&weights)), ..model_file(REPOSITORY, &commit, WEIGHTS) };
    let local = hub.get(&file).unwrap();
    assert!(fs::symlink_metadata(&local.path).unwrap().is_file());
    server.forget();
    assert_eq!(hub.get(&file).unwrap().sha256, sha256(&weights));
    assert!(server.requests().is_empty());
    // the pin is then the only hash that is known
    fs::write(&local.path, b"other").unwrap();
    assert!(offline(&server, cache.path()).get(&file).unwrap_err().to_string().contains("damaged"));
    assert_eq!(hub.get(&file).unwrap().sha256, sha256(&weights));
    assert_eq!(server.body_bytes(), 0, "the blob was still there");
    // a link that a killed process left is not written through
    let blobs = cache.path().join("models--timm--vgg16.tv_in1k/blobs");
    std::os::unix::fs::symlink(sha256(&weights), blobs.join(sha256(&weights) + ".link.incomplete")).unwrap();
    fs::remove_file(&local.path).unwrap();
    assert_eq!(hub.get(&file).unwrap().sha256, sha256(&weights));
    assert_eq!(fs::read(blobs.join(sha256(&weights))).unwrap(), weights);
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 1);
}

#[test]
fn offline_with_nothing_cached_names_file_url_and_command() {
    let cache = cache();
    let (server, commit, _) = server();
    for hub in [offline(&server, cache.path()), Hub::none()] {
        for revision in ["main", &commit] {
            let file = model_file(REPOSITORY, revision, WEIGHTS);
            let problem = hub.get(&file).unwrap_err();
            let text = problem.to_string();
            assert!(text.contains(&format!("/timm/vgg16.tv_in1k/resolve/{revision}/model.safetensors")), "{text}");
            assert!(text.contains("foolproof fetch") && text.contains("offline"), "{text}");
            assert_eq!(problem.exit_code(), 1);
            assert!(hub.cached(&file).unwrap().is_none());
        }
        assert!(hub.fetched().is_empty());
    }
    assert_eq!(server.requests().len(), 0);
}

/// The program, with a Hub's environment and nothing else of it.
fn program(cache: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = support::foolproof().env("HF_HUB_CACHE", cache).args(arguments).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_verb_cache_lists_and_verifies() {
    let (server, commit, _) = server();
    let cache = cache();
    let at = cache.path();
    assert_eq!(program(at, &["cache"]), (0, "kind,repository,commit,path,bytes,state\n".into(), String::new()));
    let hub = server.hub(at);
    let weights = hub.get(&model_file(REPOSITORY, &commit, WEIGHTS)).unwrap();
    hub.get(&model_file(REPOSITORY, &commit, "config.json")).unwrap();
    let lines = |text: &str| text.lines().skip(1).map(String::from).collect::<Vec<_>>();
    let row = |path: &str, rest: &str| format!("model,{REPOSITORY},{commit},{path},{rest}");
    let (code, out, _) = program(at, &["cache"]);
    assert_eq!((code, lines(&out)), (0, vec![row("config.json", "2,"), row(WEIGHTS, "300000,")]));
    let (code, out, _) = program(at, &["cache", "--verify"]);
    assert_eq!((code, lines(&out)), (0, vec![row("config.json", "2,ok"), row(WEIGHTS, "300000,ok")]));

    let folder = at.join("models--timm--vgg16.tv_in1k");
    fs::write(folder.join("blobs/0123.incomplete"), b"part").unwrap();
    fs::write(folder.join("snapshots").join(&commit).join("copy.txt"), b"copy").unwrap();
    fs::write(&weights.path, b"damaged").unwrap();
    fs::remove_file(folder.join("blobs").join(git_hash(b"{}"))).unwrap();
    assert_eq!(program(at, &["cache"]).0, 0, "nothing was read");
    // what is no file, or may not be read, is told and fails nothing
    std::os::unix::fs::symlink("..", folder.join("snapshots").join(&commit).join("to-a-folder")).unwrap();
    let pipe = folder.join("snapshots").join(&commit).join("a-pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (code, out, problem) = program(at, &["cache", "--verify"]);
    assert!(code == 1 && problem.contains("2 files") && problem.contains("config.json"), "{problem}");
    let leftover = format!("model,{REPOSITORY},,blobs/0123.incomplete,4,incomplete");
    let states = [
        row("a-pipe", ",unreadable"),
        row("config.json", ",broken"),
        row("copy.txt", "4,unknown"),
        row(WEIGHTS, "7,damaged"),
        row("to-a-folder", ",unreadable"),
    ];
    assert_eq!(lines(&out), [vec![leftover], states.to_vec()].concat());
}
