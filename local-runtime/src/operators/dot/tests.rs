//! The three versions against floating point, and their speed when asked for.

use half::f16;

use super::*;
use crate::convert::BlockType;
use crate::operators::activations::{Prologue, round_row};
use crate::operators::layout::{BLOCK, pack_tile, unpack_row};

const KINDS: [BlockType; 8] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
    BlockType::Q4_K,
    BlockType::Q5_K,
    BlockType::Q6_K,
];

/// Random blocks of a format whose half-precision factors are of ordinary size.
fn random_row(kind: BlockType, columns: usize, random: &mut impl FnMut() -> u32) -> Vec<u8> {
    let block = kind.bytes(kind.block_elements());
    let mut row: Vec<u8> = (0..kind.bytes(columns)).map(|_| random() as u8).collect();
    let halves: &[usize] = match kind {
        BlockType::Q6_K => &[208],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4_K | BlockType::Q5_K => &[0, 2],
        _ => &[0],
    };
    for block in row.chunks_exact_mut(block) {
        for &at in halves {
            let value = f16::from_f32((random() % 2000) as f32 / 1e5 - 0.01);
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    row
}

fn generator(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state >> 3
    }
}

struct Case {
    format: Format,
    rows: usize,
    weights: Vec<f32>,
    tiles: Vec<u8>,
    x: Vec<f32>,
    blocks: Vec<Block>,
    per_token: usize,
}

fn case(kind: BlockType, rows: usize, columns: usize, tokens: usize) -> Case {
    let mut random = generator(7 + rows as u32);
    let format = Format::of(kind).expect("quantised");
    let stored: Vec<Vec<u8>> = (0..rows).map(|_| random_row(kind, columns, &mut random)).collect();
    let mut tiles = Vec::new();
    for sixteen in stored.chunks(ROWS) {
        let rows: Vec<&[u8]> = sixteen.iter().map(Vec::as_slice).collect();
        pack_tile(kind, format, &rows, &mut tiles);
    }
    assert_eq!(tiles.len(), format.matrix_bytes(rows, columns));
    let weights = stored.iter().flat_map(|row| kind.floats(row)).collect();
    let x: Vec<f32> = (0..tokens * columns).map(|_| (random() % 2001) as f32 / 1000.0 - 1.0).collect();
    let per_token = columns / BLOCK;
    let mut blocks = vec![Block::default(); tokens * per_token];
    for (row, blocks) in x.chunks(columns).zip(blocks.chunks_mut(per_token)) {
        round_row(Prologue::Plain, row, blocks);
    }
    Case { format, rows, weights, tiles, x, blocks, per_token }
}

type Version = fn(Format, &[u8], Activations<'_>, Columns<'_, '_>);

/// Every version that this processor can run.
fn versions() -> Vec<(&'static str, Version)> {
    let mut versions: Vec<(&'static str, Version)> = vec![("portable", portable::run)];
    #[cfg(target_arch = "x86_64")]
    {
        if X64V3Token::summon().is_some() {
            versions
                .push(("avx2", |f, t, x, c| avx2::run(X64V3Token::summon().expect("checked"), f, t, x, c)));
        }
        if X64V4xToken::summon().is_some() {
            versions.push(("avx512", |f, t, x, c| {
                avx512::run(X64V4xToken::summon().expect("checked"), f, t, x, c)
            }));
        }
    }
    versions
}

fn run(case: &Case, version: Version, first: usize, tokens: usize) -> Vec<f32> {
    let mut y = vec![0.0; tokens * case.rows];
    let mut columns: Vec<&mut [f32]> = y.chunks_mut(case.rows).collect();
    let blocks = &case.blocks[first * case.per_token..][..tokens * case.per_token];
    version(case.format, &case.tiles, Activations { blocks, per_token: case.per_token }, &mut columns);
    y
}

#[test]
fn packing_keeps_every_weight() {
    for kind in KINDS {
        let case = case(kind, 19, 512, 1);
        let tile_bytes = case.format.tile_bytes(512);
        let mut weights = Vec::new();
        for row in 0..case.rows {
            unpack_row(
                case.format,
                &case.tiles[row / ROWS * tile_bytes..][..tile_bytes],
                row % ROWS,
                &mut weights,
            );
        }
        let largest = case.weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        // Only the products of scales of Q5_K are rounded, to 11 bits; the rest is a reordering of sums.
        let tolerance = if kind == BlockType::Q5_K { 1e-3 } else { 1e-6 };
        for (expected, weight) in case.weights.iter().zip(&weights) {
            assert!((expected - weight).abs() <= tolerance * largest, "{kind:?}: {expected} {weight}");
        }
    }
}

#[test]
fn products_match_floating_point() {
    for kind in KINDS {
        let (columns, tokens) = (768, 15);
        let case = case(kind, 37, columns, tokens);
        for (name, version) in versions() {
            let y = run(&case, version, 0, tokens);
            let (mut wrong, mut size) = (0.0_f64, 0.0_f64);
            for (x, y) in case.x.chunks(columns).zip(y.chunks(case.rows)) {
                for (weights, &y) in case.weights.chunks(columns).zip(y) {
                    let exact: f64 = x.iter().zip(weights).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
                    wrong += (exact - f64::from(y)).powi(2);
                    size += exact * exact;
                }
            }
            // Rounding activations to 8 bits gives about 0.4 %.
            assert!(wrong.sqrt() < 0.01 * size.sqrt(), "{kind:?} {name}: {}", (wrong / size).sqrt());
        }
    }
}

#[test]
fn versions_agree_and_no_token_depends_on_its_neighbours() {
    for kind in KINDS {
        let (columns, tokens) = (512, 15);
        let case = case(kind, 33, columns, tokens);
        let reference = run(&case, versions()[0].1, 0, tokens);
        let size = reference.iter().fold(0.0_f32, |size, y| size.max(y.abs()));
        for (name, version) in versions() {
            let together = run(&case, version, 0, tokens);
            for (a, b) in reference.iter().zip(&together) {
                assert!((a - b).abs() < 1e-5 * size, "{kind:?} {name}: {a} {b}");
            }
            for token in 0..tokens {
                let alone = run(&case, version, token, 1);
                assert_eq!(
                    alone,
                    together[token * case.rows..][..case.rows],
                    "{kind:?} {name}, token {token}"
                );
            }
        }
    }
}

/// `cargo test -p sluicegate-local-runtime --release -- --ignored --nocapture product_speed`
#[test]
#[ignore = "a measurement"]
fn product_speed() {
    for kind in [BlockType::Q4_K, BlockType::Q6_K, BlockType::Q4_1, BlockType::Q8_0] {
        for tokens in [1, 4, 64] {
            let case = case(kind, 8192, 1536, tokens);
            for (name, version) in versions() {
                let started = std::time::Instant::now();
                let mut rounds = 0;
                while started.elapsed().as_millis() < 300 {
                    run(&case, version, 0, tokens);
                    rounds += 1;
                }
                let seconds = started.elapsed().as_secs_f64() / f64::from(rounds);
                let macs = (case.rows * 1536 * tokens) as f64 / seconds / 1e9;
                let bytes = case.tiles.len() as f64 / seconds / 1e9;
                println!("{kind:?} {name} {tokens} tokens: {macs:.1} GMAC/s, {bytes:.1} GB/s");
            }
        }
    }
}
