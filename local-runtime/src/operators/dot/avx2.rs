//! AVX2: a tile as two halves of eight rows. There is no byte dot product, so bytes are multiplied into 16-bit pairs
//! (`vpmaddubsw`), which saturates: see [`dot`] for why it never does here.

use archmage::prelude::*;

use super::super::activations::Block;
use super::super::layout::{
    BLOCKS, Format, HALVES, NIBBLES, ROWS, SUPER4_BLOCK, SUPER6_BLOCK, SUPER6_CENTRE, WIDE_CENTRE,
};
use super::{Activations, Columns, for_groups, store};

/// Tokens whose sums are held in registers together.
const GROUP: usize = 4;
/// A tile's rows, eight in each.
type Lanes = [__m256; 2];
/// The column groups of a block for eight rows.
type Groups = [__m256i; 8];

#[arcane(import_intrinsics)]
pub(super) fn run(
    _token: X64V3Token,
    format: Format,
    tiles: &[u8],
    x: Activations<'_>,
    columns: Columns<'_, '_>,
) {
    for_groups(format, tiles, x, GROUP, |tile, index, first, count| match count {
        4 => store(&multiply::<4>(format, tile, x.rows(first)), index, first, columns),
        2 => store(&multiply::<2>(format, tile, x.rows(first)), index, first, columns),
        _ => store(&multiply::<1>(format, tile, x.rows(first)), index, first, columns),
    });
}

#[rite(v3, import_intrinsics)]
fn multiply<const M: usize>(format: Format, tile: &[u8], x: [&[Block]; M]) -> [[f32; ROWS]; M] {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    for (unit, bytes) in tile.chunks_exact(format.unit_bytes()).enumerate() {
        match format {
            Format::Super4 => super4(&mut sums, bytes, &x, unit),
            Format::Super6 => super6(&mut sums, bytes, &x, unit),
            Format::Narrow => {
                let (scale, offset) = (halves(bytes), halves(&bytes[HALVES..]));
                let quants = nibbles(&bytes[2 * HALVES..]);
                add_block(&mut sums, &quants, false, scale, offset, &x, unit);
            }
            Format::Wide => {
                let scale = halves(bytes);
                let offset = scaled(scale, -f32::from(WIDE_CENTRE));
                add_block(&mut sums, &whole_bytes(&bytes[HALVES..]), true, scale, offset, &x, unit);
            }
            Format::WideOffset => {
                let (scale, offset) = (halves(bytes), halves(&bytes[HALVES..]));
                add_block(&mut sums, &whole_bytes(&bytes[2 * HALVES..]), true, scale, offset, &x, unit);
            }
        }
    }
    let mut results = [[0.0; ROWS]; M];
    for (result, sum) in results.iter_mut().zip(sums) {
        for (half, sum) in result.as_chunks_mut::<8>().0.iter_mut().zip(sum) {
            _mm256_storeu_ps(half, sum);
        }
    }
    results
}

#[rite(v3, import_intrinsics)]
fn super4<const M: usize>(sums: &mut [Lanes; M], unit_bytes: &[u8], x: &[&[Block]; M], unit: usize) {
    let (factor, minimum_factor) = (halves(unit_bytes), scaled(halves(&unit_bytes[HALVES..]), -1.0));
    for (block, bytes) in unit_bytes[2 * HALVES..].chunks_exact(SUPER4_BLOCK).enumerate() {
        let scale = multiplied(factor, unsigned(bytes));
        let offset = multiplied(minimum_factor, unsigned(&bytes[ROWS..]));
        let quants = nibbles(&bytes[2 * ROWS..]);
        add_block(sums, &quants, false, scale, offset, x, unit * BLOCKS + block);
    }
}

#[rite(v3, import_intrinsics)]
fn super6<const M: usize>(sums: &mut [Lanes; M], unit_bytes: &[u8], x: &[&[Block]; M], unit: usize) {
    let factor = halves(unit_bytes);
    for (block, bytes) in unit_bytes[HALVES..].chunks_exact(SUPER6_BLOCK).enumerate() {
        let scales = [multiplied(factor, signed(bytes)), multiplied(factor, signed(&bytes[ROWS..]))];
        let offsets = scales.map(|scale| scaled(scale, -f32::from(SUPER6_CENTRE)));
        let quants = six_bits(&bytes[2 * ROWS..]);
        for (sum, row) in sums.iter_mut().zip(x) {
            let x = &row[unit * BLOCKS + block];
            for rows in 0..2 {
                for half in 0..2 {
                    let groups = &quants[rows][4 * half..4 * half + 4];
                    let dot = dot(groups, &x.quants[4 * half..4 * half + 4], 2);
                    let scale = _mm256_mul_ps(scales[half][rows], _mm256_set1_ps(x.scale));
                    sum[rows] = _mm256_fmadd_ps(dot, scale, sum[rows]);
                    sum[rows] =
                        _mm256_fmadd_ps(offsets[half][rows], _mm256_set1_ps(x.halves[half]), sum[rows]);
                }
            }
        }
    }
}

