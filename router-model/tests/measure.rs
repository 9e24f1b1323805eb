//! Figures of a router against what is known of them beforehand.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

use proptest::prelude::*;
use router_model::measure::{
    Curve, Estimate, Pair, Ranking, Rng, Sampling, Scored, auroc, brier, ece, evaluate, quantile, reliability,
};

fn close(got: f64, want: f64, by: f64) {
    assert!((got - want).abs() <= by, "{got} is not {want}");
}

fn pairs(good: &[f64]) -> Vec<Pair> {
    good.iter().map(|&good| Pair { good, strong: 1.0 }).collect()
}

fn curve(scores: &[f64], pairs: &[Pair]) -> Curve {
    Curve::new(&Ranking::new(scores), pairs, &vec![1; pairs.len()]).unwrap()
}

/// Rows with two models of the accuracy of the paper's MMLU pair, independent of everything else.
fn synthetic(rows: usize, seed: u64, mut score: impl FnMut(&mut Rng, Pair) -> f64) -> Vec<Scored> {
    let mut rng = Rng::new(seed);
    (0..rows)
        .map(|_| {
            let coin = |rng: &mut Rng, chance| f64::from(u8::from(rng.unit() < chance));
            let pair = Pair { good: coin(&mut rng, 0.68), strong: coin(&mut rng, 0.81) };
            let length = Some(rng.unit());
            Scored { score: score(&mut rng, pair), pair, length }
        })
        .collect()
}

#[test]
fn a_curve_by_hand() {
    // Two failures of four; the score sends one of them first and the other last.
    let pairs = pairs(&[0.0, 1.0, 1.0, 0.0]);
    let curve = curve(&[0.9, 0.6, 0.4, 0.1], &pairs);
    for (share, quality) in [(0.0, 0.5), (0.125, 0.625), (0.25, 0.75), (0.5, 0.75), (0.75, 0.75), (1.0, 1.0)]
    {
        close(curve.at(share), quality, 1e-12);
    }
    // Area above the weak model: 1/4 of (0 + 1/4)/2, twice 1/4 of 1/4, 1/4 of (1/4 + 1/2)/2; the gap is 1/2.
    close(curve.apgr().unwrap(), (0.03125 + 0.125 + 0.09375) / 0.5, 1e-12);
    close(curve.cpt(0.5).unwrap(), 0.25, 1e-12);
    close(curve.cpt(0.8).unwrap(), 0.75 + 0.25 * 0.6, 1e-12);
    close(curve.cpt(0.0).unwrap(), 0.0, 1e-12);
}

#[test]
fn a_constant_score_is_the_diagonal() {
    let curve = curve(&[0.3; 5], &pairs(&[0.0, 1.0, 0.5, 1.0, 0.0]));
    close(curve.apgr().unwrap(), 0.5, 1e-12);
    close(curve.cpt(0.5).unwrap(), 0.5, 1e-12);
    close(curve.cpt(0.8).unwrap(), 0.8, 1e-12);
    close(curve.at(0.1), 0.5 + 0.05, 1e-12);
}

#[test]
fn the_oracle_bounds_every_order() {
    let good = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    let fail: Vec<f64> = good.iter().map(|good| 1.0 - good).collect();
    let oracle = curve(&fail, &pairs(&good));
    // Three failures of ten: the gap is closed with 30 % of the calls, and in a straight line.
    close(oracle.cpt(1.0).unwrap(), 0.3, 1e-12);
    close(oracle.apgr().unwrap(), 1.0 - 0.15, 1e-12);
    close(curve(&good, &pairs(&good)).apgr().unwrap(), 0.15, 1e-12);
}

#[test]
fn without_a_gap_nothing_can_be_recovered() {
    let same = vec![Pair { good: 1.0, strong: 1.0 }; 3];
    assert_eq!(curve(&[0.1, 0.2, 0.3], &same).apgr(), None);
    assert_eq!(curve(&[0.1, 0.2, 0.3], &same).cpt(0.5), None);
    assert!(Curve::new(&Ranking::new(&[]), &[], &[]).is_none());
}

