//! What traffic is compared with: this gateway's own, from when it had seen enough of it, or the operator's choice.
//!
//! Histograms measured in training would be nobody's traffic. So the first full window becomes the reference, and lies
//! in a file beside the ledger from then on. The same JSON is shown by `/admin/v1/drift` and may be given as
//! `router.drift_reference`. Complexities of two router models are not comparable; a reference names the one that
//! it was measured with.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dimension::Dimension;
use super::window::total;

/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Histograms to compare with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reference {
    /// Revision of the router model that it was measured with; `None` in a file that does not say.
    pub router: Option<String>,
    /// When it was taken, Unix milliseconds.
    pub taken_ms: Option<i64>,
    pub(super) histograms: BTreeMap<&'static str, Vec<u32>>,
}

/// Why a reference cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The file.
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// Its form.
    #[error("is not a drift reference: {0}")]
    Json(#[from] serde_json::Error),
    /// A name that this build does not know.
    #[error("has the histogram `{0}`, which there is not")]
    Dimension(String),
    /// A bin that this build does not know.
    #[error("has the bin `{bin}` in `{dimension}`, which there is not")]
    Bin {
        /// The histogram.
        dimension: &'static str,
        /// The bin.
        bin: String,
    },
    /// Nothing to compare with.
    #[error("has no histogram with an observation")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    #[serde(default)]
    router: Option<String>,
    #[serde(default)]
    taken_ms: Option<i64>,
    histograms: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Reference {
    /// The histogram of a dimension, if there is one.
    pub(super) fn get(&self, dimension: Dimension) -> Option<&[u32]> {
        self.histograms.get(dimension.as_str()).map(Vec::as_slice)
    }

    /// Sets the histogram of a dimension.
    pub(super) fn set(&mut self, dimension: Dimension, histogram: Vec<u32>) {
        self.histograms.insert(dimension.as_str(), histogram);
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn read(path: &Path) -> Result<Self, ReferenceError> {
        if std::fs::metadata(path)?.len() > BYTES_MAX {
            return Err(std::io::Error::other("larger than 1 MiB").into());
        }
        Self::parse(&std::fs::read(path)?)
    }

    /// Reads the JSON form. Bins that are left out are empty.
    fn parse(json: &[u8]) -> Result<Self, ReferenceError> {
        let raw: RawReference = serde_json::from_slice(json)?;
        let mut reference = Self { router: raw.router, taken_ms: raw.taken_ms, ..Self::default() };
        for (name, bins) in raw.histograms {
            let known = Dimension::ALL.into_iter().find(|dimension| dimension.as_str() == name);
            let dimension = known.ok_or(ReferenceError::Dimension(name))?;
            let mut histogram = vec![0; dimension.bins()];
            for (bin, count) in bins {
                let place = (0..dimension.bins()).find(|place| dimension.bin_name(*place) == bin);
                let place = place.ok_or(ReferenceError::Bin { dimension: dimension.as_str(), bin })?;
                histogram[place] = count;
            }
            reference.set(dimension, histogram);
        }
        if reference.histograms.values().all(|histogram| total(histogram) == 0) {
            return Err(ReferenceError::Empty);
        }
        Ok(reference)
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let histograms: Map<String, Value> = Dimension::ALL
            .into_iter()
            .filter_map(|dimension| {
                Some((dimension.as_str().to_owned(), named(dimension, self.get(dimension)?)))
            })
            .collect();
        json!({"router": self.router, "taken_ms": self.taken_ms, "histograms": histograms})
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(serde_json::to_string_pretty(&self.to_json())?.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// A histogram with the names of its bins.
pub(super) fn named(dimension: Dimension, histogram: &[u32]) -> Value {
    let bins = histogram.iter().enumerate().map(|(bin, count)| (dimension.bin_name(bin), json!(count)));
    Value::Object(bins.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let mut reference =
            Reference { router: Some(String::from("abc")), taken_ms: Some(7), ..Reference::default() };
        reference.set(Dimension::Complexity, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        reference.set(Dimension::Label, vec![5, 0, 0, 1]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        reference.write(&path).unwrap();
        assert_eq!(Reference::read(&path).unwrap(), reference);
        reference.set(Dimension::Label, vec![6, 0, 0, 1]);
        reference.write(&path).unwrap();
        assert_eq!(Reference::read(&path).unwrap(), reference, "a second one takes its place");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let fault = |json: &str| Reference::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(fault("{").contains("is not a drift reference"));
        assert!(fault(r#"{"histograms": {}}"#).contains("no histogram"));
        assert!(fault(r#"{"histograms": {"label": {"public": 0}}}"#).contains("no histogram"));
        assert!(fault(r#"{"histograms": {"colour": {"red": 1}}}"#).contains("`colour`"));
        assert!(fault(r#"{"histograms": {"label": {"secret": 1}}}"#).contains("`secret` in `label`"));
        assert!(fault(r#"{"histograms": {"label": {"public": -1}}}"#).contains("is not a drift reference"));
        assert!(fault(r#"{"histograms": {"label": {"public": 1}}, "rooter": "x"}"#).contains("rooter"));
    }
}
