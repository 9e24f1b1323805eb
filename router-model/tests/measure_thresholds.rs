//! The guarantee of tuned thresholds, checked by drawing many data sets from a world whose truth is known.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

use router_model::measure::{Candidate, Case, Family, Judged, Rng, Target, judge, tune};

/// How a grade with this mean is drawn.
type Grade = fn(&mut Rng, f64) -> f64;

fn coin(rng: &mut Rng, mean: f64) -> f64 {
    f64::from(u8::from(rng.unit() < mean))
}

/// Uniform about its mean, as far as `[0, 1]` lets it be.
fn spread(rng: &mut Rng, mean: f64) -> f64 {
    mean + (2.0 * rng.unit() - 1.0) * mean.min(1.0 - mean)
}

/// Requests whose complexity x and confidence u are uniform and independent, and whose local answer is good with a
/// mean of `mean(x, u)`; the strong model is always right and costs 1, the local one nothing.
fn draw(rng: &mut Rng, rows: usize, grade: Grade, mean: fn(f64, f64) -> f64) -> Vec<Case> {
    (0..rows)
        .map(|_| {
            let (x, u) = (rng.unit(), rng.unit());
            Case {
                complexity: x,
                confidence: Some(u),
                good: grade(rng, mean(x, u)),
                strong: 1.0,
                local_cost: 0.0,
                cloud_cost: 1.0,
            }
        })
        .collect()
}

/// Share of data sets for which the truth of what was chosen is below the target, and the mean share that is served
/// locally.
fn violations(
    family: Family,
    grade: Grade,
    mean: fn(f64, f64) -> f64,
    truth: impl Fn(Candidate) -> f64,
    sets: u32,
) -> (f64, f64) {
    let mut rng = Rng::new(20_260);
    let (mut violated, mut local) = (0.0, 0.0);
    for _ in 0..sets {
        let found = tune(&draw(&mut rng, ROWS, grade, mean), family, TARGET);
        if let Some(chosen) = found.chosen {
            local += chosen.local_share;
            violated += f64::from(u8::from(truth(chosen.candidate) < TARGET.quality));
        }
    }
    (violated / f64::from(sets), local / f64::from(sets))
}

const TARGET: Target = Target { quality: 0.9, risk: 0.1 };
const ROUTE: Family = Family::Route { confidence_from: None };
const CASCADE: Family = Family::Cascade { complexity_below: None };
const ROWS: usize = 400;
const SETS: u32 = 400;
/// The risk and two standard errors of a share over that many data sets.
const ALLOWED: f64 = 0.1 + 2.0 * 0.015;

#[test]
fn routing_by_complexity_keeps_its_word() {
    // Served locally below t with P(good) = 1 - x: the loss is t²/2, so the best threshold is 0.447.
    let truth = |candidate: Candidate| 1.0 - candidate.complexity_below.unwrap().powi(2) / 2.0;
    let (violated, local) = violations(ROUTE, coin, |x, _| 1.0 - x, truth, SETS);
    assert!(violated <= ALLOWED, "{violated}");
    assert!(local > 0.33, "most of what is possible, 0.447, is found: {local}");
    // Exactness shows in the other direction too: a procedure that never errs wastes its risk.
    assert!(violated > 0.005, "{violated}");
}

#[test]
fn routing_with_graded_answers_keeps_its_word() {
    let truth = |candidate: Candidate| 1.0 - candidate.complexity_below.unwrap().powi(2) / 2.0;
    let (violated, local) = violations(ROUTE, spread, |x, _| 1.0 - x, truth, SETS);
    assert!(violated <= ALLOWED, "{violated}");
    assert!(local > 0.3, "{local}");
}

#[test]
fn cascades_keep_their_word() {
    let truth = |candidate: Candidate| 1.0 - (1.0 - candidate.confidence_from.unwrap()).powi(2) / 2.0;
    let (violated, local) = violations(CASCADE, coin, |_, u| u, truth, SETS);
    assert!(violated <= ALLOWED, "{violated}");
    assert!(local > 0.33, "{local}");
}

#[test]
fn pairs_keep_their_word() {
    // The integral of 1 - u(1 - x) over x < t and u >= c.
    let truth = |candidate: Candidate| {
        let (t, c) = (candidate.complexity_below.unwrap(), candidate.confidence_from.unwrap());
        1.0 - (t * (1.0 - c) - (t - t * t / 2.0) * (1.0 - c * c) / 2.0)
    };
    let (violated, local) = violations(Family::Pair, coin, |x, u| u * (1.0 - x), truth, 120);
    assert!(violated <= ALLOWED, "{violated}");
    // The best single complexity threshold serves 0.18 of this traffic, the best pair 0.23.
    assert!(local > 0.12, "{local}");
}

#[test]
fn taking_the_best_looking_threshold_would_break_it() {
    // What the procedure is for: the cheapest threshold whose measured quality meets the target fails half the time.
    let mut rng = Rng::new(1);
    let broken = (0..200).filter(|_| {
        let found = tune(&draw(&mut rng, 400, coin, |x, _| 1.0 - x), ROUTE, TARGET);
        let mut good = found.chains[0].iter().filter(|judged| judged.quality >= TARGET.quality);
        good.next_back().unwrap().candidate.complexity_below.unwrap().powi(2) / 2.0 > 0.1
    });
    assert!(broken.count() > 60);
}

