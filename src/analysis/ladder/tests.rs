use super::relations::*;
use super::*;
use crate::analysis::paired::Verdict;
use crate::analysis::summary::{Indicators, Rates, Tally};
use crate::record::tests::cell;
use crate::record::{Cell, DataRecord, ModelRecord, Outcome, StageRecord, TrainRecord};
use crate::terms::{Budget, Goal, Mode, Norm, Threat};

/// A complete cell of n images, of which those in `fooled` are fooled and all were right.
pub(crate) fn summary(n: usize, fooled: &[u32], change: impl Fn(&mut Cell)) -> Summary {
    let mut cell = cell();
    change(&mut cell);
    let verdicts = (0..n as u32).map(|example| {
        let hit = fooled.contains(&example);
        Verdict { example, right: true, fooled: hit, target: hit, clean_prediction: example % 10, near: false }
    });
    Summary {
        id: cell.id(),
        status: "ok",
        error: None,
        n: Some(n),
        rates: Some(Rates {
            n,
            labelled: true,
            clean_correct: n,
            robust_correct: n - fooled.len(),
            wrong: fooled.len(),
            robust_interval: None,
            median_linf_255: None,
            median_l2: None,
            forwards: None,
            backwards: None,
            zero_gradient: None,
        }),
        verdicts: verdicts.collect(),
        indicators: Indicators::default(),
        tally: Tally::default(),
        stages: Vec::new(),
        weights_pinned: true,
        data_pinned: true,
        cell,
    }
}

fn ratio(text: &str) -> Budget {
    Budget::Within(Norm::L2.budget(text).unwrap())
}

fn set(cell: &mut Cell, attack: &str, params: &[(&str, &str)]) {
    cell.attack.name = attack.into();
    cell.attack.params = params.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
}

fn at(eps: &str, fooled: &[u32]) -> Summary {
    summary(100, fooled, |c| c.threat.eps = ratio(eps))
}

/// Verdicts of the rows of one relation.
fn verdicts(cells: &[Summary], relation: &str) -> Vec<Judgement> {
    let rows = rows(cells, &Shapes::new(), &[]);
    rows.iter().filter(|r| r.relation == relation).map(|r| r.verdict).collect()
}

fn first(n: u32) -> Vec<u32> {
    (0..n).collect()
}

use Judgement::{Ok as Fine, Suspicious, Violated};

#[test]
fn robust_accuracy_falls_with_the_budget() {
    let relation = "robust accuracy falls with the budget";
    assert_eq!(verdicts(&[at("2/255", &first(5)), at("8/255", &first(30))], relation), [Fine]);
    // 3 against none: chance does that once in eight
    assert_eq!(verdicts(&[at("2/255", &first(3)), at("8/255", &[])], relation), [Fine]);
    // 5 against none: once in 32
    assert_eq!(verdicts(&[at("2/255", &first(5)), at("8/255", &[])], relation), [Suspicious]);
    assert_eq!(verdicts(&[at("2/255", &first(30)), at("8/255", &[])], relation), [Violated]);
    // neighbours in value, not in the order of the plan or of the text
    let rows = rows(&[at("16/255", &first(9)), at("8/255", &first(9)), at("2/255", &[])], &Shapes::new(), &[]);
    let eps = |id: &str| [at("16/255", &[]), at("8/255", &[]), at("2/255", &[])].iter().position(|s| s.id == id);
    let found: Vec<_> = rows
        .iter()
        .filter(|r| r.relation == relation)
        .map(|r| (eps(&r.cell), eps(r.against.as_deref().unwrap())))
        .collect();
    assert_eq!(found, [(Some(2), Some(1)), (Some(1), Some(0))]);
}

#[test]
fn within_leaves_nothing_to_chance() {
    let within = |eps: &str, fooled: &[u32]| {
        summary(100, fooled, |c| {
            (c.threat.eps, c.mode) = (ratio(eps), Mode::parse(&format!("within 1/255 {eps}")).unwrap())
        })
    };
    let relation = "robust accuracy falls with the budget";
    assert_eq!(verdicts(&[within("2/255", &[7]), within("8/255", &[7, 8])], relation), [Fine]);
    assert_eq!(verdicts(&[within("2/255", &[7]), within("8/255", &[8, 9])], relation), [Violated]);
}

#[test]
fn no_budget_fools_nothing() {
    assert_eq!(verdicts(&[at("0", &[])], "budget 0 equals clean"), [Fine]);
    assert_eq!(verdicts(&[at("0", &[3])], "budget 0 equals clean"), [Violated]);
    assert_eq!(verdicts(&[at("1/255", &[3])], "budget 0 equals clean"), []);
}

