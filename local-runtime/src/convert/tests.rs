//! Block decoding against hand-made blocks. Whole networks are compared in `src/onnx/tests.rs`.

use half::f16;

use super::blocks::BlockType;
use super::weights::RowOrder;

fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

#[test]
fn q4_1_puts_the_low_nibbles_first() {
    let quants: Vec<u8> = (0..16).map(|j| j | (15 - j) << 4).collect();
    let block = [&half(0.5)[..], &half(-1.0), &quants].concat();
    let expected: Vec<f32> = (0..16).chain((0..16).rev()).map(|q| 0.5 * q as f32 - 1.0).collect();
    assert_eq!(BlockType::Q4_1.floats(&block), expected);
}

#[test]
fn q8_0_is_signed() {
    let quants: Vec<u8> = (0..32).map(|i| (i as i8 - 16) as u8).collect();
    let block = [&half(2.0)[..], &quants].concat();
    assert_eq!(BlockType::Q8_0.floats(&block), (-16..16).map(|q| 2.0 * q as f32).collect::<Vec<_>>());
}

#[test]
fn q5_0_takes_the_fifth_bit_from_the_mask() {
    let block = [&half(1.0)[..], &0x8000_0001_u32.to_le_bytes(), &[0; 16]].concat();
    let floats = BlockType::Q5_0.floats(&block);
    assert_eq!((floats[0], floats[1], floats[30], floats[31]), (0.0, -16.0, -16.0, 0.0));
}

#[test]
fn plain_floats_of_three_widths() {
    assert_eq!(BlockType::F32.floats(&1.5_f32.to_le_bytes()), [1.5]);
    assert_eq!(BlockType::F16.floats(&half(-0.25)), [-0.25]);
    assert_eq!(BlockType::BF16.floats(&half::bf16::from_f32(3.0).to_le_bytes()), [3.0]);
}

#[test]
fn interleaved_rows_are_put_back() {
    // llama.cpp's converter maps (half, i) to (i, half); a head of six rows.
    let stored: Vec<usize> = (0..12).map(|row| RowOrder::Interleaved(6).stored(row)).collect();
    assert_eq!(stored, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
}
