//! How quantised weights lie in memory for the products of [`super::dot`].
//!
//! Rows are taken sixteen at a time, a *tile*: one row a lane of a 512-bit register. A tile is a
//! sequence of *units* along the columns, each with its scales first and its quants after them, so that a product reads memory
//! strictly forwards. Within a unit, columns come in blocks of 32 as eight groups of four, because a byte dot product
//! (`vpdpbusd`) takes four neighbours of one row per lane.
//!
//! Quants are unsigned: a weight is `scale * u + offset`. Scales keep the stored precision of the GGUF
//! format they come from, so nothing is lost except in [`Format::WideOffset`], whose products of scales are rounded to
//! half precision. A weight takes 4.6 bits of Q4_K, 6.6 of Q6_K, 5 of Q4_1, 8.5 of Q8_0, scales included.

use half::f16;

use crate::convert::{BlockType, GROUP, Group};

/// Rows in a tile.
pub(crate) const ROWS: usize = 16;
/// Columns in a block: activations have one scale for each.
pub(crate) const BLOCK: usize = 32;
/// Columns in a super-block of ggml's K formats.
const SUPER: usize = 256;
/// Blocks in a super-block.
pub(super) const BLOCKS: usize = SUPER / BLOCK;
/// Bytes of a tile's half-precision numbers, one for each row.
pub(super) const HALVES: usize = 2 * ROWS;
/// Bytes of a block's low four bits in a tile.
pub(super) const NIBBLES: usize = ROWS * BLOCK / 2;
/// Bytes of a block's upper two bits in a tile.
pub(super) const PAIRS: usize = ROWS * BLOCK / 4;
/// A block of [`Format::Super4`]: 6-bit scales, 6-bit minima, nibbles.
pub(super) const SUPER4_BLOCK: usize = 2 * ROWS + NIBBLES;
/// A super-block of [`Format::Super4`]: two half-precision factors, then blocks.
pub(super) const SUPER4_UNIT: usize = 2 * HALVES + BLOCKS * SUPER4_BLOCK;
/// A block of [`Format::Super6`]: signed 8-bit scales of both 16-column groups, nibbles, upper bits.
pub(super) const SUPER6_BLOCK: usize = 2 * ROWS + NIBBLES + PAIRS;
/// A super-block of [`Format::Super6`]: a half-precision factor, then blocks.
pub(super) const SUPER6_UNIT: usize = HALVES + BLOCKS * SUPER6_BLOCK;
/// A block of [`Format::Narrow`]: scales, offsets, nibbles.
pub(super) const NARROW_UNIT: usize = 2 * HALVES + NIBBLES;
/// A block of [`Format::Wide`]: scales, bytes.
pub(super) const WIDE_UNIT: usize = HALVES + ROWS * BLOCK;
/// A block of [`Format::WideOffset`]: scales, offsets, bytes.
pub(super) const WIDE_OFFSET_UNIT: usize = 2 * HALVES + ROWS * BLOCK;
/// What is subtracted from a byte of [`Format::Wide`].
pub(super) const WIDE_CENTRE: u8 = 128;
/// What is subtracted from a byte of [`Format::WideOffset`], where it is part of the offset: the formats' own centre, so that the
/// offset is their minimum.
const WIDE_OFFSET_CENTRE: u8 = 16;
/// What is subtracted from a 6-bit quant of [`Format::Super6`].
pub(super) const SUPER6_CENTRE: u8 = 32;

/// A layout of quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// Q4_K: 4 bits, 6-bit scales and minima for each 32, their half-precision factors for each 256.
    Super4,
    /// Q6_K: 6 bits, signed 8-bit scales for each 16, their half-precision factor for each 256.
    Super6,
    /// Q4_0 and Q4_1: 4 bits, half-precision scale and offset for each 32.
    Narrow,
    /// Q8_0 and Q5_0: 8 bits centred on 128, half-precision scale for each 32.
    Wide,
    /// Q5_1 and Q5_K: 8 bits, half-precision scale and offset for each 32.
    WideOffset,
}

impl Format {
    const ALL: [Self; 5] = [Self::Super4, Self::Super6, Self::Narrow, Self::Wide, Self::WideOffset];

    /// The layout for a GGUF format; `None` for plain floats.
    pub(crate) fn of(kind: BlockType) -> Option<Self> {
        Some(match kind {
            BlockType::Q4_K => Self::Super4,
            BlockType::Q6_K => Self::Super6,
            BlockType::Q4_0 | BlockType::Q4_1 => Self::Narrow,
            BlockType::Q8_0 | BlockType::Q5_0 => Self::Wide,
            BlockType::Q5_1 | BlockType::Q5_K => Self::WideOffset,
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => return None,
        })
    }