#[test]
fn a_random_score_is_near_the_published_anchor() {
    // The paper prints 50.07 / 79.93 / 0.500 for MMLU's 14,042 questions.
    let rows = synthetic(14_042, 3, |rng, _| rng.unit());
    let found = evaluate(&rows, Sampling { resamples: 200, seed: 1 }).unwrap();
    let router = &found.router;
    close(router.apgr.unwrap().value, 0.5, 0.04);
    close(router.cpt50.unwrap().value, 0.5, 0.06);
    close(router.cpt80.unwrap().value, 0.8, 0.06);
    close(router.auroc.unwrap().value, 0.5, 0.02);
    let apgr = router.apgr.unwrap();
    assert!(apgr.low.unwrap() < 0.5 && apgr.high.unwrap() > 0.5, "{apgr:?}");
    // The expectation is exact, and single orders spread about it as far as the resamples of one do.
    let random = found.random.apgr.unwrap();
    close(random.value, 0.5, 1e-9);
    let width = |estimate: Estimate| estimate.high.unwrap() - estimate.low.unwrap();
    close(width(random) / width(apgr), 1.0, 0.35);
    close(found.random.auroc.unwrap().value, 0.5, 1e-12);
}

#[test]
fn knowing_both_answers_recovers_more_than_the_whole_gap() {
    // Where the strong model is sometimes worse, the best order beats the strong model alone.
    let rows = synthetic(4_000, 5, |_, pair| (pair.strong - pair.good + 1.0) / 2.0);
    let found = evaluate(&rows, Sampling { resamples: 0, seed: 1 }).unwrap();
    assert!(found.router.apgr.unwrap().value > 1.0);
    assert_eq!(found.router.apgr.unwrap().low, None, "no resamples, no interval");
    let lead = found.apgr_over_length.unwrap().value;
    close(lead, found.router.apgr.unwrap().value - found.by_length.unwrap().apgr.unwrap().value, 1e-12);
    assert_eq!((found.curve.len(), found.curve[0].quality.value), (11, found.weak));
    close(found.curve[10].quality.value, found.strong, 1e-12);
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let rows = synthetic(300, 9, |rng, _| rng.unit());
    let run = |seed| evaluate(&rows, Sampling { resamples: 50, seed }).unwrap();
    assert_eq!(run(4), run(4));
    assert_ne!(run(4).router, run(5).router);
    assert!(evaluate(&[], Sampling { resamples: 10, seed: 1 }).is_none());
}

#[test]
fn an_interval_covers_the_truth_about_as_often_as_it_says() {
    // P(score above) of a failing row is known: scores are uniform on [0.2, 1) and [0, 0.8).
    let truth = 1.0 - (0.6_f64 * 0.6) / (2.0 * 0.8 * 0.8);
    let covered = (0..100_u64).filter(|&seed| {
        let rows = synthetic(300, 1000 + seed, |rng, pair| rng.unit() * 0.8 + 0.2 * (1.0 - pair.good));
        let found = evaluate(&rows, Sampling { resamples: 200, seed }).unwrap().router.auroc.unwrap();
        found.low.unwrap() <= truth && truth <= found.high.unwrap()
    });
    let covered = covered.count();
    assert!((88..=100).contains(&covered), "{covered} of 100");
}

