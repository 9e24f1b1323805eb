//! Budgets: reserve the worst case before the call, give back what was not needed after it.
//!
//! One lock a team, held for an addition; the sum of spent and reserved never exceeds the budget, however many
//! requests arrive at once. The amounts start from the ledger at start-up and at each change of month.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use policies::Money;

use crate::config::Team;

/// A request does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// The month's money is spent or reserved.
    #[error("team `{team}` has {left} dollars left of {budget} this month; this request may cost {needed}")]
    Exhausted {
        /// Team.
        team: String,
        /// Monthly budget.
        budget: Money,
        /// What is left.
        left: Money,
        /// Worst case of the request.
        needed: Money,
    },
    /// The worst case is unknown.
    #[error("team `{team}` has a budget, and no price is known for `{model}`")]
    Unpriced {
        /// Team.
        team: String,
        /// Model without a price.
        model: String,
    },
}

#[derive(Debug)]
struct Account {
    team: String,
    budget: Money,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    month_start_ms: i64,
    used: Money,
}

/// All teams that have a budget.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    accounts: Arc<HashMap<String, Arc<Account>>>,
}

impl Budgets {
    /// Budgets of the configured teams. `spent` gives what a team has spent since a time.
    pub fn new(teams: &[Team], month_start_ms: i64, mut spent: impl FnMut(&str) -> Money) -> Self {
        let account = |team: &Team| {
            let budget = team.monthly_budget?;
            let state = State { month_start_ms, used: spent(&team.name) };
            let account = Account { team: team.name.clone(), budget, state: Mutex::new(state) };
            Some((team.name.clone(), Arc::new(account)))
        };
        Self { accounts: Arc::new(teams.iter().filter_map(account).collect()) }
    }

    /// Does this team have a budget?
    #[must_use]
    pub fn limits(&self, team: &str) -> bool {
        self.accounts.contains_key(team)
    }

    /// Reserves a worst case. `None` for a team without a budget.
    ///
    /// # Errors
    /// [`BudgetError`] when it does not fit or is unknown.
    pub fn reserve(
        &self,
        team: &str,
        model: &str,
        worst_case: Option<Money>,
        month_start_ms: i64,
    ) -> Result<Option<Reservation>, BudgetError> {
        let Some(account) = self.accounts.get(team) else { return Ok(None) };
        let Some(needed) = worst_case else {
            return Err(BudgetError::Unpriced { team: team.to_owned(), model: model.to_owned() });
        };
        let mut state = account.state.lock().unwrap_or_else(PoisonError::into_inner);
        if month_start_ms > state.month_start_ms {
            *state = State { month_start_ms, used: Money::ZERO };
        }
        let used = state.used + needed;
        if used > account.budget {
            return Err(BudgetError::Exhausted {
                team: account.team.clone(),
                budget: account.budget,
                left: (account.budget - state.used).max(Money::ZERO),
                needed,
            });
        }
        state.used = used;
        let month_start_ms = state.month_start_ms;
        drop(state);
        Ok(Some(Reservation { account: account.clone(), amount: needed, month_start_ms }))
    }
}

/// Reserved money; dropping it without settling keeps it spent, which is the safe side.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<Account>,
    amount: Money,
    month_start_ms: i64,
}

impl Reservation {
    /// Replaces the reservation by the true cost.
    pub fn settle(self, cost: Money) {
        let mut state = self.account.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.month_start_ms == self.month_start_ms {
            state.used = state.used - self.amount + cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(usd: f64, spent: i64) -> Budgets {
        let team = Team {
            name: "a".into(),
            monthly_budget: Money::from_usd(usd),
            tier: "standard".into(),
            local_priority: 0,
        };
        Budgets::new(&[team], 0, |_| Money::from_nanos(spent))
    }

    #[test]
    fn reservations_never_exceed_the_budget_under_concurrency() {
        let budgets = budgets(1.0, 0);
        let cent = Money::from_usd(0.01);
        let granted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let held: Vec<_> = (0..50)
                            .filter_map(|_| budgets.reserve("a", "m", cent, 0).ok().flatten())
                            .collect();
                        held.len()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(granted, 100);
    }

    #[test]
    fn settling_gives_back_what_was_not_needed() {
        let budgets = budgets(1.0, 0);
        let dollar = Money::from_usd(1.0);
        let held = budgets.reserve("a", "m", dollar, 0).unwrap().unwrap();
        assert!(budgets.reserve("a", "m", Some(Money::from_nanos(1)), 0).is_err());
        held.settle(Money::from_nanos(400_000_000));
        assert!(budgets.reserve("a", "m", Money::from_usd(0.6), 0).unwrap().is_some());
        assert!(budgets.reserve("a", "m", Some(Money::from_nanos(1)), 0).is_err());
        assert!(budgets.reserve("a", "m", dollar, 1).unwrap().is_some(), "a new month starts afresh");
    }

    #[test]
    fn a_budget_starts_from_what_the_ledger_says_and_never_guesses_a_price() {
        let budgets = budgets(1.0, 999_999_999);
        assert!(budgets.reserve("a", "m", Some(Money::from_nanos(2)), 0).is_err());
        assert!(matches!(budgets.reserve("a", "m", None, 0), Err(BudgetError::Unpriced { .. })));
        assert!(budgets.reserve("b", "m", None, 0).unwrap().is_none());
    }
}
