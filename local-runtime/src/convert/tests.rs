//! Block decoding against hand-made blocks, and vocabularies against SentencePiece. Whole networks are compared in
//! `src/onnx/tests.rs`.

use std::path::Path;

use half::f16;
use serde::Deserialize;

use super::blocks::BlockType;
use super::gguf::Gguf;
use super::vocabulary;
use super::weights::RowOrder;
use crate::tokenizer::TextCodec;

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

#[derive(Deserialize)]
struct Case {
    prefix: bool,
    text: String,
    ids: Vec<u32>,
}

#[test]
fn sentencepiece_vocabularies_encode_as_sentencepiece_does() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families");
    let cases = std::fs::read(families.join("sentencepiece.json")).expect("the reference is committed");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("the reference is JSON");
    for (family, prefix) in [("mistral", true), ("phi3", true), ("gemma3", false)] {
        let gguf = Gguf::open(&families.join(family).join("model.gguf")).expect("opens");
        let read = vocabulary::read(&gguf, 320).expect("reads");
        assert_eq!(read.eos_ids, [2, 317], "</s> and <|end|>");
        let directory = tempfile::tempdir().expect("a directory");
        let json = serde_json::to_vec(&read.tokenizer_json).expect("serialises");
        std::fs::write(directory.path().join("tokenizer.json"), json).expect("written");
        let codec = TextCodec::load(directory.path()).expect("loads");
        for case in cases.iter().filter(|case| case.prefix == prefix) {
            let ids = codec.encode(&case.text).expect("encodes");
            assert_eq!(ids, case.ids, "{family}: {:?}", case.text);
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| codec.piece(id)).copied().collect();
            let text = String::from_utf8(bytes).expect("whole characters");
            let expected = case.text.replace('\u{2581}', " ");
            assert_eq!(text.strip_prefix(if prefix { " " } else { "" }), Some(expected.as_str()));
        }
    }
}