#[test]
fn calibration_by_hand() {
    let (scores, outcomes, once) = ([0.05, 0.05, 0.95, 1.0], [0.0, 1.0, 1.0, 1.0], [1; 4]);
    let bins = reliability(&scores, &outcomes, &once, 10);
    assert_eq!(bins.len(), 2);
    assert_eq!((bins[0].rows, bins[0].outcome, bins[1].rows), (2.0, 0.5, 2.0));
    close(ece(&scores, &outcomes, &once).unwrap(), (0.45 + 0.025) / 2.0, 1e-12);
    close(brier(&scores, &outcomes, &once).unwrap(), (0.0025 + 0.9025 + 0.0025) / 4.0, 1e-12);
    assert_eq!(ece(&[], &[], &[]), None);
    // A score that is its outcome's chance is calibrated up to noise.
    let mut rng = Rng::new(11);
    let scores: Vec<f64> = (0..20_000).map(|_| rng.unit()).collect();
    let outcomes: Vec<f64> = scores.iter().map(|&chance| f64::from(u8::from(rng.unit() < chance))).collect();
    assert!(ece(&scores, &outcomes, &vec![1; scores.len()]).unwrap() < 0.02);
}

#[test]
fn quantiles_lie_between_neighbours() {
    assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
    assert_eq!(quantile(&[], 0.5), None);
}

/// By definition: over all pairs of a failing and another row.
fn auroc_slowly(scores: &[f64], failing: &[bool]) -> Option<f64> {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for (a, _) in failing.iter().enumerate().filter(|(_, fails)| **fails) {
        for (b, _) in failing.iter().enumerate().filter(|(_, fails)| !**fails) {
            pairs += 1.0;
            wins += match scores[a].total_cmp(&scores[b]) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    (pairs > 0.0).then(|| wins / pairs)
}

proptest! {
    #[test]
    fn auroc_is_its_definition(rows in prop::collection::vec((0_u8..6, any::<bool>()), 0..40)) {
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
        let failing: Vec<bool> = rows.iter().map(|row| row.1).collect();
        let fast = auroc(&Ranking::new(&scores), &failing, &vec![1; rows.len()]);
        match (fast, auroc_slowly(&scores, &failing)) {
            (Some(fast), Some(slow)) => prop_assert!((fast - slow).abs() < 1e-12),
            (fast, slow) => prop_assert_eq!(fast, slow),
        }
    }

    /// Counting a row twice is the same as having it twice.
    #[test]
    fn weights_are_repetitions(rows in prop::collection::vec((0_u8..4, 0_u8..=2, 0_u8..=2, 0_u32..3), 1..20)) {
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
        let pair = |row: &(u8, u8, u8, u32)| Pair { good: f64::from(row.1) / 2.0, strong: f64::from(row.2) / 2.0 };
        let pairs: Vec<Pair> = rows.iter().map(pair).collect();
        let weights: Vec<u32> = rows.iter().map(|row| row.3).collect();
        let weighted = Curve::new(&Ranking::new(&scores), &pairs, &weights);
        let spread = |column: &[f64]| -> Vec<f64> {
            column.iter().zip(&weights).flat_map(|(&v, &w)| std::iter::repeat_n(v, w as usize)).collect()
        };
        let good = spread(&pairs.iter().map(|pair| pair.good).collect::<Vec<_>>());
        let strong = spread(&pairs.iter().map(|pair| pair.strong).collect::<Vec<_>>());
        let repeated: Vec<Pair> = good.iter().zip(&strong).map(|(&good, &strong)| Pair { good, strong }).collect();
        let plain = Curve::new(&Ranking::new(&spread(&scores)), &repeated, &vec![1; repeated.len()]);
        prop_assert_eq!(weighted.is_some(), plain.is_some());
        if let (Some(weighted), Some(plain)) = (weighted, plain) {
            for share in [0.0, 0.1, 0.33, 0.5, 0.9, 1.0] {
                prop_assert!((weighted.at(share) - plain.at(share)).abs() < 1e-9);
            }
            if let (Some(cpt), Some(apgr)) = (weighted.cpt(0.5), weighted.apgr()) {
                prop_assert!((0.0..=1.0).contains(&cpt) && apgr.is_finite());
                prop_assert!(weighted.pgr(cpt).unwrap() >= 0.5 - 1e-6);
            }
        }
    }
}