#[test]
fn more_steps_and_restarts_are_not_weaker() {
    let pgd = |steps: &str, restarts: &str, size: &str, fooled: &[u32]| {
        summary(100, fooled, |c| set(c, "pgd", &[("steps", steps), ("restarts", restarts), ("step_size", size)]))
    };
    let relation = "more steps are not weaker";
    let own = "2.5*eps/steps";
    assert_eq!(verdicts(&[pgd("40", "1", own, &first(9)), pgd("10", "1", own, &first(8))], relation), [Fine]);
    assert_eq!(verdicts(&[pgd("40", "1", own, &[1]), pgd("10", "1", own, &[2, 3])], relation), [Fine]);
    // the shorter run is the beginning of the longer one
    assert_eq!(verdicts(&[pgd("40", "1", "2/255", &[1]), pgd("10", "1", "2/255", &[2])], relation), [Suspicious]);
    assert_eq!(verdicts(&[pgd("40", "1", own, &[]), pgd("10", "1", own, &first(20))], relation), [Violated]);
    let relation = "more restarts are not weaker";
    assert_eq!(verdicts(&[pgd("10", "1", own, &first(3)), pgd("10", "5", own, &first(9))], relation), [Fine]);
    assert_eq!(verdicts(&[pgd("10", "1", own, &first(20)), pgd("10", "5", own, &first(2))], relation), [Violated]);
}

#[test]
fn attacks_that_know_less_are_not_stronger() {
    let attack = |name: &str, params: &[(&str, &str)], fooled: &[u32]| summary(100, fooled, |c| set(c, name, params));
    let steps = [("steps", "10")];
    let sound = [attack("noise", &[], &[1]), attack("fgsm", &[], &first(20)), attack("pgd", &steps, &first(30))];
    assert_eq!(verdicts(&sound, "noise is not stronger"), [Fine, Fine]);
    assert_eq!(verdicts(&sound, "iterations are not weaker than one step"), [Fine]);
    let broken = [attack("noise", &[], &first(10)), attack("fgsm", &[], &first(20)), attack("pgd", &steps, &first(4))];
    assert_eq!(verdicts(&broken, "noise is not stronger"), [Fine, Suspicious]);
    assert_eq!(verdicts(&broken, "iterations are not weaker than one step"), [Violated]);
    // other images, budgets or seeds are no pair
    let mut other = sound.clone();
    other[0].cell.seed = 1;
    other[1].cell.data.digest = "other".into();
    assert_eq!(rows(&other, &Shapes::new(), &[]).iter().filter(|r| r.against.is_some()).count(), 0);
}

#[test]
fn a_scan_may_at_most_be_suspicious() {
    let pixel = |variant: &str, fooled: &[u32]| {
        summary(100, fooled, |c| {
            set(c, "one-pixel", &[("variant", variant), ("objective", "goal")]);
            (c.threat.norm, c.threat.eps) = (Norm::Pixels, ratio("1"));
        })
    };
    let relation = "a scan is not weaker than evolution";
    assert_eq!(verdicts(&[pixel("paper", &first(8)), pixel("scan", &first(9))], relation), [Fine]);
    assert_eq!(verdicts(&[pixel("paper", &first(40)), pixel("scan", &[])], relation), [Suspicious]);
}

#[test]
fn patches_beat_their_controls() {
    let pasted = |attack: &str, content: &str, fooled: &[u32]| {
        summary(100, fooled, |c| {
            set(c, attack, &[("content", content)]);
            (c.threat.norm, c.threat.eps, c.goal) = (Norm::Patch, ratio("0.1"), Goal::Class(3));
        })
    };
    let relation = "a patch is not weaker than its controls";
    let (noise, grey) = (pasted("paste", "noise", &first(2)), pasted("paste", "grey", &[5]));
    assert_eq!(verdicts(&[pasted("patch", "", &first(60)), noise.clone(), grey.clone()], relation), [Fine, Fine]);
    let class = pasted("paste", "class", &first(40));
    assert_eq!(verdicts(&[pasted("patch", "", &first(3)), class], relation), [Violated]);
    let relation = "mean colour is like occlusion";
    assert_eq!(verdicts(&[pasted("paste", "mean", &[5, 6]), grey.clone()], relation), [Fine]);
    assert_eq!(verdicts(&[pasted("paste", "mean", &first(40)), grey], relation), [Suspicious]);
    assert_eq!(verdicts(&[noise], relation), []);
}

