//! Rotary positions of a network (Su et al. 2021, RoFormer): which part of a head turns, and how fast.
//!
//! Scaled by a number (linear), by a factor for each frequency (Llama 3, tensor `rope_freqs.weight`), or by two sets of factors, for
//! ordinary and for long sequences (LongRoPE, Ding et al. 2024). With two sets, a sequence must use one of them throughout.

use super::architecture::vector;
use super::gguf::Gguf;
use crate::error::Result;

/// The base of Gemma 3's layers that attend to a window.
const GEMMA3_NEAR_BASE: f64 = 10_000.0;

/// One kind of rotary positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Angle by position `[dimensions / 2]`.
    pub(crate) frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by.
    pub(crate) magnitude: f32,
    /// For sequences beyond the length that the network was first made for.
    pub(crate) long: Option<Long>,
}

/// The second set of frequencies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Long {
    /// Sequences that grow longer than this use it.
    pub(crate) beyond: usize,
    pub(crate) frequencies: Vec<f64>,
}

impl Rotary {
    /// The kinds that a file's layers choose from. Gemma 3 has a second one, for layers that attend to a window.
    pub(super) fn read(gguf: &Gguf, family: &str, head_size: usize, context: usize) -> Result<Vec<Self>> {
        let float = |key: &str| gguf.float(&format!("{family}.rope.{key}"));
        let dimensions = gguf.unsigned(&format!("{family}.rope.dimension_count")).unwrap_or(head_size as u64);
        if dimensions == 0 || dimensions > head_size as u64 || !dimensions.is_multiple_of(2) {
            return Err(gguf.unsupported(format!("heads of {head_size} with {dimensions} rotary dimensions")));
        }
        let half = dimensions as usize / 2;
        let base = float("freq_base").unwrap_or(10_000.0);
        let near_base = float("freq_base_swa").unwrap_or(GEMMA3_NEAR_BASE);
        if [base, near_base].iter().any(|base| !base.is_finite() || *base < 1.0) {
            return Err(gguf.malformed("its rotary base is out of range"));
        }
        let factor = linear_factor(gguf, family)?;
        let plain =
            |base: f64| -> Vec<f64> { (0..half).map(|i| base.powf(-(i as f64) / half as f64)).collect() };
        let scaled = |factors: &[f32]| -> Vec<f64> {
            plain(base).iter().zip(factors).map(|(f, by)| f / f64::from(*by) / factor).collect()
        };
        let one = |frequencies| Self { frequencies, magnitude: 1.0, long: None };
        let factors = |name: &str| -> Result<Option<Vec<f32>>> {
            let values = gguf.tensor(name).map(|tensor| vector(gguf, tensor, half)).transpose()?;
            match values.iter().flatten().find(|value| !value.is_finite() || **value <= 0.0) {
                Some(value) => Err(gguf.malformed(format!("the tensor `{name}` holds {value}"))),
                None => Ok(values),
            }
        };
        let pair = (factors("rope_factors_short.weight")?, factors("rope_factors_long.weight")?);
        let first = match pair {
            (Some(short), Some(long)) => {
                let beyond = trained_length(gguf, family)?;
                let long = Long { beyond, frequencies: scaled(&long) };
                let magnitude = long_magnitude(float("scaling.attn_factor"), context, beyond);
                Self { frequencies: scaled(&short), magnitude, long: Some(long) }
            }
            (None, None) => one(scaled(&factors("rope_freqs.weight")?.unwrap_or_else(|| vec![1.0; half]))),
            _ => return Err(gguf.malformed("it has one of rope_factors_short and rope_factors_long")),
        };
        Ok(match family {
            "gemma3" => vec![first, one(plain(near_base))],
            _ => vec![first],
        })
    }

    /// Cosines and sines of the ordinary frequencies `[positions, dimensions / 2]`.
    pub(crate) fn tables(&self, positions: usize) -> (Vec<f32>, Vec<f32>) {
        let angles = (0..positions)
            .flat_map(|position| self.frequencies.iter().map(move |frequency| position as f64 * frequency));
        let turned = |value: f64| (value * f64::from(self.magnitude)) as f32;
        angles.map(|angle| (turned(angle.cos()), turned(angle.sin()))).unzip()
    }
}

/// The one number that all frequencies are divided by.
fn linear_factor(gguf: &Gguf, family: &str) -> Result<f64> {
    let kind = gguf.text(&format!("{family}.rope.scaling.type")).unwrap_or("none");
    let factor = gguf.float(&format!("{family}.rope.scaling.factor")).unwrap_or(1.0);
    match kind {
        "none" | "longrope" => Ok(1.0),
        "linear" if factor.is_finite() && factor >= 1.0 => Ok(factor),
        _ => Err(gguf.unsupported(format!("rotary scaling `{kind}` by {factor}"))),
    }
}

fn trained_length(gguf: &Gguf, family: &str) -> Result<usize> {
    let key = format!("{family}.rope.scaling.original_context_length");
    match gguf.unsigned(&key) {
        Some(length @ 1..=0xff_ffff) => Ok(length as usize),
        _ => Err(gguf.malformed(format!("it has two sets of rotary factors and no {key}"))),
    }
}

/// What LongRoPE multiplies cosines and sines by, if the file does not say: `sqrt(1 + ln(scale) / ln(length))`.
fn long_magnitude(stated: Option<f64>, context: usize, trained: usize) -> f32 {
    let scale = context as f64 / trained as f64;
    let computed = if scale > 1.0 { (1.0 + scale.ln() / (trained as f64).ln()).sqrt() } else { 1.0 };
    stated.filter(|stated| stated.is_finite() && *stated > 0.0).unwrap_or(computed) as f32
}
