//! Products of quantised weights with rounded activations: the loop where a model spends its time.
//!
//! Three versions of one computation: AVX-512 with byte dot products, AVX2, and portable. The version is
//! chosen once for each call by what the processor has ([`archmage`] tokens; no `unsafe`). All three multiply bytes
//! and add integers exactly within a block, so they differ only in the rounding of sums of blocks. A token's result does not depend on
//! how many tokens are computed beside it: each accumulates its blocks in the same order.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
use archmage::prelude::*;

use super::activations::Block;
use super::layout::{Format, ROWS};

/// Rounded activations of some tokens, `[tokens, blocks]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activations<'a> {
    pub(super) blocks: &'a [Block],
    pub(super) per_token: usize,
}

impl<'a> Activations<'a> {
    fn tokens(&self) -> usize {
        self.blocks.len() / self.per_token
    }

    /// `M` tokens from `first` on.
    #[inline(always)]
    fn rows<const M: usize>(&self, first: usize) -> [&'a [Block]; M] {
        std::array::from_fn(|m| &self.blocks[(first + m) * self.per_token..][..self.per_token])
    }
}

/// Where products go: one slice of consecutive output columns for each token.
pub(super) type Columns<'s, 'y> = &'s mut [&'y mut [f32]];

/// Multiplies consecutive tiles with all tokens. `columns[token]` has 16 places for each tile, fewer for the last one's padding.
pub(super) fn products(format: Format, tiles: &[u8], x: Activations<'_>, columns: Columns<'_, '_>) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(token) = X64V4xToken::summon() {
            return avx512::run(token, format, tiles, x, columns);
        }
        if let Some(token) = X64V3Token::summon() {
            return avx2::run(token, format, tiles, x, columns);
        }
    }
    portable::run(format, tiles, x, columns);
}

/// Calls `kernel` for every tile and group of tokens. Groups come first and tiles last, so that a group's activations and a
/// task's tiles stay in the second-level cache.
#[inline(always)]
fn for_groups(
    format: Format,
    tiles: &[u8],
    x: Activations<'_>,
    group: usize,
    mut kernel: impl FnMut(&[u8], usize, usize, usize),
) {
    let tile_bytes = format.tile_bytes(x.per_token * super::layout::BLOCK);
    let tokens = x.tokens();
    let mut first = 0;
    while first < tokens {
        let mut count = group;
        while count > tokens - first {
            count /= 2;
        }
        for (index, tile) in tiles.chunks_exact(tile_bytes).enumerate() {
            kernel(tile, index, first, count);
        }
        first += count;
    }
}

/// Writes a tile's results, as many rows as the matrix has.
#[inline(always)]
fn store<const M: usize>(results: &[[f32; ROWS]; M], tile: usize, first: usize, columns: Columns<'_, '_>) {
    for (result, target) in results.iter().zip(&mut columns[first..]) {
        let target = &mut target[tile * ROWS..];
        let count = target.len().min(ROWS);
        target[..count].copy_from_slice(&result[..count]);
    }
}
