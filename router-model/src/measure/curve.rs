//! Quality against the share of calls to the strong model, and what RouteLLM makes of it.
//!
//! A score sends the rows with the highest values to the strong model first. Definitions are those of RouteLLM
//! (Ong et al., arXiv 2406.18665, section 3.2), with r the mean quality of what is served:
//! PGR = (r(router) - r(weak)) / (r(strong) - r(weak)); APGR = the mean of PGR over shares of strong calls from 0
//! to 1; CPT(x) = the least share of strong calls with which PGR reaches x.
//!
//! Two things the paper leaves open. *Ties*: rows with the same score are sent in random order, and the curve is
//! the expectation over that order, a straight line between the ends of the tie; a constant score is therefore
//! the diagonal, exactly. *The integral* is exact for that curve of straight pieces (the trapezoid rule on every
//! row), where the paper sums ten shares. Invariant: a curve starts at share 0 and ends at share 1.

/// How good both answers to one request are, each in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The local answer.
    pub good: f64,
    /// The strong model's answer.
    pub strong: f64,
}

/// Rows in the order in which a score sends them to the strong model, with ties kept together.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Indices of rows, highest score first.
    order: Vec<usize>,
    /// Where in `order` each run of equal scores ends.
    ends: Vec<usize>,
}

impl Ranking {
    /// Ranks rows by their scores, which must not be NaN.
    #[must_use]
    pub fn new(scores: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        // -0.0 and 0.0 are equal scores although the order tells them apart.
        #[expect(clippy::float_cmp, reason = "a tie is equality")]
        let last_of_tie =
            |&at: &usize| order.get(at).is_none_or(|&next| scores[next] != scores[order[at - 1]]);
        let ends = (1..=order.len()).filter(last_of_tie).collect();
        Self { order, ends }
    }

    /// Runs of rows with equal scores, highest first.
    pub fn ties(&self) -> impl Iterator<Item = &[usize]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.order[start..end])
    }
}

/// Mean quality for each share of strong calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Shares of strong calls, rising from 0 to 1.
    shares: Vec<f64>,
    /// Mean quality at each of them.
    quality: Vec<f64>,
}

impl Curve {
    /// The curve of rows that count `weights` times each. `None` if nothing counts.
    ///
    /// # Panics
    /// When the three do not speak of the same rows.
    #[must_use]
    pub fn new(ranking: &Ranking, pairs: &[Pair], weights: &[u32]) -> Option<Self> {
        assert_eq!(pairs.len(), weights.len(), "a weight for each row");
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        if total <= 0.0 {
            return None;
        }
        let mut sum: f64 =
            pairs.iter().zip(weights).map(|(pair, &weight)| pair.good * f64::from(weight)).sum();
        let mut sent = 0.0;
        let (mut shares, mut quality) = (vec![0.0], vec![sum / total]);
        for tie in ranking.ties() {
            let before = sent;
            for &row in tie {
                let weight = f64::from(weights[row]);
                sent += weight;
                sum += weight * (pairs[row].strong - pairs[row].good);
            }
            if sent > before {
                shares.push(sent / total);
                quality.push(sum / total);
            }
        }
        Some(Self { shares, quality })
    }

    /// Mean quality without the strong model.
    #[must_use]
    pub fn weak(&self) -> f64 {
        self.quality[0]
    }

    /// Mean quality of the strong model alone.
    #[must_use]
    pub fn strong(&self) -> f64 {
        self.quality[self.quality.len() - 1]
    }

    /// Mean quality at a share of strong calls; shares outside `[0, 1]` count as its ends.
    #[must_use]
    pub fn at(&self, share: f64) -> f64 {
        let next = self.shares.partition_point(|&known| known < share);
        if next == 0 {
            return self.weak();
        }
        let Some(&high) = self.shares.get(next) else { return self.strong() };
        let low = self.shares[next - 1];
        let (from, to) = (self.quality[next - 1], self.quality[next]);
        from + (to - from) * (share - low) / (high - low)
    }

    /// By how much the strong model is better; `None` unless it is, for then no share of it can be recovered.
    fn gap(&self) -> Option<f64> {
        let gap = self.strong() - self.weak();
        (gap > 1e-9).then_some(gap)
    }

    /// Performance gap recovered at a share of strong calls.
    #[must_use]
    pub fn pgr(&self, share: f64) -> Option<f64> {
        self.gap().map(|gap| (self.at(share) - self.weak()) / gap)
    }

    /// Average performance gap recovered.
    #[must_use]
    pub fn apgr(&self) -> Option<f64> {
        let steps = self.shares.windows(2).zip(self.quality.windows(2));
        let area: f64 =
            steps.map(|(share, quality)| (share[1] - share[0]) * (quality[0] + quality[1]) / 2.0).sum();
        self.gap().map(|gap| (area - self.weak()) / gap)
    }

    /// Call-performance threshold: the least share of strong calls with which PGR reaches `recovered`.
    #[must_use]
    pub fn cpt(&self, recovered: f64) -> Option<f64> {
        let target = self.weak() + recovered * self.gap()?;
        let reached = self.quality.iter().position(|&quality| quality >= target - 1e-12)?;
        if reached == 0 {
            return Some(0.0);
        }
        let (from, to) = (self.quality[reached - 1], self.quality[reached]);
        let part = ((target - from) / (to - from)).clamp(0.0, 1.0);
        Some(self.shares[reached - 1] + part * (self.shares[reached] - self.shares[reached - 1]))
    }
}
