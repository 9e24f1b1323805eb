//! AVX-512 with VNNI: sixteen rows a register, four columns an instruction.

use archmage::prelude::*;

use super::super::activations::Block;
use super::super::layout::{
    BLOCKS, Format, HALVES, NARROW_UNIT, NIBBLES, PAIRS, ROWS, SUPER4_BLOCK, SUPER4_UNIT, SUPER6_BLOCK,
    SUPER6_CENTRE, SUPER6_UNIT, WIDE_CENTRE, WIDE_OFFSET_UNIT, WIDE_UNIT,
};
use super::{Activations, Columns, for_groups, store};

/// Tokens whose sums are held in registers together.
const GROUP: usize = 8;

#[arcane(import_intrinsics)]
pub(super) fn run(
    _token: X64V4xToken,
    format: Format,
    tiles: &[u8],
    x: Activations<'_>,
    columns: Columns<'_, '_>,
) {
    for_groups(format, tiles, x, GROUP, |tile, index, first, count| match count {
        8 => store(&multiply::<8>(format, tile, x.rows(first)), index, first, columns),
        4 => store(&multiply::<4>(format, tile, x.rows(first)), index, first, columns),
        2 => store(&multiply::<2>(format, tile, x.rows(first)), index, first, columns),
        _ => store(&multiply::<1>(format, tile, x.rows(first)), index, first, columns),
    });
}

#[rite(v4x, import_intrinsics)]
fn multiply<const M: usize>(format: Format, tile: &[u8], x: [&[Block]; M]) -> [[f32; ROWS]; M] {
    let sums = match format {
        Format::Super4 => super4(tile, x),
        Format::Super6 => super6(tile, x),
        Format::Narrow => narrow(tile, x),
        Format::Wide => wide(tile, x),
        Format::WideOffset => wide_offset(tile, x),
    };
    let mut results = [[0.0; ROWS]; M];
    for (result, sum) in results.iter_mut().zip(sums) {
        _mm512_storeu_ps(result, sum);
    }
    results
}

/// Sixteen half-precision numbers.
#[rite(v4x, import_intrinsics)]
fn halves(bytes: &[u8; HALVES]) -> __m512 {
    _mm512_cvtph_ps(_mm256_loadu_si256(bytes))
}

/// Sixteen unsigned bytes as floats.
#[rite(v4x, import_intrinsics)]
fn unsigned(bytes: &[u8; ROWS]) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes)))
}

/// Sixteen signed bytes as floats.
#[rite(v4x, import_intrinsics)]
fn signed(bytes: &[u8; ROWS]) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)))
}

/// The eight column groups of a block of nibbles.
#[rite(v4x, import_intrinsics)]
fn nibbles(bytes: &[u8; NIBBLES]) -> [__m512i; 8] {
    let mask = _mm512_set1_epi8(15);
    let mut groups = [_mm512_setzero_si512(); 8];
    for (pair, vector) in groups.as_chunks_mut::<2>().0.iter_mut().zip(bytes.as_chunks::<64>().0) {
        let vector = _mm512_loadu_si512(vector);
        *pair = [_mm512_and_si512(vector, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(vector), mask)];
    }
    groups
}

/// The eight column groups of a block of bytes.
#[rite(v4x, import_intrinsics)]
fn whole_bytes(bytes: &[u8]) -> [__m512i; 8] {
    let mut groups = [_mm512_setzero_si512(); 8];
    for (group, vector) in groups.iter_mut().zip(bytes.as_chunks::<64>().0) {
        *group = _mm512_loadu_si512(vector);
    }
    groups
}

/// Adds `scale * dot + offset * sum` of a block to each token's sums.
#[rite(v4x, import_intrinsics)]
fn add_block<const M: usize>(
    sums: &mut [__m512; M],
    groups: [__m512i; 8],
    scale: __m512,
    offset: __m512,
    x: &[&[Block]; M],
    block: usize,
) {
    for (sum, row) in sums.iter_mut().zip(x) {
        let x = &row[block];
        let mut dot = _mm512_setzero_si512();
        for (group, &quants) in groups.iter().zip(&x.quants) {
            dot = _mm512_dpbusd_epi32(dot, *group, _mm512_set1_epi32(quants));
        }
        let scaled = _mm512_mul_ps(scale, _mm512_set1_ps(x.scale));
        *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scaled, *sum);
        *sum = _mm512_fmadd_ps(offset, _mm512_set1_ps(x.sum), *sum);
    }
}