#[test]
fn an_unbounded_attack_leaves_no_more_than_guessing() {
    let shapes = Shapes::from([("11".to_string(), (10, 3 * 32 * 32))]);
    let judged = |eps: &str, norm: Norm, robust: u32| {
        let s = summary(100, &first(100 - robust), |c| (c.threat.eps, c.threat.norm) = (ratio(eps), norm));
        let rows = rows(&[s], &shapes, &[]);
        rows.iter().find(|r| r.relation == "an unbounded budget leaves nothing").map(|r| r.verdict)
    };
    assert_eq!(judged("1", Norm::Linf, 0), Some(Fine));
    assert_eq!(judged("1", Norm::Linf, 10), Some(Fine), "guessing");
    assert_eq!(judged("1/2", Norm::Linf, 16), Some(Suspicious));
    assert_eq!(judged("1", Norm::Linf, 60), Some(Violated));
    assert_eq!(judged("8/255", Norm::Linf, 60), None);
    assert_eq!(judged("8", Norm::L2, 60), None, "half the diagonal is 27.7");
    assert_eq!(judged("28", Norm::L2, 60), Some(Violated));
    assert_eq!(judged("999", Norm::L1, 60), None, "half of all values is 1536");
    let minimal = summary(100, &first(40), |c| {
        c.attack.name = "fmn".into();
        c.threat = Threat { norm: Norm::L1, eps: Budget::Minimal { passes: 20 } };
    });
    let rows = rows(&[minimal], &shapes, &[]);
    let verdict = rows.iter().find(|r| r.relation == "an unbounded budget leaves nothing").map(|r| r.verdict);
    assert_eq!(verdict, Some(Suspicious), "20 passes may not suffice");
}

/// Closed forms: one minus none, all, and sums of two terms.
#[test]
fn the_binomial_tail_is_exact() {
    for (k, n, p, tail) in [
        (0, 10, 0.1, 1.0),
        (1, 10, 0.1, 0.6513215599),
        (10, 10, 0.1, 1e-10),
        (3, 4, 0.5, 0.3125),
        (4, 5, 0.25, 0.015625),
    ] {
        let found = binomial_tail(k, n, p);
        assert!((found / tail - 1.0).abs() < 1e-9, "{k} of {n}: {found:e}");
    }
    assert!(binomial_tail(90_000, 100_000, 0.001) == 0.0, "far in the tail, without a NaN");
}

#[test]
fn a_patch_fitted_to_the_attacked_net_is_not_weaker() {
    let fitted = |to: &str, fooled: &[u32]| {
        summary(100, fooled, |c| {
            set(c, "patch", &[]);
            (c.threat.norm, c.goal) = (Norm::Patch, Goal::Class(3));
            let net = ModelRecord { name: to.into(), network: "n".into(), weights: to.into() };
            let data = DataRecord { digest: "22".into(), ..c.data.clone() };
            c.train = Some(TrainRecord { models: vec![net], data });
        })
    };
    let relation = "white box is not weaker";
    assert_eq!(verdicts(&[fitted("00", &first(30)), fitted("77", &first(20))], relation), [Fine]);
    assert_eq!(verdicts(&[fitted("00", &first(3)), fitted("77", &first(40))], relation), [Violated]);
}

#[test]
fn transferred_witnesses_do_not_beat_the_white_box() {
    let net = |name: &str, fooled: &[u32]| {
        summary(100, fooled, |c| (c.model.name, c.model.weights) = (name.into(), name.into()))
    };
    let cells = [net("a", &first(50)), net("b", &first(30))];
    let judged = |hits: u32| {
        let verdicts = (0..100).map(|example| Verdict { example, fooled: example < hits, ..Verdict::default() });
        let transfer = Transferred { cell: 0, model: ("b".into(), "b".into()), verdicts: verdicts.collect() };
        let rows = rows(&cells, &Shapes::new(), &[transfer]);
        let found: Vec<&Row> = rows.iter().filter(|r| r.relation == "white box is not weaker").collect();
        assert_eq!((found.len(), found[0].model.as_str(), &found[0].against), (1, "b", &Some(cells[1].id.clone())));
        found[0].verdict
    };
    assert_eq!((judged(20), judged(35), judged(90)), (Fine, Suspicious, Violated));
}

