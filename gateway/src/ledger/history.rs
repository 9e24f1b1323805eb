//! What a row keeps of its decision, so that it can be made again.
//!
//! A profile is findings by kind and position, scores and counts; features are counts and shares. Neither holds
//! a word of the request, and both are written as they are but for one bound: of a kind that was found very
//! often only the strongest findings are kept, which label a request just like all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use policies::{EntityKind, Profile};

use super::row::Asked;

/// Findings that are stored whole; above, those of each kind are bounded.
const FINDINGS_MAX: usize = 256;
/// Findings of one kind that are stored where there are more than [`FINDINGS_MAX`] in all.
const FINDINGS_OF_A_KIND_MAX: usize = 16;

pub(super) fn profile_json(profile: &Profile) -> Option<String> {
    serde_json::to_string(&*bounded(profile)).ok()
}

pub(super) fn situation_json(asked: &Asked) -> Option<String> {
    serde_json::to_string(asked).ok()
}

/// Little-endian 32-bit floats, one after the other.
pub(super) fn features_blob(features: &[f32]) -> Vec<u8> {
    features.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The profile with a bounded number of findings. The strongest of every kind stays, so every score threshold
/// and every combination finds what it found before.
fn bounded(profile: &Profile) -> Cow<'_, Profile> {
    let findings = &profile.sensitivity.findings;
    if findings.len() <= FINDINGS_MAX {
        return Cow::Borrowed(profile);
    }
    let mut by_kind: BTreeMap<EntityKind, Vec<usize>> = BTreeMap::new();
    for (index, finding) in findings.iter().enumerate() {
        by_kind.entry(finding.kind).or_default().push(index);
    }
    let mut kept: Vec<usize> = Vec::new();
    for mut indices in by_kind.into_values() {
        indices.sort_by(|&a, &b| findings[b].score.total_cmp(&findings[a].score));
        kept.extend(indices.into_iter().take(FINDINGS_OF_A_KIND_MAX));
    }
    kept.sort_unstable();
    let mut bounded = profile.clone();
    bounded.sensitivity.findings = kept.into_iter().map(|index| findings[index].clone()).collect();
    Cow::Owned(bounded)
}
