//! From the vectors of a text's tokens to one vector, as sentence-transformers computes it.

use super::config::Pooling;

/// Pools the vectors of one text. `hidden` is `[width, size]`; the text has `length` tokens, of which the first `skip` (a prompt
/// that does not count) are left out where that leaves any.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "sums are kept wide on purpose"
)]
pub(super) fn pool(hidden: &[f32], size: usize, length: usize, skip: usize, pooling: Pooling) -> Vec<f32> {
    let skip = if skip < length { skip } else { 0 };
    let token = |index: usize| &hidden[index * size..(index + 1) * size];
    match pooling {
        Pooling::Cls => token(0).to_vec(),
        Pooling::LastToken => token(length - 1).to_vec(),
        Pooling::Max => {
            let mut most = token(skip).to_vec();
            for index in skip + 1..length {
                most.iter_mut().zip(token(index)).for_each(|(most, value)| *most = most.max(*value));
            }
            most
        }
        Pooling::Mean => {
            let mut sums = vec![0.0_f64; size];
            for index in skip..length {
                sums.iter_mut().zip(token(index)).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let count = (length - skip) as f64;
            sums.into_iter().map(|sum| (sum / count) as f32).collect()
        }
    }
}

/// Gives a vector length one; a vector of zeros stays as it is.
#[expect(clippy::cast_possible_truncation, reason = "the sum is kept wide on purpose")]
pub(super) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three tokens of two values, and one of padding that must not count.
    const HIDDEN: &[f32] = &[1.0, -2.0, 4.0, 0.0, 1.0, 5.0, 99.0, 99.0];

    #[test]
    fn poolings_are_as_defined_and_ignore_padding() {
        let pooled = |pooling, skip| pool(HIDDEN, 2, 3, skip, pooling);
        assert_eq!(pooled(Pooling::Mean, 0), [2.0, 1.0]);
        assert_eq!(pooled(Pooling::Cls, 0), [1.0, -2.0]);
        assert_eq!(pooled(Pooling::LastToken, 0), [1.0, 5.0]);
        assert_eq!(pooled(Pooling::Max, 0), [4.0, 5.0]);
        assert_eq!(pooled(Pooling::Mean, 1), [2.5, 2.5]);
        assert_eq!(pooled(Pooling::Max, 2), [1.0, 5.0]);
        assert_eq!(pooled(Pooling::Mean, 3), [2.0, 1.0], "a prompt alone counts");
    }

    #[test]
    fn lengths_become_one_and_zero_stays_finite() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = [0.0, 0.0];
        normalize(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