#[test]
fn a_net_says_one_thing_of_a_clean_image() {
    let relation = "one net says one thing of a clean image";
    let sound = [at("2/255", &[]), at("8/255", &[])];
    assert_eq!(verdicts(&sound, relation), [Fine]);
    let mut tie = sound.clone();
    let other = |v: Verdict, near| if v.example == 4 { Verdict { clean_prediction: 77, near, ..v } } else { v };
    tie[1].verdicts = tie[1].verdicts.iter().map(|v| other(v, true)).collect();
    assert_eq!(verdicts(&tie, relation), [Suspicious]);
    tie[1].verdicts = tie[1].verdicts.iter().map(|v| other(v, false)).collect();
    assert_eq!(verdicts(&tie, relation), [Violated]);
}

#[test]
fn blind_attacks_are_named() {
    let with = |zero_gradient| {
        let mut s = at("8/255", &[]);
        s.indicators = Indicators { with_gradient: 100, zero_gradient, ..Indicators::default() };
        s
    };
    let zero = |k| verdicts(&[with(k)], "gradients are not zero");
    assert_eq!((zero(0), zero(5), zero(90)), (vec![Fine], vec![Suspicious], vec![Violated]));
}

#[test]
fn steps_that_may_be_shorter_than_asked_are_named() {
    let rows = |flags: [&str; 3]| {
        let row = |(i, flags): (usize, &str)| Outcome {
            example: i,
            flags: flags.into(),
            backwards: if flags.contains("zero-gradient") { 0 } else { 10 },
            ..standing(3.0, None, 2.0)
        };
        flags.into_iter().enumerate().map(row).collect::<Vec<_>>()
    };
    let of = |flags, relation| {
        let mut s = at("8/255", &[]);
        s.indicators = Indicators::of(&rows(flags));
        verdicts(&[s], relation)
    };
    let (steps, zeros) = ("steps are as long as asked", "gradients are not zero");
    assert_eq!(of(["", "boundary", ""], steps), []);
    assert_eq!(of(["short-step", "", ""], steps), [Suspicious]);
    assert_eq!(of(["short-step"; 3], steps), [Suspicious], "of three images nothing is beyond chance");
    // a row that wears a patch made without a gradient has asked for none itself
    assert_eq!(of(["zero-gradient"; 3], zeros), [Suspicious]);
    assert_eq!(of(["zero-gradient carried"; 3], zeros), []);
    let mut all = at("8/255", &[]);
    all.indicators = Indicators { with_gradient: 100, short_step: 90, ..Indicators::default() };
    assert_eq!(verdicts(&[all], steps), [Violated]);
}

/// A row of an image that was attacked and stands, by its margins.
fn standing(clean: f32, midway: Option<f32>, end: f32) -> Outcome {
    let row = serde_json::json!({
        "example": 0, "label": 0, "clean_prediction": 0, "success": false, "margin_clean": clean, "margin_adversarial": end,
        "step": 10, "restart": 0, "forwards": 20, "backwards": 10, "flags": "", "note": "", "margin_midway": midway
    });
    serde_json::from_value(row).unwrap()
}

#[test]
fn what_came_late_is_a_share_of_the_gain() {
    let share = |o: &Outcome| {
        let found = Indicators::of(std::slice::from_ref(o));
        assert_eq!(found.standing, usize::from(found.late_gain.is_some()));
        found.late_gain
    };
    // rising evenly, slowing, at rest, only rounding apart
    for (midway, late) in [(3.0, 0.5), (2.25, 0.125), (2.0, 0.0), (1.9, 0.0)] {
        assert_eq!(share(&standing(4.0, Some(midway), 2.0)), Some(late), "{midway}");
    }
    // farther than the clean image halfway, and no closer at the end; never moved
    assert_eq!(share(&standing(4.0, Some(5.0), 2.0)), Some(1.0));
    assert_eq!(share(&standing(4.0, Some(5.0), 4.5)), Some(1.0));
    assert_eq!(share(&standing(4.0, Some(4.0), 4.0)), Some(0.0));
    // of a target, by the logarithm of the odds: ln 8, ln 4, ln 2
    let (ln8, ln4, ln2) = (8f32.ln(), 4f32.ln(), 2f32.ln());
    let targeted = Outcome {
        target: Some(1),
        confidence_clean: Some(0.8),
        target_probability_clean: Some(0.1),
        confidence_adversarial: Some(0.5),
        target_probability_adversarial: Some(0.25),
        ..standing(9.0, Some(ln4), 1.0)
    };
    let found = share(&targeted).unwrap();
    assert!((found - (ln4 - ln2) / (ln8 - ln2)).abs() < 1e-6, "{found}");
    // odds that no f32 holds, and rows of no account
    assert_eq!(share(&Outcome { target_probability_clean: Some(0.0), ..targeted.clone() }), None);
    assert_eq!(share(&Outcome { target_probability_adversarial: Some(0.0), ..targeted }), None);
    assert_eq!(share(&standing(4.0, None, 2.0)), None);
    assert_eq!(share(&Outcome { success: Some(true), ..standing(4.0, Some(3.0), -1.0) }), None);
    assert_eq!(share(&Outcome { success: None, ..standing(4.0, Some(3.0), 2.0) }), None);
    assert_eq!(share(&Outcome { clean_prediction: Some(1), ..standing(-4.0, Some(3.0), 2.0) }), None);
}

