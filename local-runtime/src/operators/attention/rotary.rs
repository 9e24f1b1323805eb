//! Rotary positions (Su et al. 2021, RoFormer), the two halves of a head turned against each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Plan;

/// Cosines and sines of the current step, shared by the layers that have the same frequencies.
#[derive(Debug, Default)]
pub(super) struct Rotary {
    tables: Mutex<HashMap<usize, (u64, Arc<Tables>)>>,
}

/// Cosines and sines `[rows, rotary / 2]` of a step's rows.
#[derive(Debug)]
pub(super) struct Tables {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rotary {
    /// The tables for a plan. `frequencies` and `magnitudes` are those of ordinary and of long sequences.
    pub(super) fn tables(
        &self,
        table: usize,
        plan: &Plan,
        frequencies: [&[f32]; 2],
        magnitudes: [f32; 2],
    ) -> Arc<Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, found)) = tables.get(&table)
            && *number == plan.number
        {
            return Arc::clone(found);
        }
        let made = Arc::new(Tables::of(plan, frequencies, magnitudes));
        tables.insert(table, (plan.number, Arc::clone(&made)));
        made
    }
}

impl Tables {
    fn of(plan: &Plan, frequencies: [&[f32]; 2], magnitudes: [f32; 2]) -> Self {
        let half = frequencies[0].len();
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for span in &plan.spans {
            let (frequencies, magnitude) =
                (frequencies[usize::from(span.long)], magnitudes[usize::from(span.long)]);
            for position in span.position..span.position + span.count {
                for &frequency in frequencies {
                    // In double precision, since far positions turn many times.
                    let (sine, cosine) = (position as f64 * f64::from(frequency)).sin_cos();
                    cosines.push(cosine as f32 * magnitude);
                    sines.push(sine as f32 * magnitude);
                }
            }
        }
        Self { half, cosines, sines }
    }

    /// Turns the rotary part of a head; the rest stays.
    pub(super) fn rotate(&self, row: usize, head: &mut [f32]) {
        let (cosines, sines) = (&self.cosines[row * self.half..], &self.sines[row * self.half..]);
        let (first, rest) = head.split_at_mut(self.half);
        for (((a, b), cosine), sine) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
            (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
        }
    }
}
