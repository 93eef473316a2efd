use super::*;
use crate::analysis::ladder::tests::summary;
use crate::analysis::least::Least;
use crate::terms::{Budget, Norm, Threat};

const INF: f64 = f64::INFINITY;

/// A minimal L2 attack that found these distances, image by image, at these passes.
fn attacked(name: &str, weights: &str, found: &[(f64, u64)]) -> Summary {
    let mut s = summary(found.len(), &[], |c| {
        c.attack.name = name.into();
        c.model.weights = weights.into();
        c.threat = Threat { norm: Norm::L2, eps: Budget::Minimal { passes: 60 } };
    });
    let least = |(example, (distance, pass)): (usize, &(f64, u64))| Least {
        example: example as u32,
        distance: *distance,
        pass: *pass,
    };
    s.tally.least = found.iter().enumerate().map(least).collect();
    s
}

fn found(distances: &[f64]) -> Vec<(f64, u64)> {
    distances.iter().map(|d| (*d, 10)).collect()
}

fn scored<'a>(cells: &'a [Summary], frozen: Option<&Reference>) -> Vec<Vec<Score<'a>>> {
    scores(&entrants(cells), frozen, Rule::Steps).unwrap()
}

fn of<'a>(pool: &'a [Score<'a>], name: &str) -> &'a Score<'a> {
    pool.iter().find(|score| score.cell.cell.attack.name == name).unwrap()
}

fn close(found: Option<f64>, wanted: f64) {
    assert!(found.is_some_and(|v| (v - wanted).abs() < 1e-12), "{found:?} {wanted}");
}

/// Best 1, 2, 4: as in the tests of the areas.
#[test]
fn the_nearest_of_all_attacks_is_the_best() {
    let cells = [
        attacked("a", "0", &found(&[1.0, 3.0, INF])),
        attacked("b", "0", &found(&[1.5, 2.0, 4.0])),
        attacked("c", "0", &found(&[INF; 3])),
    ];
    let pools = scored(&cells, None);
    let [pool] = &pools[..] else { panic!("one net, one pool") };
    let names: Vec<&str> = pool.iter().map(|s| s.cell.cell.attack.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "c"], "the best first");
    let (a, b, c) = (of(pool, "a"), of(pool, "b"), of(pool, "c"));
    close(a.optimality, 0.8);
    close(b.optimality, 0.9);
    close(c.optimality, 0.0);
    assert_eq!((a.improved, b.improved, c.improved), (1, 2, 0), "a alone is nearest at the first image");
    assert_eq!((a.fooled, b.fooled, c.fooled, a.n, a.scale), (2, 3, 0, 3, Some(4.0)));
    assert_eq!(c.interval, Some((0.0, 0.0)), "nothing found is nothing found in every sample");
    for score in [a, b] {
        let (low, high) = score.interval.unwrap();
        assert!(low <= score.optimality.unwrap() && score.optimality.unwrap() <= high && low < high, "{low} {high}");
    }
    // the same samples, drawn anew
    assert_eq!(of(&scored(&cells, None)[0], "a").interval, a.interval);
}

/// With one attack everything is as near as anybody found: in every sample.
#[test]
fn alone_an_attack_is_optimal() {
    let cells = [attacked("a", "0", &found(&[1.0, 3.0, INF, 2.0]))];
    let pools = scored(&cells, None);
    close(pools[0][0].optimality, 1.0);
    assert_eq!(pools[0][0].interval, Some((1.0, 1.0)));
    assert_eq!((pools[0][0].improved, pools[0][0].global), (3, Some(1.0)));
}

/// Best 1, 2, 4: nothing at first; 1 of 4 at pass 5; 1, 3 at pass 20; what is found beyond the scale moves nothing.
#[test]
fn optimality_at_every_budget_of_passes() {
    let cells = [attacked("a", "0", &[(1.0, 5), (3.0, 20), (9.0, 40)]), attacked("b", "0", &found(&[1.0, 2.0, 4.0]))];
    let pools = scored(&cells, None);
    let a = &of(&pools[0], "a").by_passes;
    assert_eq!(a.iter().map(|(passes, _)| *passes).collect::<Vec<_>>(), [5, 20, 40]);
    for ((_, score), wanted) in a.iter().zip([0.6, 0.8, 0.8]) {
        close(Some(*score), wanted);
    }
    assert_eq!(Some(a[2].1), of(&pools[0], "a").optimality, "at the limit it is the score");
}