#[test]
fn a_loss_that_still_rises_is_suspicious() {
    let judge = |rows: &[Outcome], change: fn(&mut Cell)| {
        let mut s = summary(100, &[], change);
        s.indicators = Indicators::of(rows);
        verdicts(&[s], "the loss has come to rest")
    };
    let judged = |rows: &[Outcome]| judge(rows, |_| ());
    let (late, early) = (standing(4.0, Some(3.0), 2.0), standing(4.0, Some(2.5), 2.0));
    let mix = |n: usize, m: usize| [vec![late.clone(); n], vec![early.clone(); m]].concat();
    assert_eq!(judged(&mix(40, 0)), [Suspicious]);
    assert_eq!(judged(&mix(40, 10)), [Suspicious]);
    assert_eq!(judged(&mix(10, 40)), [Fine]);
    // a median that three images, or one in two, may have by chance
    assert_eq!((judged(&mix(3, 0)), judged(&mix(26, 24))), (vec![Fine], vec![Fine]));
    assert_eq!(judged(&[]), []);
    // too short to say, and too short beside what smaller budgets brought
    assert_eq!(judge(&mix(40, 0), |c| set(c, "pgd", &[("steps", "3")])), []);
    assert_eq!(judge(&mix(40, 0), |c| c.mode = Mode::Within(Vec::new())), [Suspicious]);
    assert_eq!(judge(&mix(40, 0), |c| c.mode = Mode::Within(ratio("1/255").radius().into_iter().collect())), []);
}

/// Holm's correction speaks for the whole run: among many sound pairs the odd one is chance.
#[test]
fn noise_alone_is_never_a_violation() {
    let mut draws = 1u64;
    let mut coin = move || {
        // Knuth's MMIX generator: fair enough for a coin
        draws = draws.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        draws >> 63 == 1
    };
    let mut cells = Vec::new();
    for seed in 0..400 {
        for eps in ["4/255", "8/255"] {
            let fooled: Vec<u32> = (0..100).filter(|_| coin()).collect();
            let mut s = at(eps, &fooled);
            s.cell.seed = seed;
            s.id = s.cell.id();
            cells.push(s);
        }
    }
    let found = verdicts(&cells, "robust accuracy falls with the budget");
    assert_eq!(found.len(), 400);
    assert!(!found.contains(&Violated));
    let suspicious = found.iter().filter(|v| **v == Suspicious).count();
    assert!((5..=35).contains(&suspicious), "one in twenty at most, and not none: {suspicious}");
}

#[test]
fn complaints_come_worst_first_and_strict_counts_violations() {
    let mut bad = at("0", &[3]);
    bad.indicators = Indicators { with_gradient: 100, zero_gradient: 5, ..Indicators::default() };
    let rows = rows(&[bad], &Shapes::new(), &[]);
    let verdicts: Vec<Judgement> = complaints(&rows).iter().map(|r| r.verdict).collect();
    assert_eq!(verdicts, [Violated, Suspicious]);
    let error = strict(&rows).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("budget 0 equals clean"), "{error}");
    assert!(strict(&rows[..0]).is_ok());
}

