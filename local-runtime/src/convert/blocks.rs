//! The block formats of ggml, read into one common shape.
//!
//! Every format that is supported stores a weight as `scale * q + offset` with an integer `q` and a scale and
//! offset for each 16 or 32 neighbours. [`BlockType::decode`] yields just that, with `q` centred on
//! zero and the offset adjusted for it, so that no precision is lost: packing for ONNX and dequantising both start from here.
//! Layouts: ggml `src/ggml-common.h` (`block_q4_0` ... `block_q6_K`) and `src/ggml-quants.c` (`dequantize_row_*`).

use half::{bf16, f16};

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "ggml's own names")]
pub(crate) enum BlockType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Sixteen weights at a time: `scale * q + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Group {
    pub(crate) q: [i8; GROUP],
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

/// Weights in a [`Group`], the finest grain of any format.
pub(crate) const GROUP: usize = 16;

impl BlockType {
    /// From the format's number in a GGUF file (`enum ggml_type`).
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// Weights in one stored block.
    pub(crate) fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Stored size of that many weights.
    pub(crate) fn bytes(self, elements: usize) -> usize {
        elements / self.block_elements() * self.block_bytes()
    }

    /// Whether weights are stored as plain floats.
    pub(crate) fn is_float(self) -> bool {
        self.block_elements() == 1
    }

    /// Decodes whole blocks of a quantised format.
    ///
    /// # Panics
    /// If the format is a plain float; [`BlockType::floats`] reads those.
    pub(crate) fn decode(self, bytes: &[u8], groups: &mut Vec<Group>) {
        let decode: fn(&[u8], &mut Vec<Group>) = match self {
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q5_1 => q5_1,
            Self::Q8_0 => q8_0,
            Self::Q4_K => q4_k,
            Self::Q5_K => q5_k,
            Self::Q6_K => q6_k,
            Self::F32 | Self::F16 | Self::BF16 => unreachable!("plain floats have no groups"),
        };
        groups.clear();
        for block in bytes.chunks_exact(self.block_bytes()) {
            decode(block, groups);
        }
    }

    /// The weights themselves, of any format.
    pub(crate) fn floats(self, bytes: &[u8]) -> Vec<f32> {
        let pairs =
            |convert: fn([u8; 2]) -> f32| bytes.chunks_exact(2).map(|b| convert([b[0], b[1]])).collect();
        match self {
            Self::F32 => {
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Self::F16 => pairs(|b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => pairs(|b| bf16::from_le_bytes(b).to_f32()),
            _ => {
                let mut groups = Vec::new();
                self.decode(bytes, &mut groups);
                groups
                    .iter()
                    .flat_map(|group| group.q.map(|q| group.scale * f32::from(q) + group.offset))
                    .collect()
            }
        }
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A group from raw values `raw` (0 and up) that stand for `scale * raw + minimum`.
fn centred(raw: impl Fn(usize) -> u8, centre: u8, scale: f32, minimum: f32) -> Group {
    let q = std::array::from_fn(|i| raw(i) as i8 - centre as i8);
    Group { q, scale, offset: minimum + f32::from(centre) * scale }
}

/// The two groups of a block of 32 whose byte `j` holds weight `j` (low) and `j + 16` (high).
fn nibbles(bytes: &[u8], fifth_bit: u32, centre: u8, scale: f32, minimum: f32, groups: &mut Vec<Group>) {
    let bit = |i: usize| ((fifth_bit >> i) as u8 & 1) << 4;
    groups.push(centred(|i| (bytes[i] & 15) | bit(i), centre, scale, minimum));
    groups.push(centred(|i| (bytes[i] >> 4) | bit(i + 16), centre, scale, minimum));
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn q4_0(block: &[u8], groups: &mut Vec<Group>) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], 0, 8, scale, -8.0 * scale, groups);
}

fn q4_1(block: &[u8], groups: &mut Vec<Group>) {
    nibbles(&block[4..], 0, 8, half_at(block, 0), half_at(block, 2), groups);
}

fn q5_0(block: &[u8], groups: &mut Vec<Group>) {
    let scale = half_at(block, 0);
    nibbles(&block[6..], u32_at(block, 2), 16, scale, -16.0 * scale, groups);
}

fn q5_1(block: &[u8], groups: &mut Vec<Group>) {
    nibbles(&block[8..], u32_at(block, 4), 16, half_at(block, 0), half_at(block, 2), groups);
}

fn q8_0(block: &[u8], groups: &mut Vec<Group>) {
    let scale = half_at(block, 0);
    for bytes in block[2..].chunks_exact(GROUP) {
        groups.push(Group { q: std::array::from_fn(|i| bytes[i] as i8), scale, offset: 0.0 });
    }
}

/// Six-bit scale and minimum of sub-block `j` (`get_scale_min_k4`).
pub(crate) fn scale_and_minimum(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4), (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
    }
}

fn k_blocks(block: &[u8], high_bits: Option<&[u8]>, quants: &[u8], groups: &mut Vec<Group>) {
    let (d, d_minimum) = (half_at(block, 0), half_at(block, 2));
    let centre = if high_bits.is_some() { 16 } else { 8 };
    for j in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], j);
        let (scale, minimum) = (d * f32::from(scale), -d_minimum * f32::from(minimum));
        let bytes = &quants[j / 2 * 32..][..32];
        for part in 0..2 {
            let raw = |i: usize| {
                let i = part * GROUP + i;
                let nibble = if j % 2 == 0 { bytes[i] & 15 } else { bytes[i] >> 4 };
                nibble | high_bits.map_or(0, |bits| (bits[i] >> j & 1) << 4)
            };
            groups.push(centred(raw, centre, scale, minimum));
        }
    }
}

fn q4_k(block: &[u8], groups: &mut Vec<Group>) {
    k_blocks(block, None, &block[16..], groups);
}

fn q5_k(block: &[u8], groups: &mut Vec<Group>) {
    k_blocks(block, Some(&block[16..48]), &block[48..], groups);
}

fn q6_k(block: &[u8], groups: &mut Vec<Group>) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for (group, &scale) in scales.iter().enumerate() {
        let (half, quarter, first) = (group / 8, group % 8 / 2, group % 2 * GROUP);
        let q = std::array::from_fn(|i| {
            let l = first + i;
            let byte = low[half * 64 + quarter % 2 * 32 + l];
            let nibble = if quarter < 2 { byte & 15 } else { byte >> 4 };
            let bits = high[half * 32 + l] >> (2 * quarter) & 3;
            (nibble | bits << 4) as i8 - 32
        });
        groups.push(Group { q, scale: d * f32::from(scale as i8), offset: 0.0 });
    }
}
