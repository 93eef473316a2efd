//! One run of many iterations serves the cells with fewer: with the rows, costs and witnesses they would have had alone.

mod support;

use foolproof::data::Source;
use foolproof::store::Store;
use foolproof::sweep::plan;
use std::collections::BTreeMap;
use std::path::Path;
use support::{ran, stored};

fn text(attack: &str, mode: &str, witness: &str) -> String {
    format!(
        "name = \"marks\"\nseed = 5\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\", \"vgg11-half-cifar10-robust\"]\n\
         data = {{ name = \"cifar10-sample\", take = 10 }}\ngoals = [\"untargeted\", \"target:next\"]\nmode = \"{mode}\"\n\
         threats = [{{ norm = \"linf\", eps = [\"1/255\", \"2/255\", \"8/255\"] }}, {{ norm = \"l2\", eps = [\"0.2\"] }}]\n\
         witness = \"{witness}\"\nattacks = [{attack}]\n"
    )
}

/// Bytes of every cell by id, and the cells that a longer run served.
fn cells(text: &str, batch: Option<usize>) -> (BTreeMap<String, Vec<Vec<u8>>>, usize) {
    let (folder, cells) = ran(text, &Source::new("nowhere"), batch);
    let served = stored(folder.path(), &cells).iter().filter(|c| c.provenance.served_by.is_some()).count();
    let read = |id: &str| {
        let file = |name: &&str| std::fs::read(folder.path().join("cells").join(id).join(name)).unwrap();
        ["cell.json", "outcomes.csv", "witnesses.safetensors"].iter().map(file).collect()
    };
    (cells.iter().map(|c| (c.id.clone(), read(&c.id))).collect(), served)
}

const STEPS: [usize; 4] = [2, 3, 5, 9];

/// The same sweep at all step counts together, and at each alone; the cells that were served.
fn compare(params: &str, mode: &str, witness: &str, batch: Option<usize>) -> usize {
    let attack = |steps: &str| format!("{{ name = \"pgd\", steps = {steps}, {params} }}");
    let (together, served) = cells(&text(&attack(&format!("{STEPS:?}")), mode, witness), batch);
    let mut alone = BTreeMap::new();
    for steps in STEPS {
        let (cells, served) = cells(&text(&attack(&steps.to_string()), mode, witness), None);
        assert_eq!(served, 0, "alone");
        alone.extend(cells);
    }
    assert_eq!(together.len(), 2 * 2 * 4 * STEPS.len());
    assert!(together == alone, "{params} {mode} {witness}");
    served
}

#[test]
fn a_shorter_run_is_the_beginning_of_a_longer_one() {
    // two models, two goals, four budgets, and all step counts but the largest
    let shorter = 2 * 2 * 4 * (STEPS.len() - 1);
    assert_eq!(compare("step_size = \"0.7/255\", restarts = 3", "at", "u8", None), shorter);
    assert_eq!(compare("step_size = \"eps/4\", restarts = 2", "at", "f32", Some(7)), shorter);
    assert_eq!(compare("step_size = \"1/255\", random_start = false", "at", "u8", Some(3)), shorter);
}

#[test]
fn steps_that_depend_on_their_number_share_no_run() {
    assert_eq!(compare("step_size = \"2.5*eps/steps\"", "at", "u8", None), 0);
}

#[test]
fn budgets_within_budgets_share_the_first_rung_alone() {
    // the smallest of three budgets in one norm, the only one in the other
    assert_eq!(compare("step_size = \"1/255\"", "within", "u8", None), 2 * 2 * 2 * (STEPS.len() - 1));
}

#[test]
fn what_is_stored_already_is_not_needed_for_the_rest() {
    let attack = |steps: &str| format!("{{ name = \"pgd\", steps = {steps}, step_size = \"1/255\", restarts = 2 }}");
    let all = text(&attack("[2, 5, 9]"), "at", "u8");
    let (folder, before) = ran(&all, &Source::new("nowhere"), None);
    let store = Store::create(folder.path()).unwrap();
    let file = |id: &str| folder.path().join("cells").join(id).join("outcomes.csv");
    for gone in [vec!["2"], vec!["9"], vec!["2", "5"]] {
        let gone: Vec<_> = before.iter().filter(|c| gone.contains(&c.cell.attack.params["steps"].as_str())).collect();
        let bytes: Vec<_> = gone.iter().map(|c| std::fs::read(file(&c.id)).unwrap()).collect();
        gone.iter().for_each(|c| std::fs::remove_dir_all(folder.path().join("cells").join(&c.id)).unwrap());
        let plan = plan::parse(Path::new("test.toml"), &all, &Source::new("nowhere")).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let done = foolproof::sweep::run::run(&plan, &store, &support::machine(None), &stop, &mut |_| {}).unwrap();
        assert_eq!((done.computed, done.failed), (gone.len(), 0));
        assert!(gone.iter().zip(bytes).all(|(c, b)| std::fs::read(file(&c.id)).unwrap() == b));
    }
}

#[test]
fn a_list_of_values_stands_for_as_many_attacks() {
    let parse = |attack: &str| plan::parse(Path::new("s.toml"), &text(attack, "at", "u8"), &Source::new("nowhere"));
    let plan = parse("{ name = \"pgd\", steps = [1, 2], step_size = [\"eps\", \"eps/2\", \"1/255\"] }").unwrap();
    assert_eq!(plan.cells.len(), 2 * 2 * 4 * 6);
    let problem = parse("{ name = \"pgd\", steps = [1, [2]] }").err().unwrap().to_string();
    assert!(problem.contains("expected a number, true, false or a text, or a list of them"), "{problem}");
    let problem = parse("{ name = \"pgd\", steps = [1, 0] }").err().unwrap().to_string();
    assert!(problem.contains("`steps`: expected a whole number"), "{problem}");
    let problem = parse("{ name = \"pgd\", steps = [] }").err().unwrap().to_string();
    assert!(problem.contains("found an empty list") || problem.contains("or a list of them"), "{problem}");
}
