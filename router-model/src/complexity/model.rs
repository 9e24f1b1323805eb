//! The linear model behind complexity and task, and its weights.
//!
//! One row of eight-bit weights per bucket holds the complexity weight and one weight for each task, so that a
//! word costs one memory access. `train/train.py` writes the file; its layout is documented there and checked here
//! in full, because a model that is read wrongly would still give plausible numbers.

use policies::Task;

use super::calibration::Curve;
use super::encoder::SCORES;
use super::features::{BUCKETS, DENSE, Extractor, Features, VOCABULARY_BITS, Vocabulary};
use crate::Error;

const MAGIC: &[u8] = b"SGRW";
const VERSION: u32 = 3;
/// Standardised features are cut here; training does the same.
const CLIP: f32 = 4.0;
/// Cut for the measure of strangeness, which has to see further than the score.
const CLIP_STRANGE: f32 = 10.0;
/// Routine, neither, hard.
const KINDS: usize = 3;
/// Weights per bucket: complexity, then every task.
const COLUMNS: usize = 1 + Task::ALL.len();

/// Longest answer that is ever expected, in tokens.
const OUTPUT_TOKENS_MAX: f32 = 4096.0;
/// A head of the encoder moves the score by no more than this.
const HEAD_MAX: f32 = 8.0;

/// What the model says about one text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Linear score before calibration; comparable between texts.
    pub(super) score: f32,
    /// Share of the text that the model knows, times how usual its shape is; in `[0, 1]`.
    pub(super) familiarity: f32,
    pub(super) task: Task,
    /// Expected length of the answer, in tokens.
    pub(super) output_tokens: f32,
    /// What the hand features add to the score when the encoder is asked.
    pub(super) beside: f32,
}

/// How the encoder's word is joined with that of the features.
#[derive(Debug)]
pub(super) struct Blend {
    /// What the hand features add beside the encoder.
    beside: Vec<f32>,
    /// What each kind of work adds there.
    task_shift: Vec<f32>,
    pub(super) curve: Curve,
    /// By how much the encoder moved the probability of nine in ten prompts, at most.
    pub(super) reach: f32,
}

impl Blend {
    /// The score of both together; `None` for logits that are not numbers or too few. The heads come in the score's units.
    pub(super) fn score(reading: &Reading, logits: &[f32]) -> Option<f32> {
        let said: f32 = logits.get(..SCORES)?.iter().map(|head| head.clamp(-HEAD_MAX, HEAD_MAX)).sum();
        Some(reading.score + reading.beside + said).filter(|score| score.is_finite())
    }
}

/// Weights and what is needed to apply them.
pub(super) struct Linear {
    pub(super) extractor: Extractor,
    pub(super) curve: Curve,
    mean: Vec<f32>,
    scale: Vec<f32>,
    dense: Vec<f32>,
    bias: f32,
    kind_dense: Vec<f32>,
    kind_bias: Vec<f32>,
    kind_shift: f32,
    kind_sure: f32,
    task_dense: Vec<f32>,
    task_bias: Vec<f32>,
    column_scale: Vec<f32>,
    usual_spread: f32,
    output_dense: Vec<f32>,
    output_bias: f32,
    /// What each kind of work adds to the score.
    task_shift: Vec<f32>,
    pub(super) blend: Blend,
    buckets: Box<[u8]>,
}

impl Linear {
    pub(super) fn read_from(weights: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(weights);
        if reader.take(MAGIC.len())? != MAGIC || reader.u32()? != VERSION {
            return Err(Error::Weights("not a weights file of this version"));
        }
        for expected in [DENSE, BUCKETS, Task::ALL.len()] {
            if reader.u32()? as usize != expected {
                return Err(Error::Weights("features of this build differ from those of training"));
            }
        }
        let (knots, blend_knots) = (reader.u32()? as usize, reader.u32()? as usize);
        let (mean, scale, dense) = (reader.floats(DENSE)?, reader.floats(DENSE)?, reader.floats(DENSE)?);
        let bias = reader.floats(1)?[0];
        let (kind_dense, kind_bias) = (reader.floats(DENSE * KINDS)?, reader.floats(KINDS)?);
        let (kind_shift, kind_sure) = (reader.floats(1)?[0], reader.floats(1)?[0]);
        let task_dense = reader.floats(DENSE * Task::ALL.len())?;
        let task_bias = reader.floats(Task::ALL.len())?;
        let column_scale = reader.floats(COLUMNS)?;
        let curve = Curve::new(reader.floats(knots)?, reader.floats(knots)?)
            .ok_or(Error::Weights("calibration does not rise"))?;
        let usual_spread = reader.floats(1)?[0];
        let (output_dense, output_bias) = (reader.floats(DENSE)?, reader.floats(1)?[0]);
        let task_shift = reader.floats(Task::ALL.len())?;
        let blend = reader.blend(blend_knots)?;
        let vocabulary =
            Vocabulary::from_bytes(reader.take(VOCABULARY_BITS / 8)?).ok_or(Error::Weights("vocabulary"))?;
        let buckets = reader.take(BUCKETS * COLUMNS)?.into();
        if !reader.0.is_empty() {
            return Err(Error::Weights("longer than expected"));
        }
        let extractor = Extractor::new(vocabulary);
        Ok(Self {
            extractor,
            curve,
            mean,
            scale,
            dense,
            bias,
            kind_dense,
            kind_bias,
            kind_shift,
            kind_sure,
            task_dense,
            task_bias,
            column_scale,
            usual_spread,
            output_dense,
            output_bias,
            task_shift,
            blend,
            buckets,
        })
    }