/// Adds `scale * dot + offset * sum` of a block to each token's sums.
#[rite(v3, import_intrinsics)]
fn add_block<const M: usize>(
    sums: &mut [Lanes; M],
    quants: &[Groups; 2],
    whole: bool,
    scale: Lanes,
    offset: Lanes,
    x: &[&[Block]; M],
    block: usize,
) {
    for (sum, row) in sums.iter_mut().zip(x) {
        let x = &row[block];
        for rows in 0..2 {
            let dot =
                if whole { dot_bytes(&quants[rows], &x.quants) } else { dot(&quants[rows], &x.quants, 8) };
            let scale = _mm256_mul_ps(scale[rows], _mm256_set1_ps(x.scale));
            sum[rows] = _mm256_fmadd_ps(dot, scale, sum[rows]);
            sum[rows] = _mm256_fmadd_ps(offset[rows], _mm256_set1_ps(x.sum), sum[rows]);
        }
    }
}

/// Sums of products over some column groups. Pairs of products are added in 16 bits, `run` groups at a time: at most
/// `8 * 2 * 15 * 127` for nibbles and `2 * 2 * 63 * 127` for six bits, both below 32768.
#[rite(v3, import_intrinsics)]
fn dot(groups: &[__m256i], x: &[i32], run: usize) -> __m256 {
    let mut total = _mm256_setzero_si256();
    for (groups, x) in groups.chunks(run).zip(x.chunks(run)) {
        let mut pairs = _mm256_setzero_si256();
        for (group, &x) in groups.iter().zip(x) {
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*group, _mm256_set1_epi32(x)));
        }
        total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    _mm256_cvtepi32_ps(total)
}

/// The same for whole bytes, whose pairs would not fit in 16 bits: both nibbles apart.
#[rite(v3, import_intrinsics)]
fn dot_bytes(groups: &Groups, x: &[i32; 8]) -> __m256 {
    let mask = _mm256_set1_epi8(15);
    let mut parts = [_mm256_setzero_si256(); 2];
    for (group, &x) in groups.iter().zip(x) {
        let x = _mm256_set1_epi32(x);
        let nibbles =
            [_mm256_and_si256(*group, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(*group), mask)];
        for (part, nibbles) in parts.iter_mut().zip(nibbles) {
            *part = _mm256_add_epi16(*part, _mm256_maddubs_epi16(nibbles, x));
        }
    }
    let low = _mm256_madd_epi16(parts[0], _mm256_set1_epi16(1));
    _mm256_cvtepi32_ps(_mm256_add_epi32(low, _mm256_madd_epi16(parts[1], _mm256_set1_epi16(16))))
}

/// Sixteen half-precision numbers.
#[rite(v3, import_intrinsics)]
fn halves(bytes: &[u8]) -> Lanes {
    let bytes = bytes.as_chunks::<ROWS>().0;
    [_mm256_cvtph_ps(_mm_loadu_si128(&bytes[0])), _mm256_cvtph_ps(_mm_loadu_si128(&bytes[1]))]
}

#[rite(v3, import_intrinsics)]
fn unsigned(bytes: &[u8]) -> Lanes {
    let bytes = _mm_loadu_si128(&bytes.as_chunks::<ROWS>().0[0]);
    [bytes, _mm_srli_si128::<8>(bytes)].map(|eight| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight)))
}

#[rite(v3, import_intrinsics)]
fn signed(bytes: &[u8]) -> Lanes {
    let bytes = _mm_loadu_si128(&bytes.as_chunks::<ROWS>().0[0]);
    [bytes, _mm_srli_si128::<8>(bytes)].map(|eight| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)))
}

#[rite(v3, import_intrinsics)]
fn multiplied(a: Lanes, b: Lanes) -> Lanes {
    [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
}

#[rite(v3, import_intrinsics)]
fn scaled(a: Lanes, factor: f32) -> Lanes {
    multiplied(a, [_mm256_set1_ps(factor); 2])
}

/// The column groups of a block of nibbles, for both halves of the rows.
#[rite(v3, import_intrinsics)]
fn nibbles(bytes: &[u8]) -> [Groups; 2] {
    let mask = _mm256_set1_epi8(15);
    let mut quants = [[_mm256_setzero_si256(); 8]; 2];
    for (i, vector) in bytes[..NIBBLES].as_chunks::<32>().0.iter().enumerate() {
        let vector = _mm256_loadu_si256(vector);
        quants[i % 2][i / 2 * 2] = _mm256_and_si256(vector, mask);
        quants[i % 2][i / 2 * 2 + 1] = _mm256_and_si256(_mm256_srli_epi16::<4>(vector), mask);
    }
    quants
}

#[rite(v3, import_intrinsics)]
fn six_bits(bytes: &[u8]) -> [Groups; 2] {
    let mask = _mm256_set1_epi8(0x30);
    let mut quants = nibbles(bytes);
    for (i, vector) in bytes[NIBBLES..].as_chunks::<32>().0.iter().enumerate() {
        let vector = _mm256_loadu_si256(vector);
        let uppers = [
            _mm256_slli_epi16::<4>(vector),
            _mm256_slli_epi16::<2>(vector),
            vector,
            _mm256_srli_epi16::<2>(vector),
        ];
        for (group, upper) in quants[i % 2][i / 2 * 4..].iter_mut().zip(uppers) {
            *group = _mm256_or_si256(*group, _mm256_and_si256(upper, mask));
        }
    }
    quants
}

#[rite(v3, import_intrinsics)]
fn whole_bytes(bytes: &[u8]) -> [Groups; 2] {
    let mut quants = [[_mm256_setzero_si256(); 8]; 2];
    for (i, vector) in bytes.as_chunks::<32>().0.iter().take(16).enumerate() {
        quants[i % 2][i / 2] = _mm256_loadu_si256(vector);
    }
    quants
}