    /// The name in a network's attributes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Super4 => "super4",
            Self::Super6 => "super6",
            Self::Narrow => "narrow",
            Self::Wide => "wide",
            Self::WideOffset => "wide_offset",
        }
    }

    /// The inverse of [`Format::name`].
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Columns in a unit; a matrix's columns are a multiple of it.
    pub(crate) fn unit_columns(self) -> usize {
        match self {
            Self::Super4 | Self::Super6 => SUPER,
            Self::Narrow | Self::Wide | Self::WideOffset => BLOCK,
        }
    }

    /// Bytes of a unit of a tile.
    pub(crate) fn unit_bytes(self) -> usize {
        match self {
            Self::Super4 => SUPER4_UNIT,
            Self::Super6 => SUPER6_UNIT,
            Self::Narrow => NARROW_UNIT,
            Self::Wide => WIDE_UNIT,
            Self::WideOffset => WIDE_OFFSET_UNIT,
        }
    }

    /// Bytes of a tile.
    pub(crate) fn tile_bytes(self, columns: usize) -> usize {
        columns / self.unit_columns() * self.unit_bytes()
    }

    /// Bytes of a matrix, its last tile padded with zero weights.
    pub(crate) fn matrix_bytes(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(ROWS) * self.tile_bytes(columns)
    }
}

/// Packs a tile. `rows` are up to sixteen rows as the file stores them, all of one GGUF format.
pub(crate) fn pack_tile(kind: BlockType, format: Format, rows: &[&[u8]], tile: &mut Vec<u8>) {
    // A stored block of Q5_K spans several of our units.
    let columns = format.unit_columns().max(kind.block_elements());
    let stored_bytes = kind.bytes(columns);
    let steps = rows.first().map_or(0, |row| row.len() / stored_bytes);
    for step in 0..steps {
        let at = tile.len();
        tile.resize(at + columns / format.unit_columns() * format.unit_bytes(), 0);
        let target = &mut tile[at..];
        for (lane, row) in rows.iter().enumerate() {
            let stored = &row[step * stored_bytes..][..stored_bytes];
            match format {
                Format::Super4 => pack_super4(stored, lane, target),
                Format::Super6 => pack_super6(kind, stored, lane, target),
                Format::Narrow | Format::Wide | Format::WideOffset => {
                    pack_plain(kind, format, stored, lane, target);
                }
            }
        }
    }
}

/// Copies a half-precision number to a row's place.
fn put_half(bytes: [u8; 2], lane: usize, target: &mut [u8]) {
    target[2 * lane..2 * lane + 2].copy_from_slice(&bytes);
}

/// Where nibble `column` of a block goes for a row: (byte, whether in the upper half).
fn nibble_place(column: usize, lane: usize) -> (usize, bool) {
    let (group, within) = (column / 4, column % 4);
    (group / 2 * 64 + 4 * lane + within, group % 2 == 1)
}

fn put_nibbles(quants: impl Fn(usize) -> u8, lane: usize, target: &mut [u8]) {
    for column in 0..BLOCK {
        let (byte, upper) = nibble_place(column, lane);
        target[byte] |= if upper { quants(column) << 4 } else { quants(column) & 15 };
    }
}

/// The upper bits of four groups share a register: group `4v + i` has bits `2i` and `2i + 1` of vector `v`.
fn put_pairs(quants: impl Fn(usize) -> u8, lane: usize, target: &mut [u8]) {
    for column in 0..BLOCK {
        let (group, within) = (column / 4, column % 4);
        target[group / 4 * 64 + 4 * lane + within] |= (quants(column) & 3) << (2 * (group % 4));
    }
}

/// `block_q4_K` of ggml: factors, twelve bytes of 6-bit scales and minima, nibbles of two blocks side by side.
fn pack_super4(stored: &[u8], lane: usize, target: &mut [u8]) {
    put_half([stored[0], stored[1]], lane, &mut target[..HALVES]);
    put_half([stored[2], stored[3]], lane, &mut target[HALVES..2 * HALVES]);
    for block in 0..BLOCKS {
        let (scale, minimum) = crate::convert::scale_and_minimum(&stored[4..16], block);
        let place = &mut target[2 * HALVES + block * SUPER4_BLOCK..][..SUPER4_BLOCK];
        (place[lane], place[ROWS + lane]) = (scale, minimum);
        let bytes = &stored[16 + block / 2 * BLOCK..][..BLOCK];
        let quant = |column: usize| if block % 2 == 0 { bytes[column] & 15 } else { bytes[column] >> 4 };
        put_nibbles(quant, lane, &mut place[2 * ROWS..]);
    }
}