fn case(complexity: f64, confidence: Option<f64>, good: f64) -> Case {
    Case { complexity, confidence, good, strong: 1.0, local_cost: 0.1, cloud_cost: 1.0 }
}

#[test]
fn a_policy_is_measured_as_it_would_be_played() {
    let cases = [
        case(0.1, Some(0.9), 1.0),
        case(0.1, Some(0.2), 0.0),
        case(0.9, Some(0.9), 0.0),
        case(0.1, None, 1.0),
    ];
    let candidate = Candidate { complexity_below: Some(0.5), confidence_from: Some(0.5) };
    let judged = judge(&cases, candidate, TARGET);
    assert!((judged.tried_share - 0.75).abs() < 1e-12 && (judged.local_share - 0.25).abs() < 1e-12);
    assert!((judged.quality - 1.0).abs() < 1e-12);
    // Three attempts at 0.1 and three strong answers at 1: a wasted attempt is paid for.
    assert!((judged.cost - 3.3 / 4.0).abs() < 1e-12);
    let judged = judge(&cases, Candidate { complexity_below: Some(0.5), confidence_from: None }, TARGET);
    assert!((judged.quality - 0.75).abs() < 1e-12 && (judged.cost - 1.3 / 4.0).abs() < 1e-12);
    // A threshold itself is not below it, as in a policy's `profile.complexity < 0.1`.
    let judged = judge(&cases, Candidate { complexity_below: Some(0.1), confidence_from: None }, TARGET);
    assert!(judged.local_share <= 0.0);
}

#[test]
fn too_few_rows_are_told_with_the_number_that_would_do() {
    let cases = vec![case(0.5, None, 1.0); 20];
    let found = tune(&cases, ROUTE, Target { quality: 0.95, risk: 0.05 });
    assert_eq!(found.chosen, None);
    // 0.95^n is at most 0.05 from 59 rows on.
    assert_eq!(found.rows_needed, Some(59));
    let enough = tune(&vec![case(0.5, None, 1.0); 59], ROUTE, Target { quality: 0.95, risk: 0.05 });
    assert!(enough.chosen.is_some() && enough.rows_needed.is_none());
}

#[test]
fn a_strong_model_below_the_target_can_never_do() {
    let cases = vec![Case { strong: 0.0, ..case(0.5, None, 0.0) }; 500];
    let found = tune(&cases, ROUTE, TARGET);
    assert_eq!((found.chosen, found.rows_needed), (None, None));
    assert!(tune(&[], ROUTE, TARGET).chosen.is_none());
}

#[test]
fn a_chain_stops_at_its_first_failure() {
    // Bad between 0.3 and 0.4, perfect elsewhere: what lies beyond would pass by itself in the end.
    let mut rng = Rng::new(2);
    let mut cases = draw(&mut rng, 2_000, coin, |x, _| f64::from(u8::from(!(0.3..0.45).contains(&x))));
    cases.extend((0..20_000).map(|_| case(0.99, None, 1.0)));
    let found = tune(&cases, ROUTE, Target { quality: 0.995, risk: 0.05 });
    let certified: Vec<bool> = found.chains[0].iter().map(|judged| judged.certified).collect();
    assert!(certified.is_sorted_by(|a, b| a >= b), "nothing after a failure");
    let cheapest_of = |judged: &Vec<Judged>| judged.iter().filter(|judged| judged.certified).count();
    assert!((30..50).contains(&cheapest_of(&found.chains[0])), "{}", cheapest_of(&found.chains[0]));
}

#[test]
fn pairs_split_the_risk_over_their_chains() {
    // 59 rows suffice at a risk of 0.05 and not at a tenth of it, which takes 104.
    let target = Target { quality: 0.95, risk: 0.05 };
    let sure = |rows| vec![case(0.5, Some(0.5), 1.0); rows];
    assert!(tune(&sure(59), CASCADE, target).chosen.is_some());
    assert_eq!(tune(&sure(59), Family::Pair, target).rows_needed, Some(104));
    assert!(tune(&sure(104), Family::Pair, target).chosen.is_some());
}

#[test]
fn a_threshold_that_is_given_stays() {
    let mut rng = Rng::new(6);
    let cases = draw(&mut rng, 500, coin, |x, u| f64::midpoint(1.0 - x, u));
    let route = tune(&cases, Family::Route { confidence_from: Some(0.8) }, TARGET);
    assert!(route.chains[0].iter().all(|judged| judged.candidate.confidence_from == Some(0.8)));
    let cascade = tune(&cases, Family::Cascade { complexity_below: Some(0.3) }, TARGET);
    assert!(cascade.chains[0].iter().all(|judged| judged.candidate.complexity_below == Some(0.3)));
    assert!(cascade.chains[0].iter().all(|judged| judged.tried_share < 0.4));
}
