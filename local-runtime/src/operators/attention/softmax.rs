//! Attention of some rows to the pages of their sequence.
//!
//! Plain loops over arrays of fixed length, compiled for each instruction set.

use archmage::prelude::*;

use super::PAGE_TOKENS;
use crate::exponential::exponential;

/// A page that rows attend to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    /// Position of its first token.
    pub(super) first: usize,
    /// `[size, 32]`, half precision.
    pub(super) keys: &'a [u16],
    /// `[32, size]`, half precision.
    pub(super) values: &'a [u16],
}

/// Scores of a row with a page's tokens.
type Scores = [f32; PAGE_TOKENS];

/// `queries` is `[tokens, group, size]`, scaled; the first token is at position `first`; `outputs` has `[group * size]` for each
/// token. A window of 0 is none.
#[autoversion(v4, v3, neon)]
pub(super) fn attend(
    queries: &[f32],
    group: usize,
    first: usize,
    window: usize,
    past: &[Past<'_>],
    outputs: &mut [&mut [f32]],
) {
    let rows = outputs.len() * group;
    let size = queries.len() / rows;
    let (mut keys, mut values) = (vec![0.0; size * PAGE_TOKENS], vec![0.0; size * PAGE_TOKENS]);
    let mut sums = vec![0.0; queries.len()];
    // Largest score and sum of exponentials of each row so far.
    let mut states = vec![(f32::NEG_INFINITY, 0.0_f32); rows];
    for page in past {
        widen(page.keys, &mut keys);
        widen(page.values, &mut values);
        let mut row = 0;
        while row < rows {
            let left = rows - row;
            let count = if left >= 4 {
                4
            } else if left >= 2 {
                2
            } else {
                1
            };
            let mut scores = [[0.0; PAGE_TOKENS]; 4];
            let q = &queries[row * size..][..count * size];
            match count {
                4 => score::<4>(q, &keys, &mut scores),
                2 => score::<2>(q, &keys, &mut scores),
                _ => score::<1>(q, &keys, &mut scores),
            }
            for (i, scores) in scores[..count].iter_mut().enumerate() {
                let position = first + (row + i) / group;
                let oldest = if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
                let valid = (oldest.saturating_sub(page.first), (position + 1).saturating_sub(page.first));
                let sums = &mut sums[(row + i) * size..][..size];
                weigh(scores, valid, &mut states[row + i], sums);
            }
            let sums = &mut sums[row * size..][..count * size];
            match count {
                4 => accumulate::<4>(&scores, &values, sums),
                2 => accumulate::<2>(&scores, &values, sums),
                _ => accumulate::<1>(&scores, &values, sums),
            }
            row += count;
        }
    }
    let results = sums.chunks_exact(size).zip(&states);
    for (output, (sum, (_, total))) in outputs.iter_mut().flat_map(|o| o.chunks_exact_mut(size)).zip(results)
    {
        for (output, sum) in output.iter_mut().zip(sum) {
            *output = sum / total;
        }
    }
}

/// Half precision to single: the exponents are moved by a multiplication with 2^112, which is exact, for subnormal numbers too.
#[inline(always)]
fn widen(halves: &[u16], floats: &mut [f32]) {
    for (float, &half) in floats.iter_mut().zip(halves) {
        let magnitude = f32::from_bits((u32::from(half) & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        *float = f32::from_bits(magnitude.to_bits() | (u32::from(half) & 0x8000) << 16);
    }
}

#[inline(always)]
fn score<const R: usize>(queries: &[f32], keys: &[f32], scores: &mut [Scores; 4]) {
    let size = queries.len() / R;
    let rows: [&[f32]; R] = std::array::from_fn(|r| &queries[r * size..][..size]);
    let mut sums = [[0.0_f32; PAGE_TOKENS]; R];
    for (d, keys) in keys.as_chunks::<PAGE_TOKENS>().0.iter().enumerate() {
        for r in 0..R {
            let q = rows[r][d];
            for t in 0..PAGE_TOKENS {
                sums[r][t] = q.mul_add(keys[t], sums[r][t]);
            }
        }
    }
    scores[..R].copy_from_slice(&sums);
}

/// Turns scores into weights relative to the largest score so far, and rescales what was summed before if that grew.
#[inline(always)]
fn weigh(scores: &mut Scores, valid: (usize, usize), state: &mut (f32, f32), sums: &mut [f32]) {
    let mut largest = state.0;
    for (t, &score) in scores.iter().enumerate() {
        let score = if t >= valid.0 && t < valid.1 { score } else { f32::NEG_INFINITY };
        largest = if score > largest { score } else { largest };
    }
    if largest == f32::NEG_INFINITY {
        *scores = [0.0; PAGE_TOKENS];
        return;
    }
    let mut total = [0.0_f32; 16];
    for (half, scores) in scores.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        for t in 0..16 {
            let at = half * 16 + t;
            let weight = exponential(scores[t] - largest);
            scores[t] = if at >= valid.0 && at < valid.1 { weight } else { 0.0 };
            total[t] += scores[t];
        }
    }
    if largest > state.0 {
        let factor = if state.0 == f32::NEG_INFINITY { 0.0 } else { exponential(state.0 - largest) };
        sums.iter_mut().for_each(|sum| *sum *= factor);
        state.1 *= factor;
        state.0 = largest;
    }
    state.1 += total.iter().sum::<f32>();
}

#[inline(always)]
fn accumulate<const R: usize>(weights: &[Scores; 4], values: &[f32], sums: &mut [f32]) {
    let size = sums.len() / R;
    let mut column = 0;
    while column + 16 <= size {
        accumulate_columns::<R, 16>(weights, values, sums, size, column);
        column += 16;
    }
    if column < size {
        accumulate_columns::<R, 8>(weights, values, sums, size, column);
    }
}

#[inline(always)]
fn accumulate_columns<const R: usize, const W: usize>(
    weights: &[Scores; 4],
    values: &[f32],
    sums: &mut [f32],
    size: usize,
    column: usize,
) {
    let mut parts = [[0.0_f32; W]; R];
    for (t, values) in values.chunks_exact(size).enumerate() {
        let values = &values[column..column + W];
        for r in 0..R {
            for c in 0..W {
                parts[r][c] = weights[r][t].mul_add(values[c], parts[r][c]);
            }
        }
    }
    for (r, part) in parts.iter().enumerate() {
        for (sum, part) in sums[r * size + column..][..W].iter_mut().zip(part) {
            *sum += part;
        }
    }
}
