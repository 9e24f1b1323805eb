//! From a score to a probability.
//!
//! The curve is monotone and made of straight pieces; it was fitted to predictions for sources that the model
//! had not seen. It rises strictly, so calibration never changes which of two prompts is harder.

/// A rising curve through given points, flat beyond the first and the last.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Curve {
    /// A curve through the points; `None` unless there are two or more, `x` rises strictly, `y` does not fall, and
    /// all of it lies in `[0, 1]`.
    pub(crate) fn new(x: Vec<f32>, y: Vec<f32>) -> Option<Self> {
        let rising =
            x.len() >= 2 && x.len() == y.len() && x.windows(2).all(|pair| pair[0] < pair[1]) && y.is_sorted();
        let bounded = y.iter().all(|value| (0.0..=1.0).contains(value));
        (rising && bounded).then_some(Self { x, y })
    }

    /// The probability at a score.
    pub(crate) fn at(&self, score: f32) -> f32 {
        let right = self.x.partition_point(|&x| x < score);
        if right == 0 {
            return self.y[0];
        }
        if right == self.x.len() {
            return self.y[right - 1];
        }
        let (x0, x1, y0, y1) = (self.x[right - 1], self.x[right], self.y[right - 1], self.y[right]);
        y0 + (y1 - y0) * (score - x0) / (x1 - x0)
    }

    /// The score with a probability: the middle of them where the curve is flat, the nearest end outside of it.
    pub(super) fn score_at(&self, probability: f32) -> f32 {
        let (low, high) =
            (self.y.partition_point(|&y| y < probability), self.y.partition_point(|&y| y <= probability));
        if low == self.y.len() {
            return self.x[low - 1];
        }
        if low < high {
            return 0.5 * (self.x[low] + self.x[high - 1]);
        }
        let Some(left) = low.checked_sub(1) else { return self.x[0] };
        let (x0, x1, y0, y1) = (self.x[left], self.x[low], self.y[left], self.y[low]);
        x0 + (x1 - x0) * (probability - y0) / (y1 - y0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_and_clamps() {
        let curve = Curve::new(vec![-1.0, 1.0], vec![0.2, 0.8]).expect("rises");
        for (score, expected) in [(-5.0, 0.2), (-1.0, 0.2), (0.0, 0.5), (1.0, 0.8), (9.0, 0.8)] {
            assert!((curve.at(score) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn scores_are_found_again() {
        let curve = Curve::new(vec![-1.0, 0.0, 1.0, 2.0], vec![0.2, 0.6, 0.6, 0.8]).expect("rises");
        for score in [-1.0_f32, -0.7, -0.01, 1.01, 1.5, 2.0] {
            assert!((curve.score_at(curve.at(score)) - score).abs() < 1e-4, "{score}");
        }
        assert!((curve.score_at(0.6) - 0.5).abs() < 1e-6, "the middle of what is flat");
        assert_eq!((curve.score_at(0.0), curve.score_at(1.0)), (-1.0, 2.0));
    }

    #[test]
    fn faulty_points_are_refused() {
        assert!(Curve::new(vec![0.0], vec![0.5]).is_none());
        assert!(Curve::new(vec![1.0, 0.0], vec![0.1, 0.2]).is_none());
        assert!(Curve::new(vec![0.0, 1.0], vec![0.3, 0.2]).is_none());
        assert!(Curve::new(vec![0.0, 1.0], vec![0.3, 1.2]).is_none());
    }
}
