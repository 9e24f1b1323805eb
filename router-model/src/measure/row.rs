//! The graded row: one request with what was known before it was answered and how good the local answer was.
//!
//! It is the exchange format between export, tuning, evaluation, drift detection and training: JSON, one object
//! a line. Fields that a reader does not know are ignored, so that a writer may add some. Invariant:
//! [`GradedRow::from_json`] only returns rows whose numbers are in their ranges.

use serde::{Deserialize, Deserializer, Serialize};

/// Who or what said how good a local answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoodSource {
    /// A person who uses the gateway. People who complain are no random sample of those who ask.
    Feedback,
    /// A judge that compared the local answer with another model's.
    Shadow,
    /// A program that knows the right answer.
    Check,
}

impl GoodSource {
    /// The name that rows carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Shadow => "shadow",
            Self::Check => "check",
        }
    }
}

// Numbers are read with more digits than are kept: one that does not fit becomes infinite, and is refused by its field's name.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is refused by `validate`")]
fn narrow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    f64::deserialize(deserializer).map(|value| value as f32)
}

#[expect(clippy::cast_possible_truncation, reason = "what does not fit is refused by `validate`")]
fn narrow_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    Option::<f64>::deserialize(deserializer).map(|value| value.map(|value| value as f32))
}

#[expect(clippy::cast_possible_truncation, reason = "what does not fit is refused by `validate`")]
fn narrow_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
    let list = Option::<Vec<f64>>::deserialize(deserializer)?;
    Ok(list.map(|list| list.into_iter().map(|value| value as f32).collect()))
}

/// One request, graded or still to be graded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GradedRow {
    /// The request's id, unique among the rows.
    pub id: String,
    /// When it was asked. Unit: milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<i64>,
    /// P(a strong model is needed) in `[0, 1]`, as the router said before anything was generated.
    #[serde(deserialize_with = "narrow")]
    pub complexity: f32,
    /// P(the local answer is good enough) in `[0, 1]`, as said after it was generated; `None` without one.
    #[serde(default, deserialize_with = "narrow_option")]
    pub confidence: Option<f32>,
    /// Kind of task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Language of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Sensitivity label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Rung of the classifier that gave the complexity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<String>,
    /// How good the local answer was, in `[0, 1]`; `None` where nobody said.
    #[serde(default)]
    pub good: Option<f64>,
    /// Who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_source: Option<GoodSource>,
    /// How good the strong model's answer was, in `[0, 1]`; `None` counts as 1, see [`GradedRow::strong`].
    #[serde(default)]
    pub strong: Option<f64>,
    /// What the local answer cost. Unit: nano-dollars, at least 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_cost_nanos: Option<i64>,
    /// What the strong model's answer costs. Unit: nano-dollars, at least 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_cost_nanos: Option<i64>,
    /// Dense features of the router model, for training; their number belongs to the artifact that made them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "narrow_list")]
    pub features: Option<Vec<f32>>,
    /// The prompt, only where a policy lets prompts be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The local model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Why a line is not a graded row.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The line is not JSON, a field is missing, or it has the wrong type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A number is out of its range.
    #[error("{field}: {value} is not {requirement}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: f64,
        /// What it has to be.
        requirement: &'static str,
    },
    /// The id is empty.
    #[error("id: is empty")]
    Id,
}

impl GradedRow {
    /// Reads one line.
    ///
    /// # Errors
    /// When it is not such an object, or when a number is out of its range; the error names the field.
    pub fn from_json(line: &[u8]) -> Result<Self, RowError> {
        let row: Self = serde_json::from_slice(line)?;
        row.validate()?;
        Ok(row)
    }

    /// Checks every number against its range.
    ///
    /// # Errors
    /// [`RowError::Range`] names the first field that is out of range; [`RowError::Id`] an empty id.
    pub fn validate(&self) -> Result<(), RowError> {
        if self.id.is_empty() {
            return Err(RowError::Id);
        }
        share("complexity", Some(f64::from(self.complexity)))?;
        share("confidence", self.confidence.map(f64::from))?;
        share("good", self.good)?;
        share("strong", self.strong)?;
        amount("local_cost_nanos", self.local_cost_nanos)?;
        amount("cloud_cost_nanos", self.cloud_cost_nanos)?;
        let odd = self.features.iter().flatten().find(|feature| !feature.is_finite());
        odd.map_or(Ok(()), |&odd| {
            Err(RowError::Range { field: "features", value: f64::from(odd), requirement: "finite" })
        })
    }

    /// How good the strong model's answer was; 1 where nobody said, which favours the strong model.
    #[must_use]
    pub fn strong(&self) -> f64 {
        self.strong.unwrap_or(1.0)
    }
}

/// Checks a number that has to lie in `[0, 1]`.
///
/// # Errors
/// [`RowError::Range`] with the name of the field.
pub fn share(field: &'static str, value: Option<f64>) -> Result<(), RowError> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(RowError::Range { field, value, requirement: "from 0 to 1" })
        }
        _ => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn amount(field: &'static str, value: Option<i64>) -> Result<(), RowError> {
    match value {
        Some(value) if value < 0 => {
            Err(RowError::Range { field, value: value as f64, requirement: "0 or more" })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_its_own_writing_and_ignores_what_it_does_not_know() {
        let line = br#"{"id":"a","time_ms":5,"complexity":0.25,"confidence":null,"good":1,"good_source":"check","later":[1]}"#;
        let row = GradedRow::from_json(line).unwrap();
        assert_eq!((row.complexity, row.good, row.strong), (0.25, Some(1.0), None));
        assert_eq!(row.strong().to_bits(), 1.0_f64.to_bits());
        let written = serde_json::to_vec(&row).unwrap();
        assert_eq!(GradedRow::from_json(&written).unwrap(), row);
        assert!(!String::from_utf8(written).unwrap().contains("prompt"), "absent fields stay absent");
    }

    #[test]
    fn a_bad_row_names_its_field() {
        for (line, field) in [
            (r#"{"id":"a"}"#, "complexity"),
            (r#"{"id":"a","complexity":null}"#, "null"),
            (r#"{"id":"","complexity":0}"#, "id"),
            (r#"{"id":"a","complexity":1.5}"#, "complexity"),
            (r#"{"id":"a","complexity":1e39}"#, "complexity"),
            (r#"{"id":"a","complexity":0,"confidence":-0.1}"#, "confidence"),
            (r#"{"id":"a","complexity":0,"good":2}"#, "good"),
            (r#"{"id":"a","complexity":0,"strong":-1}"#, "strong"),
            (r#"{"id":"a","complexity":0,"cloud_cost_nanos":-1}"#, "cloud_cost_nanos"),
            (r#"{"id":"a","complexity":0,"features":[1e39]}"#, "features"),
            (r#"{"id":"a","complexity":0,"good_source":"rumour"}"#, "rumour"),
        ] {
            let said = GradedRow::from_json(line.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(field), "{line}: {said}");
        }
    }
}