/// `block_q6_K` of ggml, whose groups of sixteen the shared decoder already puts in order.
fn pack_super6(kind: BlockType, stored: &[u8], lane: usize, target: &mut [u8]) {
    put_half([stored[208], stored[209]], lane, &mut target[..HALVES]);
    let mut groups = Vec::with_capacity(SUPER / GROUP);
    kind.decode(stored, &mut groups);
    for (block, pair) in groups.chunks_exact(BLOCK / GROUP).enumerate() {
        let place = &mut target[HALVES + block * SUPER6_BLOCK..][..SUPER6_BLOCK];
        place[lane] = stored[192 + 2 * block];
        place[ROWS + lane] = stored[192 + 2 * block + 1];
        let quant = |column: usize| (i16::from(pair[column / GROUP].q[column % GROUP]) + 32) as u8;
        put_nibbles(|column| quant(column) & 15, lane, &mut place[2 * ROWS..]);
        put_pairs(|column| quant(column) >> 4, lane, &mut place[2 * ROWS + NIBBLES..]);
    }
}

/// Formats with one scale, and perhaps one minimum, for each block.
fn pack_plain(kind: BlockType, format: Format, stored: &[u8], lane: usize, target: &mut [u8]) {
    let mut groups = Vec::new();
    kind.decode(stored, &mut groups);
    let centre = match format {
        Format::Narrow => 8,
        Format::WideOffset => WIDE_OFFSET_CENTRE,
        _ => WIDE_CENTRE,
    };
    for (pair, unit) in groups.chunks_exact(BLOCK / GROUP).zip(target.chunks_exact_mut(format.unit_bytes())) {
        let quant =
            |column: usize| (i16::from(pair[column / GROUP].q[column % GROUP]) + i16::from(centre)) as u8;
        let (factors, quants) = unit.split_at_mut(if format == Format::Wide { HALVES } else { 2 * HALVES });
        let Group { scale, offset, .. } = pair[0];
        put_half(f16::from_f32(scale).to_le_bytes(), lane, factors);
        if format != Format::Wide {
            let offset = offset - f32::from(centre) * scale;
            put_half(f16::from_f32(offset).to_le_bytes(), lane, &mut factors[HALVES..]);
        }
        if format == Format::Narrow {
            put_nibbles(quant, lane, quants);
        } else {
            for column in 0..BLOCK {
                quants[column / 4 * 64 + 4 * lane + column % 4] = quant(column);
            }
        }
    }
}

fn half_at(bytes: &[u8], lane: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * lane], bytes[2 * lane + 1]]).to_f32()
}

/// Appends the weights of one row of a tile.
pub(crate) fn unpack_row(format: Format, tile: &[u8], lane: usize, weights: &mut Vec<f32>) {
    let nibble = |bytes: &[u8], column: usize| {
        let (byte, upper) = nibble_place(column, lane);
        if upper { bytes[byte] >> 4 } else { bytes[byte] & 15 }
    };
    let byte = |bytes: &[u8], column: usize| bytes[column / 4 * 64 + 4 * lane + column % 4];
    for unit in tile.chunks_exact(format.unit_bytes()) {
        match format {
            Format::Super4 => {
                let (d, d_minimum) = (half_at(unit, lane), half_at(&unit[HALVES..], lane));
                for block in unit[2 * HALVES..].chunks_exact(SUPER4_BLOCK) {
                    let (scale, minimum) =
                        (d * f32::from(block[lane]), d_minimum * f32::from(block[ROWS + lane]));
                    let quants = &block[2 * ROWS..];
                    weights.extend((0..BLOCK).map(|i| scale * f32::from(nibble(quants, i)) - minimum));
                }
            }
            Format::Super6 => {
                let d = half_at(unit, lane);
                for block in unit[HALVES..].chunks_exact(SUPER6_BLOCK) {
                    let (low, high) = (&block[2 * ROWS..], &block[2 * ROWS + NIBBLES..]);
                    weights.extend((0..BLOCK).map(|i| {
                        let scale = d * f32::from(block[i / GROUP * ROWS + lane] as i8);
                        let pair = high[i / 16 * 64 + 4 * lane + i % 4] >> (2 * (i / 4 % 4)) & 3;
                        scale * (f32::from(nibble(low, i) | pair << 4) - f32::from(SUPER6_CENTRE))
                    }));
                }
            }
            Format::Narrow => {
                let (scale, offset) = (half_at(unit, lane), half_at(&unit[HALVES..], lane));
                let quants = &unit[2 * HALVES..];
                weights.extend((0..BLOCK).map(|i| scale * f32::from(nibble(quants, i)) + offset));
            }
            Format::Wide => {
                let scale = half_at(unit, lane);
                let quants = &unit[HALVES..];
                let centre = f32::from(WIDE_CENTRE);
                weights.extend((0..BLOCK).map(|i| scale * (f32::from(byte(quants, i)) - centre)));
            }
            Format::WideOffset => {
                let (scale, offset) = (half_at(unit, lane), half_at(&unit[HALVES..], lane));
                let quants = &unit[2 * HALVES..];
                weights.extend((0..BLOCK).map(|i| scale * f32::from(byte(quants, i)) + offset));
            }
        }
    }
}
