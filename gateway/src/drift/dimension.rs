//! What is watched, and into which bins it falls.
//!
//! Bins are fixed, few and named, so that histograms of different weeks, builds and gateways can be compared and read.
//! A language that has no bin of its own is counted as `other`: a move among those is not seen.

use policies::{Label, Profile, Rung, Task};

/// Bins of a number in `[0, 1]`.
const UNIT_BINS: usize = 10;
/// Languages with a bin of their own, before `other`.
const LANGUAGES: &[&str] =
    &["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja", "ko", "ar", "hi", "und"];

/// One thing that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// P(a strong model is needed), as measured.
    Complexity,
    /// The label after policy, caller and session.
    Label,
    /// Coarse type of work.
    Task,
    /// Main language.
    Language,
    /// Which rung of the router model said how complex it is.
    Rung,
    /// Confidence of local answers.
    Confidence,
}

impl Dimension {
    /// Everything that is watched.
    pub const ALL: [Self; 6] =
        [Self::Complexity, Self::Label, Self::Task, Self::Language, Self::Rung, Self::Confidence];
    /// What is known of every request, in the order of an observation.
    pub(super) const OF_REQUESTS: &'static [Self] =
        &[Self::Complexity, Self::Label, Self::Task, Self::Language, Self::Rung];
    /// What is known of local answers only.
    pub(super) const OF_ANSWERS: &'static [Self] = &[Self::Confidence];

    /// Name on every interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complexity => "complexity",
            Self::Label => "label",
            Self::Task => "task",
            Self::Language => "language",
            Self::Rung => "rung",
            Self::Confidence => "confidence",
        }
    }

    /// Number of bins.
    #[must_use]
    pub const fn bins(self) -> usize {
        match self {
            Self::Complexity | Self::Confidence => UNIT_BINS,
            Self::Label => Label::ALL.len(),
            Self::Task => Task::ALL.len(),
            Self::Language => LANGUAGES.len() + 1,
            Self::Rung => Rung::ALL.len(),
        }
    }

    /// Name of a bin: its lower bound for numbers, else the word.
    #[must_use]
    pub fn bin_name(self, bin: usize) -> String {
        let word = match self {
            Self::Complexity | Self::Confidence => return format!("0.{bin}"),
            Self::Label => Label::ALL.get(bin).map(|label| label.as_str()),
            Self::Task => Task::ALL.get(bin).map(|task| task.as_str()),
            Self::Language => LANGUAGES.get(bin).copied(),
            Self::Rung => Rung::ALL.get(bin).map(|rung| rung.as_str()),
        };
        word.unwrap_or("other").to_owned()
    }
}

/// The bins of one observation, in the order of its window's dimensions.
pub(super) type Bins = [u8; 8];

/// The bins of a request.
pub(super) fn bins_of_request(profile: &Profile, label: Label) -> Bins {
    let label = place(Label::ALL.iter().position(|other| *other == label));
    let task = place(Task::ALL.iter().position(|other| *other == profile.task));
    let language = LANGUAGES.iter().position(|other| *other == profile.language);
    let language = place(language.or(Some(LANGUAGES.len())));
    let rung = place(Rung::ALL.iter().position(|other| *other == profile.rung));
    [unit_bin(profile.complexity), label, task, language, rung, 0, 0, 0]
}

/// The bins of a local answer.
pub(super) fn bins_of_answer(confidence: f32) -> Bins {
    [unit_bin(confidence), 0, 0, 0, 0, 0, 0, 0]
}

#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 bins")]
fn place(position: Option<usize>) -> u8 {
    position.unwrap_or_default() as u8
}

/// The bin of a number in `[0, 1]`; one that is no number counts as 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to ten bins")]
pub(super) fn unit_bin(value: f32) -> u8 {
    (value * UNIT_BINS as f32).clamp(0.0, (UNIT_BINS - 1) as f32) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fall_into_ten_bins_and_nothing_falls_out() {
        for (value, bin) in
            [(0.0, 0), (0.0999, 0), (0.1, 1), (0.55, 5), (0.95, 9), (1.0, 9), (-3.0, 0), (7.0, 9)]
        {
            assert_eq!(unit_bin(value), bin, "{value}");
        }
        assert_eq!(unit_bin(f32::NAN), 0);
    }

    #[test]
    fn every_bin_has_a_name_of_its_own() {
        for dimension in Dimension::ALL {
            let mut names: Vec<_> = (0..dimension.bins()).map(|bin| dimension.bin_name(bin)).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), dimension.bins(), "{names:?}");
        }
    }
}
