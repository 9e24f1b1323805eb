//! Activations rounded to 8 bits, the other side of the products of [`super::dot`].
//!
//! Each 32 neighbours share a scale, `max |x| / 127` (as ggml's `Q8_0`), so that one outlier spoils no more than
//! its neighbours. The sums that offsets need are kept beside the quants. Every row is rounded by itself: a
//! token's result does not depend on what is computed beside it.

use archmage::prelude::*;

use super::layout::BLOCK;
use crate::exponential::exponential;

/// Thirty-two neighbours: `x ≈ scale * q`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(crate) struct Block {
    /// Four signed bytes each, the first in the lowest bits.
    pub(super) quants: [i32; BLOCK / 4],
    pub(super) scale: f32,
    /// `scale * Σq` of the whole block.
    pub(super) sum: f32,
    /// The same of its halves.
    pub(super) halves: [f32; 2],
}

/// What happens to activations before they are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prologue {
    /// Nothing.
    Plain,
    /// `silu(gate) * up` of a row `[gate | up]` of twice the length.
    SiluGate,
    /// `gelu(gate) * up`, with the hyperbolic tangent's approximation.
    GeluGate,
}

impl Prologue {
    /// The name in a network's attributes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::SiluGate => "silu_gate",
            Self::GeluGate => "gelu_gate",
        }
    }

    /// The inverse of [`Prologue::name`].
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::SiluGate, Self::GeluGate].into_iter().find(|prologue| prologue.name() == name)
    }

    /// Numbers that go in for each that comes out.
    pub(crate) fn arity(self) -> usize {
        if self == Self::Plain { 1 } else { 2 }
    }
}

/// Rounds one row. `row` has `prologue.arity()` times 32 numbers for each block.
pub(crate) fn round_row(prologue: Prologue, row: &[f32], blocks: &mut [Block]) {
    match prologue {
        Prologue::Plain => round_plain(row, blocks),
        Prologue::SiluGate => round_gated(row, blocks, false),
        Prologue::GeluGate => round_gated(row, blocks, true),
    }
}

#[autoversion(v4, v3, neon)]
fn round_plain(row: &[f32], blocks: &mut [Block]) {
    for (values, block) in row.as_chunks::<BLOCK>().0.iter().zip(blocks) {
        *block = round_block(values);
    }
}

#[autoversion(v4, v3, neon)]
fn round_gated(row: &[f32], blocks: &mut [Block], gelu: bool) {
    let (gates, ups) = row.split_at(row.len() / 2);
    for ((gate, up), block) in gates.as_chunks::<BLOCK>().0.iter().zip(ups.as_chunks::<BLOCK>().0).zip(blocks)
    {
        let mut values = [0.0; BLOCK];
        if gelu {
            for ((value, &g), &u) in values.iter_mut().zip(gate).zip(up) {
                // 0.5 x (1 + tanh(z)) = x * sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel 2016.
                let z = 0.797_884_6 * (g + 0.044_715 * g * g * g);
                *value = g / (1.0 + exponential(-2.0 * z)) * u;
            }
        } else {
            for ((value, &g), &u) in values.iter_mut().zip(gate).zip(up) {
                *value = g / (1.0 + exponential(-g)) * u;
            }
        }
        *block = round_block(&values);
    }
}

#[inline(always)]
fn round_block(values: &[f32; BLOCK]) -> Block {
    let mut lanes = [0.0_f32; 16];
    for half in values.as_chunks::<16>().0 {
        for (lane, value) in lanes.iter_mut().zip(half) {
            *lane = lane.max(value.abs());
        }
    }
    let largest = lanes.iter().copied().fold(0.0, f32::max);
    // What is not finite makes the whole block so: it must come out as an error, not as a number.
    let is_finite = values.iter().all(|value| value.is_finite());
    let scale = if is_finite { largest / 127.0 } else { f32::NAN };
    // Below this the inverse would be infinite; such a block is zero.
    let inverse = if is_finite && largest > 1e-30 { 127.0 / largest } else { 0.0 };
    let mut rounded = [0_i32; BLOCK];
    for (q, value) in rounded.iter_mut().zip(values) {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even, without a branch.
        *q = ((value * inverse + 12_582_912.0) - 12_582_912.0) as i32;
    }
    let mut quants = [0_i32; BLOCK / 4];
    for (packed, four) in quants.iter_mut().zip(rounded.as_chunks::<4>().0) {
        *packed = (four[0] & 255) | (four[1] & 255) << 8 | (four[2] & 255) << 16 | four[3] << 24;
    }
    let sums = [&rounded[..16], &rounded[16..]].map(|half| half.iter().sum::<i32>());
    let halves = sums.map(|sum| scale * sum as f32);
    Block { quants, scale, sum: scale * (sums[0] + sums[1]) as f32, halves }
}
