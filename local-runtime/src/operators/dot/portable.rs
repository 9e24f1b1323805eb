//! Plain Rust, for processors without AVX2 and as what the other versions are tested against.

use super::super::activations::Block;
use super::super::layout::{
    BLOCK, BLOCKS, Format, HALVES, NIBBLES, ROWS, SUPER4_BLOCK, SUPER6_BLOCK, SUPER6_CENTRE, WIDE_CENTRE,
};
use super::{Activations, Columns, for_groups, store};

/// Bytes of a block's quants, one each, in column groups of 64.
type Quants = [u8; ROWS * BLOCK];
/// A number for each row.
type Lanes = [f32; ROWS];

pub(super) fn run(format: Format, tiles: &[u8], x: Activations<'_>, columns: Columns<'_, '_>) {
    for_groups(format, tiles, x, 1, |tile, index, first, _| {
        let [row] = x.rows::<1>(first);
        store(&[multiply(format, tile, row)], index, first, columns);
    });
}

fn multiply(format: Format, tile: &[u8], x: &[Block]) -> Lanes {
    let mut sums = [0.0; ROWS];
    for (unit, bytes) in tile.chunks_exact(format.unit_bytes()).enumerate() {
        match format {
            Format::Super4 => {
                let (factor, minimum_factor) = (halves(bytes), halves(&bytes[HALVES..]));
                for (block, bytes) in bytes[2 * HALVES..].chunks_exact(SUPER4_BLOCK).enumerate() {
                    let scale = std::array::from_fn(|r| factor[r] * f32::from(bytes[r]));
                    let offset = std::array::from_fn(|r| -minimum_factor[r] * f32::from(bytes[ROWS + r]));
                    let x = &x[unit * BLOCKS + block];
                    add(
                        &mut sums,
                        &dot(&nibbles(&bytes[2 * ROWS..]), x, 0..8),
                        scale,
                        x.scale,
                        offset,
                        x.sum,
                    );
                }
            }
            Format::Super6 => {
                let factor = halves(bytes);
                for (block, bytes) in bytes[HALVES..].chunks_exact(SUPER6_BLOCK).enumerate() {
                    let (x, quants) = (&x[unit * BLOCKS + block], six_bits(&bytes[2 * ROWS..]));
                    for half in 0..2 {
                        let scale: Lanes =
                            std::array::from_fn(|r| factor[r] * f32::from(bytes[half * ROWS + r] as i8));
                        let offset = scale.map(|scale| -f32::from(SUPER6_CENTRE) * scale);
                        let dot = dot(&quants, x, 4 * half..4 * half + 4);
                        add(&mut sums, &dot, scale, x.scale, offset, x.halves[half]);
                    }
                }
            }
            Format::Narrow | Format::Wide | Format::WideOffset => {
                let scale = halves(bytes);
                let (offset, at) = match format {
                    Format::Wide => (scale.map(|scale| -f32::from(WIDE_CENTRE) * scale), HALVES),
                    _ => (halves(&bytes[HALVES..]), 2 * HALVES),
                };
                let quants =
                    if format == Format::Narrow { nibbles(&bytes[at..]) } else { whole_bytes(&bytes[at..]) };
                add(&mut sums, &dot(&quants, &x[unit], 0..8), scale, x[unit].scale, offset, x[unit].sum);
            }
        }
    }
    sums
}

fn halves(bytes: &[u8]) -> Lanes {
    std::array::from_fn(|r| half::f16::from_le_bytes([bytes[2 * r], bytes[2 * r + 1]]).to_f32())
}

fn nibbles(bytes: &[u8]) -> Quants {
    std::array::from_fn(|i| {
        let byte = bytes[i / 128 * 64 + i % 64];
        if i / 64 % 2 == 0 { byte & 15 } else { byte >> 4 }
    })
}

fn six_bits(bytes: &[u8]) -> Quants {
    let (low, high) = (nibbles(bytes), &bytes[NIBBLES..]);
    std::array::from_fn(|i| low[i] | (high[i / 256 * 64 + i % 64] >> (2 * (i / 64 % 4)) & 3) << 4)
}

fn whole_bytes(bytes: &[u8]) -> Quants {
    std::array::from_fn(|i| bytes[i])
}

fn dot(quants: &Quants, x: &Block, groups: std::ops::Range<usize>) -> [i32; ROWS] {
    let mut sums = [0; ROWS];
    for group in groups {
        let x = x.quants[group].to_le_bytes();
        let quants = &quants[64 * group..][..64];
        for (sum, four) in sums.iter_mut().zip(quants.as_chunks::<4>().0) {
            for (&q, &x) in four.iter().zip(&x) {
                *sum += i32::from(q) * i32::from(x as i8);
            }
        }
    }
    sums
}

fn add(sums: &mut Lanes, dot: &[i32; ROWS], scale: Lanes, x_scale: f32, offset: Lanes, x_sum: f32) {
    for r in 0..ROWS {
        sums[r] = (dot[r] as f32).mul_add(scale[r] * x_scale, sums[r]);
        sums[r] = offset[r].mul_add(x_sum, sums[r]);
    }
}
