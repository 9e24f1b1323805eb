//! What changed over many requests: counts, sums, and shares with their intervals.
//!
//! Every share comes with Clopper and Pearson's exact interval at 95 %: the stored requests are all there were, so it
//! matters only to those who take the period for a sample of what is to come.

use std::collections::BTreeMap;

use policies::Money;
use router_model::measure::bounds::clopper_pearson;
use serde::Serialize;

use super::again::{Again, Change, Leak, Side};

/// 1 - the level of the intervals.
const RISK: f64 = 0.05;
/// Requests that are named where data would leak.
const NAMED_MAX: usize = 20;

/// A part of the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Share {
    pub(super) requests: u64,
    pub(super) share: f64,
    /// Ends of the interval.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The same before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Pair {
    pub(super) before: Share,
    pub(super) after: Share,
}

/// Requests and their cost before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sums {
    pub(super) requests_before: u64,
    pub(super) requests_after: u64,
    pub(super) cost_before: Money,
    pub(super) cost_after: Money,
}

/// Requests that changed from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) requests: u64,
    pub(super) cost_before: Money,
    pub(super) cost_after: Money,
}

/// Requests whose data would go where today's policy had not cleared it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Leaks {
    /// To a target that is asked first, or after a weak answer.
    pub(super) would: Share,
    /// To a target that is asked when others fail.
    pub(super) could: Share,
    /// The first of them.
    pub(super) named: Vec<String>,
}

/// What the sums can and cannot say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Coverage {
    /// Rows of the period.
    pub(super) rows: u64,
    /// Of them, decided again.
    pub(super) replayed: u64,
    /// Faulty requests, which no policy has seen.
    pub(super) undecided: u64,
    /// Rows that do not say what they were decided from (written before this version).
    pub(super) unstored: u64,
    /// Moved requests whose tokens were not known.
    pub(super) estimated: u64,
    /// Requests without a price on either side: not in the cost.
    pub(super) unpriced: u64,
    /// Requests that would be judged and of which no confidence is known: taken for good enough.
    pub(super) unjudged: u64,
    /// Requests whose complexity the other router model computed anew.
    pub(super) reassessed: u64,
}

/// Everything that is reported.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) policy: String,
    /// Folder of the other router model, if one was tried.
    pub(super) router: Option<String>,
    pub(super) coverage: Coverage,
    /// Over the requests that have a price on both sides.
    pub(super) cost_before: Money,
    pub(super) cost_after: Money,
    pub(super) moved: Share,
    pub(super) local: Pair,
    pub(super) escalations: Pair,
    pub(super) refusals: Pair,
    pub(super) declassified: Pair,
    pub(super) leaks: Leaks,
    pub(super) routes: BTreeMap<String, Sums>,
    pub(super) moves: Vec<Step>,
    pub(super) labels: Vec<Step>,
}

/// Adds changes up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    coverage: Coverage,
    cost: [Money; 2],
    moved: u64,
    local: [u64; 2],
    escalations: [u64; 2],
    refusals: [u64; 2],
    declassified: [u64; 2],
    would: u64,
    could: u64,
    named: Vec<String>,
    routes: BTreeMap<String, Sums>,
    moves: BTreeMap<(String, String), Sums>,
    labels: BTreeMap<(String, String), Sums>,
}

impl Tally {
    pub(super) fn add(&mut self, id: &str, again: &Again) {
        self.coverage.rows += 1;
        match again {
            Again::Undecided => self.coverage.undecided += 1,
            Again::Unstored => self.coverage.unstored += 1,
            Again::Decided(change) => self.change(id, change),
        }
    }

    fn change(&mut self, id: &str, change: &Change) {
        let Change { before, after, .. } = change;
        self.coverage.replayed += 1;
        self.coverage.estimated += u64::from(change.is_estimated);
        self.coverage.unjudged += u64::from(change.is_unjudged);
        self.coverage.reassessed += u64::from(change.is_reassessed);
        let costs = match (before.cost, after.cost) {
            (Some(before), Some(after)) => [before, after],
            _ => {
                self.coverage.unpriced += 1;
                [Money::ZERO; 2]
            }
        };
        for (index, side) in [before, after].into_iter().enumerate() {
            self.side(index, side, costs[index]);
        }
        match change.leak {
            Leak::Would => self.would += 1,
            Leak::Could => self.could += 1,
            Leak::None => {}
        }
        if change.leak != Leak::None && self.named.len() < NAMED_MAX {
            self.named.push(id.to_owned());
        }
        if change.moved {
            self.moved += 1;
            step(&mut self.moves, &course(before), &course(after), costs);
        }
        if before.label != after.label {
            step(&mut self.labels, before.label.as_str(), after.label.as_str(), costs);
        }
    }

    fn side(&mut self, index: usize, side: &Side, cost: Money) {
        self.cost[index] += cost;
        self.local[index] += u64::from(side.route == "local");
        self.escalations[index] += u64::from(side.escalates);
        self.refusals[index] += u64::from(side.is_refused);
        self.declassified[index] += u64::from(side.is_declassified);
        let sums = self.routes.entry(side.route.clone()).or_default();
        if index == 0 {
            sums.requests_before += 1;
            sums.cost_before += cost;
        } else {
            sums.requests_after += 1;
            sums.cost_after += cost;
        }
    }

    pub(super) fn summary(self, policy: &str, router: Option<String>) -> Summary {
        let of = self.coverage.replayed;
        let pair = |[before, after]: [u64; 2]| Pair { before: share(before, of), after: share(after, of) };
        Summary {
            policy: policy.to_owned(),
            router,
            cost_before: self.cost[0],
            cost_after: self.cost[1],
            moved: share(self.moved, of),
            local: pair(self.local),
            escalations: pair(self.escalations),
            refusals: pair(self.refusals),
            declassified: pair(self.declassified),
            leaks: Leaks { would: share(self.would, of), could: share(self.could, of), named: self.named },
            routes: self.routes,
            moves: steps(self.moves),
            labels: steps(self.labels),
            coverage: self.coverage,
        }
    }
}

/// A route, and whether the local answer before it was too weak.
fn course(side: &Side) -> String {
    if side.escalates { format!("local, then {}", side.route) } else { side.route.clone() }
}

fn step(steps: &mut BTreeMap<(String, String), Sums>, from: &str, to: &str, [before, after]: [Money; 2]) {
    let sums = steps.entry((from.to_owned(), to.to_owned())).or_default();
    sums.requests_before += 1;
    sums.cost_before += before;
    sums.cost_after += after;
}

/// The most frequent first.
fn steps(steps: BTreeMap<(String, String), Sums>) -> Vec<Step> {
    let step = |((from, to), sums): ((String, String), Sums)| Step {
        from,
        to,
        requests: sums.requests_before,
        cost_before: sums.cost_before,
        cost_after: sums.cost_after,
    };
    let mut steps: Vec<_> = steps.into_iter().map(step).collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.requests));
    steps
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(requests: u64, of: u64) -> Share {
    if of == 0 {
        return Share::default();
    }
    let (low, high) = clopper_pearson(requests, of, RISK);
    Share { requests, share: requests as f64 / of as f64, low, high }
}