/// Two-sided p-values of the tails that `statistics::tails` has from scipy.
#[test]
fn the_clean_accuracy_is_held_against_the_published_one() {
    let judged = |right: usize, take: usize, correct: u64, change: &dyn Fn(&mut Summary)| {
        let mut s = summary(1000, &[], |c| c.data.take = take);
        s.rates.as_mut().unwrap().clean_correct = right;
        change(&mut s);
        let published =
            PublishedRecord { weights: "00".into(), data: "11".into(), correct, of: 500, source: "its card".into() };
        clean_accuracies(&[s], &[published]).pop()
    };
    let row = judged(885, 1000, 451, &|_| {}).unwrap();
    assert_eq!((row.verdict, row.n, row.count, row.p_holm), (Fine, 1000, 885, None));
    assert!((row.p.unwrap() / (2.0 * 0.1826106013262266) - 1.0).abs() < 1e-8, "{:?}", row.p);
    assert_eq!(row.why, "885 of 1000 here, 451 of 500 published (its card)");
    let verdict = |right| judged(right, 1000, 451, &|_| {}).unwrap().verdict;
    assert_eq!((verdict(860), verdict(700), verdict(940)), (Suspicious, Violated, Suspicious));
    assert_eq!(judged(885, 1111, 451, &|_| {}), None, "a goal dropped images");
    assert_eq!(judged(885, 1000, 451, &|s| s.cell.data.digest = "22".into()), None);
    assert_eq!(judged(885, 1000, 451, &|s| s.cell.model.weights = "22".into()), None);
    assert_eq!(judged(885, 1000, 451, &|s| s.rates = None), None);
}

#[test]
fn what_square_alone_breaks_is_worth_a_look() {
    let of = |attack: &str, n: usize, fooled: &[u32], gradients: f64| {
        let mut s = summary(n, fooled, |c| set(c, attack, &[]));
        s.rates.as_mut().unwrap().backwards = Some(gradients);
        s
    };
    let relation = "Square finds no more than gradients do";
    let white = |n| [of("apgd", n, &first(5), 100.0), of("fab", n, &[7], 100.0), of("noise", n, &[8, 9], 0.0)];
    let with = |n: usize, fooled: &[u32]| [white(n).to_vec(), vec![of("square", n, fooled, 0.0)]].concat();
    // what either breaks is broken by gradients; noise takes none
    assert_eq!(verdicts(&with(100, &[0, 7]), relation), [Fine]);
    assert_eq!(verdicts(&with(100, &[0, 7, 8]), relation), [Suspicious]);
    // 0.2 points: two of a thousand are not more, three are
    assert_eq!(verdicts(&with(1000, &[8, 9]), relation), [Fine]);
    assert_eq!(verdicts(&with(1000, &[8, 9, 10]), relation), [Suspicious]);
    assert_eq!(verdicts(&[of("square", 100, &[1], 0.0)], relation), [], "nothing to hold it against");
    let rows = rows(&with(100, &[0, 7, 8]), &Shapes::new(), &[]);
    let row = rows.iter().find(|r| r.relation == relation).unwrap();
    assert_eq!((row.count, row.against_count, row.only), (3, Some(6), Some((1, 4))));
    assert_eq!(row.against, Some(of("apgd", 100, &first(5), 100.0).id));
    assert_eq!(row.why, "1 of 100 images fall to Square alone, and stand against apgd, fab");
}

#[test]
fn what_stood_until_the_stage_of_square_is_worth_a_look() {
    let of = |standing: &[(&str, u64)]| {
        let mut s = summary(100, &first(50), |c| set(c, "autoattack", &[("version", "standard")]));
        let stage = |(name, standing): &(&str, u64)| StageRecord {
            name: name.to_string(),
            standing: *standing,
            forwards: 1,
            backwards: 1,
            seconds: 0.0,
        };
        s.stages = standing.iter().map(stage).collect();
        s
    };
    let relation = "Square finds no more than gradients do";
    assert_eq!(verdicts(&[of(&[("apgd-ce", 60), ("fab-t", 50), ("square", 50)])], relation), [Fine]);
    assert_eq!(verdicts(&[of(&[("apgd-ce", 60), ("fab-t", 51), ("square", 50)])], relation), [Suspicious]);
    assert_eq!(verdicts(&[of(&[("apgd-ce", 60), ("square", 50), ("apgd-t", 40)])], relation), [Suspicious]);
    assert_eq!(verdicts(&[of(&[("apgd-ce", 60)])], relation), []);
}

#[test]
fn autoattack_is_not_weaker_than_its_attacks() {
    let of = |attack: &str, fooled: &[u32]| summary(100, fooled, |c| set(c, attack, &[]));
    let relation = "AutoAttack is not weaker than its attacks";
    let with = |part: &str, fooled: &[u32]| [of(part, fooled), of("autoattack", &first(9))];
    for part in ["apgd", "fab", "square"] {
        assert_eq!(verdicts(&with(part, &first(5)), relation), [Fine]);
        assert_eq!(verdicts(&with(part, &first(60)), relation), [Violated]);
    }
    assert_eq!(verdicts(&with("pgd", &first(60)), relation), []);
}