#[test]
fn a_frozen_reference_moves_with_no_attack_that_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reference.jsonl");
    let first =
        [attacked("a", "0", &found(&[1.0, 3.0, 0.1 + 0.2, INF])), attacked("b", "0", &found(&[2.0, 2.0, 4.0, INF]))];
    assert_eq!(Reference::bless(&entrants(&first), &file).unwrap(), (1, 4));
    let bytes = std::fs::read(&file).unwrap();
    Reference::bless(&entrants(&first), &file).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let frozen = Reference::read(&file).unwrap();
    let before = scored(&first, Some(&frozen));
    assert_eq!(of(&before[0], "a").optimality, of(&scored(&first, None)[0], "a").optimality);
    assert_eq!(of(&before[0], "a").improved, 0, "read to the bit");

    let mut more = first.to_vec();
    more.push(attacked("c", "0", &found(&[0.5, 2.0, 0.2, 7.0])));
    let after = scored(&more, Some(&frozen));
    for name in ["a", "b"] {
        assert_eq!(of(&before[0], name).optimality, of(&after[0], name).optimality);
        assert_eq!(of(&before[0], name).interval, of(&after[0], name).interval);
        assert_ne!(of(&scored(&more, None)[0], name).optimality, of(&after[0], name).optimality);
    }
    let c = of(&after[0], "c");
    assert!(c.optimality.unwrap() > 1.0, "nearer than the reference");
    assert_eq!(c.improved, 3);

    let stranger = [attacked("a", "1", &found(&[1.0]))];
    let refused = scores(&entrants(&stranger), Some(&frozen), Rule::Steps).err().unwrap().to_string();
    assert!(refused.contains("has no distances for m on d:test[0..2] in l2"), "{refused}");
}

#[test]
fn the_mean_over_nets_needs_every_net() {
    let cells = [
        attacked("a", "0", &found(&[1.0, 3.0])),
        attacked("b", "0", &found(&[2.0, 2.0])),
        attacked("a", "1", &found(&[1.0, 5.0])),
    ];
    let pools = scored(&cells, None);
    assert_eq!(pools.len(), 2);
    let a = of(&pools[0], "a");
    // best 1, 2: nothing is 4, best is 3, a has 1 and 2 (the scale)
    close(a.optimality, 1.0);
    close(of(&pools[0], "b").optimality, 0.0);
    close(a.global, 1.0);
    assert_eq!(of(&pools[0], "b").global, None);
    close(of(&pools[1], "a").global, 1.0);
}

#[test]
fn who_takes_part_and_who_is_compared() {
    let usual = attacked("a", "0", &found(&[1.0, 3.0]));
    let fixed = summary(2, &[], |_| ());
    let mut failed = attacked("b", "0", &[]);
    failed.rates = None;
    let mut float = attacked("a", "0", &found(&[1.0, 3.0]));
    float.cell.witness = crate::terms::WitnessKind::F32;
    float.id = float.cell.id();
    let cells = [usual.clone(), usual, fixed, failed, float];
    assert_eq!(entrants(&cells).len(), 2, "each cell once");
    assert_eq!(scored(&cells, None).len(), 2, "floats are nearer than any 8-bit image");
    // AttackBench's scale is the hardest image's distance, and there is none where nobody fools it
    let one = [attacked("a", "0", &found(&[1.0, INF]))];
    let pools = scores(&entrants(&one), None, Rule::AttackBench).unwrap();
    assert_eq!((pools[0][0].optimality, pools[0][0].interval, pools[0][0].scale), (None, None, None));
    // images that another run of the net had wrong are in no score
    let mut fewer = attacked("b", "0", &found(&[1.0, 1.0, 1.0]));
    fewer.tally.least.remove(1);
    let cells = [attacked("a", "0", &found(&[2.0, 9.0, 4.0])), fewer];
    let pools = scored(&cells, None);
    assert_eq!((pools[0][0].n, of(&pools[0], "a").scale), (2, Some(1.0)));
}
