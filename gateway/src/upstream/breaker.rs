//! A circuit breaker: after repeated failures an upstream is left alone for a while, then tried by one request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
pub const FAILURES_MAX: u32 = 5;
/// How long it stays open before one request may try.
pub const OPEN_FOR: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

/// One upstream's breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

impl Breaker {
    /// Is the upstream left alone at this time?
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open_until.is_some_and(|until| now < until)
    }

    /// May a request be sent now? When the waiting time is over, one caller gets `true` and the time starts anew.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + OPEN_FOR);
                true
            }
            None => true,
        }
    }

    /// Records how a request went. Only failures of the upstream itself count, not faulty requests.
    pub fn record(&self, worked: bool, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if worked {
            *state = State::default();
        } else {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= FAILURES_MAX {
                state.open_until = Some(now + OPEN_FOR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_repeated_failures_and_lets_one_through_after_a_while() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admits(start));
            breaker.record(false, start);
        }
        assert!(breaker.is_open(start) && !breaker.admits(start));
        let later = start + OPEN_FOR;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later), "only one tries");
        breaker.record(true, later);
        assert!(breaker.admits(later));
    }
}