#[rite(v4x, import_intrinsics)]
fn super4<const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    for (unit, bytes) in tile.as_chunks::<SUPER4_UNIT>().0.iter().enumerate() {
        let (factors, blocks) = bytes.split_at(2 * HALVES);
        let factors = factors.as_chunks::<HALVES>().0;
        let (scale_factor, minimum_factor) = (halves(&factors[0]), halves(&factors[1]));
        for (block, bytes) in blocks.as_chunks::<SUPER4_BLOCK>().0.iter().enumerate() {
            let (scales, quants) = bytes.split_at(2 * ROWS);
            let scales = scales.as_chunks::<ROWS>().0;
            let scale = _mm512_mul_ps(scale_factor, unsigned(&scales[0]));
            let minimum = _mm512_mul_ps(minimum_factor, unsigned(&scales[1]));
            let offset = _mm512_sub_ps(_mm512_setzero_ps(), minimum);
            let groups = nibbles(&quants.as_chunks::<NIBBLES>().0[0]);
            add_block(&mut sums, groups, scale, offset, &x, unit * BLOCKS + block);
        }
    }
    sums
}

#[rite(v4x, import_intrinsics)]
fn super6<const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [__m512; M] {
    let centre = _mm512_set1_ps(-f32::from(SUPER6_CENTRE));
    let mut sums = [_mm512_setzero_ps(); M];
    for (unit, bytes) in tile.as_chunks::<SUPER6_UNIT>().0.iter().enumerate() {
        let (factor, blocks) = bytes.split_at(HALVES);
        let factor = halves(&factor.as_chunks::<HALVES>().0[0]);
        for (block, bytes) in blocks.as_chunks::<SUPER6_BLOCK>().0.iter().enumerate() {
            let (scales, quants) = bytes.split_at(2 * ROWS);
            let scales = scales.as_chunks::<ROWS>().0;
            let scales =
                [_mm512_mul_ps(factor, signed(&scales[0])), _mm512_mul_ps(factor, signed(&scales[1]))];
            let offsets = [_mm512_mul_ps(scales[0], centre), _mm512_mul_ps(scales[1], centre)];
            let (low, high) = quants.split_at(NIBBLES);
            let groups = six_bits(&low.as_chunks::<NIBBLES>().0[0], &high.as_chunks::<PAIRS>().0[0]);
            for (sum, row) in sums.iter_mut().zip(&x) {
                let x = &row[unit * BLOCKS + block];
                for half in 0..2 {
                    let mut dot = _mm512_setzero_si512();
                    let quants = &x.quants[4 * half..4 * half + 4];
                    for (group, &quants) in groups[4 * half..].iter().zip(quants) {
                        dot = _mm512_dpbusd_epi32(dot, *group, _mm512_set1_epi32(quants));
                    }
                    let scaled = _mm512_mul_ps(scales[half], _mm512_set1_ps(x.scale));
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scaled, *sum);
                    *sum = _mm512_fmadd_ps(offsets[half], _mm512_set1_ps(x.halves[half]), *sum);
                }
            }
        }
    }
    sums
}

/// Joins nibbles with their upper bits.
#[rite(v4x, import_intrinsics)]
fn six_bits(low: &[u8; NIBBLES], high: &[u8; PAIRS]) -> [__m512i; 8] {
    let mask = _mm512_set1_epi8(0x30);
    let mut groups = nibbles(low);
    for (four, vector) in groups.as_chunks_mut::<4>().0.iter_mut().zip(high.as_chunks::<64>().0) {
        let vector = _mm512_loadu_si512(vector);
        let uppers = [
            _mm512_slli_epi16::<4>(vector),
            _mm512_slli_epi16::<2>(vector),
            vector,
            _mm512_srli_epi16::<2>(vector),
        ];
        for (group, upper) in four.iter_mut().zip(uppers) {
            *group = _mm512_or_si512(*group, _mm512_and_si512(upper, mask));
        }
    }
    groups
}

#[rite(v4x, import_intrinsics)]
fn narrow<const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    for (block, bytes) in tile.as_chunks::<NARROW_UNIT>().0.iter().enumerate() {
        let (factors, quants) = bytes.split_at(2 * HALVES);
        let factors = factors.as_chunks::<HALVES>().0;
        let groups = nibbles(&quants.as_chunks::<NIBBLES>().0[0]);
        add_block(&mut sums, groups, halves(&factors[0]), halves(&factors[1]), &x, block);
    }
    sums
}

#[rite(v4x, import_intrinsics)]
fn wide<const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [__m512; M] {
    let centre = _mm512_set1_ps(-f32::from(WIDE_CENTRE));
    let mut sums = [_mm512_setzero_ps(); M];
    for (block, bytes) in tile.as_chunks::<WIDE_UNIT>().0.iter().enumerate() {
        let (factor, quants) = bytes.split_at(HALVES);
        let scale = halves(&factor.as_chunks::<HALVES>().0[0]);
        add_block(&mut sums, whole_bytes(quants), scale, _mm512_mul_ps(scale, centre), &x, block);
    }
    sums
}

#[rite(v4x, import_intrinsics)]
fn wide_offset<const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    for (block, bytes) in tile.as_chunks::<WIDE_OFFSET_UNIT>().0.iter().enumerate() {
        let (factors, quants) = bytes.split_at(2 * HALVES);
        let factors = factors.as_chunks::<HALVES>().0;
        add_block(&mut sums, whole_bytes(quants), halves(&factors[0]), halves(&factors[1]), &x, block);
    }
    sums
}