    /// Applies the weights to the features of one text.
    pub(super) fn read(&self, features: &Features) -> Reading {
        let mut z = [0.0_f32; DENSE];
        let mut spread = 0.0;
        for (index, value) in features.dense.iter().enumerate() {
            let standard = (value - self.mean[index]) * self.scale[index];
            z[index] = standard.clamp(-CLIP, CLIP);
            spread += standard.clamp(-CLIP_STRANGE, CLIP_STRANGE).powi(2);
        }
        let hashed = self.hashed(&features.buckets);
        let task = self.task(&z, &hashed);
        let shift = |table: &[f32]| table.get(task as usize).copied().unwrap_or_default();
        let score = dot(&self.dense, &z) + hashed[0] + self.bias + self.kind(&z) + shift(&self.task_shift);
        let strangeness = (spread / DENSE as f32).sqrt() / self.usual_spread;
        let familiarity = features.coverage * (1.0 / strangeness.max(1.0));
        let output_tokens = (dot(&self.output_dense, &z) + self.output_bias).exp();
        Reading {
            score,
            familiarity: familiarity.clamp(0.0, 1.0),
            task,
            output_tokens: output_tokens.clamp(1.0, OUTPUT_TOKENS_MAX),
            beside: dot(&self.blend.beside, &z) + shift(&self.blend.task_shift),
        }
    }

    /// What the hand-made features alone say: the score without the words.
    pub(super) fn shape_score(&self, dense: &[f32; DENSE]) -> f32 {
        let z: [f32; DENSE] =
            std::array::from_fn(|i| ((dense[i] - self.mean[i]) * self.scale[i]).clamp(-CLIP, CLIP));
        dot(&self.dense, &z) + self.bias + self.kind(&z)
    }

    /// Sum of the weights of every bucket, for a row of unit length.
    fn hashed(&self, buckets: &[u32]) -> [f32; COLUMNS] {
        let mut sums = [0_i32; COLUMNS];
        for &bucket in buckets {
            let row = &self.buckets[bucket as usize * COLUMNS..][..COLUMNS];
            sums.iter_mut().zip(row).for_each(|(sum, &code)| *sum += i32::from(code.cast_signed()));
        }
        let norm = 1.0 / (buckets.len().max(1) as f32).sqrt();
        std::array::from_fn(|column| sums[column] as f32 * self.column_scale[column] * norm)
    }

    /// What the kind of the prompt adds: down for everyday requests, up for those that people pick as hard.
    fn kind(&self, z: &[f32; DENSE]) -> f32 {
        let logits: [f32; KINDS] = std::array::from_fn(|kind| {
            dot(&self.kind_dense[kind * DENSE..][..DENSE], z) + self.kind_bias[kind]
        });
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = logits.map(|logit| (logit - top).exp());
        let total = power.iter().sum::<f32>();
        let sure = power.map(|power| ((power / total - self.kind_sure) / (1.0 - self.kind_sure)).max(0.0));
        self.kind_shift * (sure[2] - sure[0])
    }

    fn task(&self, z: &[f32; DENSE], hashed: &[f32; COLUMNS]) -> Task {
        let rows = self.task_dense.chunks_exact(DENSE);
        let scores =
            rows.enumerate().map(|(task, row)| dot(row, z) + hashed[1 + task] + self.task_bias[task]);
        let best = scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(task, _)| task);
        Task::ALL[best]
    }
}

fn dot(weights: &[f32], values: &[f32; DENSE]) -> f32 {
    weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
}

/// Reads the weights file from front to back.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Error::Weights("shorter than expected"))?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn blend(&mut self, knots: usize) -> Result<Blend, Error> {
        let (beside, task_shift) = (self.floats(DENSE)?, self.floats(Task::ALL.len())?);
        let reach = self.floats(1)?[0];
        let curve = Curve::new(self.floats(knots)?, self.floats(knots)?)
            .ok_or(Error::Weights("calibration of the encoder does not rise"))?;
        if !(0.0..=1.0).contains(&reach) {
            return Err(Error::Weights("reach of the encoder"));
        }
        Ok(Blend { beside, task_shift, curve, reach })
    }

    /// Numbers; one that is not finite would reach every score.
    fn floats(&mut self, count: usize) -> Result<Vec<f32>, Error> {
        let bytes = self.take(4 * count)?;
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Error::Weights("not finite"))
        }
    }
}
