//! Masking: the one way, beside observing, in which a request gets a lower label than it came with.
//!
//! It takes three steps, each with a type that only the one before can give:
//! 1. [`PolicySet::decide`] offers it ([`MaskOffer`]) where the label's action is `mask` and the rules would have sent the
//!    request to a place that may not see its label;
//! 2. whoever replaces the values hands over the masked request together with what classification found in *it*
//!    ([`MaskOffer::accept`]), and gets a [`Masked`] request;
//! 3. [`PolicySet::decide_masked`] labels that anew and makes a plan under which this very request may be sent, and no
//!    other: [`Plan::clear`] refuses values that were not made of it.
//!
//! What a mask cannot lower is the offer's floor: the policy's default, the team's default, the label that the caller asked
//! for, and doubt. Topics are not part of the floor: the masked text is read for them again. The session's label is not
//! lowered for the session; but the masked body is whole and was read again, so what an earlier turn held is either replaced
//! in it or counts again.
//!
//! Left out: the replacing itself, which needs the text. This crate never sees one.
//!
//! ```compile_fail
//! // A request cannot be declared masked; only an offer makes one.
//! fn forge(profile: policies::Profile) -> policies::Masked<&'static str> {
//!     policies::Masked { request: "secret", profile, replaced: Default::default(), mark: Default::default() }
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::cleared::{ClearanceError, Cleared};
use crate::decision::{CallerFacts, Decision, Labelled, Outcome, Plan, Situation};
use crate::label::Label;
use crate::profile::{EntityKind, Finding, FindingSource, Profile, Sensitivity};
use crate::rules::{Action, Ingredient, PolicySet};
use crate::target::Target;

/// What a value is replaced with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaskStyle {
    /// A typed word in brackets.
    #[default]
    Placeholder,
    /// Another value of the same form, where there is one that cannot be real.
    Surrogate,
}

impl MaskStyle {
    /// The words of the setting.
    pub const WORDS: &'static [&'static str] = &["placeholder", "surrogate"];
}

/// How values are replaced and put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSettings {
    /// What a value is replaced with.
    pub style: MaskStyle,
    /// The kinds that are replaced; `None` for all that have a label or take part in a combination.
    pub kinds: Option<BTreeSet<EntityKind>>,
    /// Are values put back into the answer?
    pub restore: bool,
    /// Are secrets put back too?
    pub restore_secrets: bool,
}

impl Default for MaskSettings {
    fn default() -> Self {
        Self { style: MaskStyle::default(), kinds: None, restore: true, restore_secrets: false }
    }
}

/// A request's way to a lower label, if its values are replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskOffer {
    from: Label,
    floor: Label,
    kinds: BTreeSet<EntityKind>,
    /// Terms of the policy that mean a label.
    terms: BTreeSet<String>,
    score_min: f32,
}

impl MaskOffer {
    /// The label that the request came with.
    #[must_use]
    pub const fn from(&self) -> Label {
        self.from
    }

    /// The lowest label that masking can lead to.
    #[must_use]
    pub const fn floor(&self) -> Label {
        self.floor
    }

    /// The same offer where something else is known that a mask cannot lower.
    #[must_use]
    pub fn not_below(mut self, floor: Label) -> Self {
        self.floor = self.floor.join(floor);
        self
    }

    /// Is this finding to be replaced?
    #[must_use]
    pub fn replaces(&self, finding: &Finding) -> bool {
        let is_term = || {
            let name = finding.subtype.as_deref().filter(|_| finding.source == FindingSource::User);
            name.is_some_and(|name| self.terms.contains(name))
        };
        finding.score >= self.score_min && (self.kinds.contains(&finding.kind) || is_term())
    }

    /// Takes a request in which the values were replaced (`replaced` counts them), with what classification found in it
    /// after that.
    #[must_use]
    pub fn accept<R>(&self, request: R, profile: Profile, replaced: BTreeMap<EntityKind, u32>) -> Masked<R> {
        Masked { request, profile, replaced, mark: Mark::default() }
    }
}

/// Tells one masked request from every other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark(Arc<()>);

impl Mark {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A request in which values were replaced.
#[derive(Debug)]
pub struct Masked<R> {
    request: R,
    profile: Profile,
    replaced: BTreeMap<EntityKind, u32>,
    mark: Mark,
}

impl<R> Masked<R> {
    /// What was replaced, by kind.
    #[must_use]
    pub const fn replaced(&self) -> &BTreeMap<EntityKind, u32> {
        &self.replaced
    }

    /// What classification found in the masked request.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }
}

/// A request on its way out: as it came, or masked.
#[derive(Debug)]
pub enum Subject<R> {
    /// As it came.
    Whole(R),
    /// With values replaced.
    Masked(Masked<R>),
}

impl<R> Deref for Subject<R> {
    type Target = R;

    fn deref(&self) -> &R {
        match self {
            Self::Whole(request) => request,
            Self::Masked(masked) => &masked.request,
        }
    }
}

impl<R> Subject<R> {
    /// Clears for one target what is made of this request.
    ///
    /// # Errors
    /// [`ClearanceError::AboveClearance`] when the target may not see it, [`ClearanceError::OtherRequest`] when the plan was
    /// made for another request than this one.
    pub fn clear<'a, T>(
        &'a self,
        plan: &Plan,
        make: impl FnOnce(&'a R) -> T,
        target: &Target,
    ) -> Result<Cleared<T>, ClearanceError> {
        let fits = match (self, plan.mark()) {
            (Self::Whole(_), None) => true,
            (Self::Masked(masked), Some(mark)) => masked.mark.is(mark),
            _ => false,
        };
        if !fits {
            return Err(ClearanceError::OtherRequest { target: target.id.clone() });
        }
        Cleared::check(make(self), plan.label(), target)
    }

    /// Another request that is made of this one, and masked where this one is.
    pub fn derive<S>(&self, make: impl FnOnce(&R) -> Option<S>) -> Option<Subject<S>> {
        Some(match self {
            Self::Whole(request) => Subject::Whole(make(request)?),
            Self::Masked(masked) => Subject::Masked(Masked {
                request: make(&masked.request)?,
                profile: masked.profile.clone(),
                replaced: masked.replaced.clone(),
                mark: masked.mark.clone(),
            }),
        })
    }
}

/// Data passed above its label, and why it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Declassified {
    /// The label that it had.
    pub from: Label,
    /// The label that it was sent with.
    pub to: Label,
    /// What lowered it.
    pub by: Declassifier,
}

/// What lowers a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Declassifier {
    /// A policy that only observes.
    Observer,
    /// Values were replaced, and the rest was read again.
    Mask,
}

impl PolicySet {
    /// How values are replaced and put back.
    #[must_use]
    pub const fn mask(&self) -> &MaskSettings {
        &self.mask
    }

    /// The label of everything that a mask cannot take away: defaults, the caller's word, doubt.
    #[must_use]
    pub fn floor(&self, sensitivity: &Sensitivity, caller: &CallerFacts) -> Label {
        let unmaskable = Sensitivity { doubt: sensitivity.doubt.clone(), ..Sensitivity::default() };
        self.label(&unmaskable, &CallerFacts { session_label: None, ..caller.clone() }).label
    }

    /// The offer to mask, where the action says so and it could help: the rules, were it not for the label, would send the
    /// request to a place that may not see it, and something was found that can be replaced.
    pub(crate) fn mask_offer(
        &self,
        profile: &Profile,
        situation: &Situation<'_>,
        labelled: &Labelled,
    ) -> Option<MaskOffer> {
        if self.observes() || self.action(labelled.label) != Action::Mask {
            return None;
        }
        let offer = MaskOffer {
            from: labelled.label,
            floor: self.floor(&profile.sensitivity, situation.caller),
            kinds: self.masked_kinds(),
            terms: self.masked_terms(),
            score_min: self.score_min,
        };
        let lowered = Labelled { label: offer.floor, ..labelled.clone() };
        let is_found = profile.sensitivity.findings.iter().any(|finding| offer.replaces(finding));
        let (outcome, _, _) = self.planned(profile, situation, &lowered, None);
        (is_found && self.reaches_further(&outcome, offer.from)).then_some(offer)
    }

    /// The kinds that mean something in this policy, as far as they are to be replaced.
    fn masked_kinds(&self) -> BTreeSet<EntityKind> {
        if let Some(kinds) = &self.mask.kinds {
            return kinds.clone();
        }
        let labelled = self.kinds.iter().filter(|(_, label)| **label > Label::Public).map(|(kind, _)| *kind);
        let combined = self.combinations.iter().flat_map(|combination| combination.all.iter().flatten());
        let combined = combined.filter_map(|ingredient| match ingredient {
            Ingredient::Kind { kind, .. } => Some(*kind),
            Ingredient::Topic { .. } => None,
        });
        labelled.chain(combined).collect()
    }

    fn masked_terms(&self) -> BTreeSet<String> {
        let all = self.mask.kinds.is_none();
        let terms = self.terms.iter().filter(|term| all && term.label.is_some());
        terms.map(|term| term.name.to_string()).collect()
    }

    /// Does a plan begin at, or escalate to, a place that may not see this label?
    fn reaches_further(&self, outcome: &Outcome, label: Label) -> bool {
        let Outcome::Serve(plan) = outcome else { return false };
        let first = plan.target();
        std::iter::once(first).chain(plan.escalation(first)).any(|target| !self.may_see(target, label))
    }

    /// Decides where a masked request goes, by what was found in it. `decided` is the decision about the request as it came,
    /// whose label and findings the result goes on telling.
    ///
    /// `None` where the mask did not help: the masked text still has too high a label, or would stay where the request as it
    /// came may be too. Then `decided` stands.
    #[must_use]
    pub fn decide_masked<R>(
        &self,
        decided: &Decision,
        masked: &Masked<R>,
        situation: &Situation<'_>,
    ) -> Option<Decision> {
        let offer = decided.mask.as_ref()?;
        let caller = CallerFacts { session_label: None, ..situation.caller.clone() };
        let mut labelled = self.label(&masked.profile.sensitivity, &caller);
        labelled.label = labelled.label.join(offer.floor);
        let declassified = Declassified { from: offer.from, to: labelled.label, by: Declassifier::Mask };
        let way = Some((declassified, masked.mark.clone()));
        let (outcome, mut reason, alternatives) = self.planned(&masked.profile, situation, &labelled, way);
        if labelled.label >= offer.from || !self.reaches_further(&outcome, offer.from) {
            return None;
        }
        let kinds: Vec<_> = masked.replaced.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let (from, to) = (offer.from, labelled.label);
        reason.text = format!("masked {}: {from} to {to}; {}", kinds.join(", "), reason.text);
        let labelled = decided.labelled.clone();
        Some(Decision { outcome, labelled, reason, alternatives, mask: None, ..decided.clone() })
    }

    /// Where a request would go if it was masked and nothing else was found then: for explanations and replays, which have no
    /// text to mask. Nothing can be sent under it.
    #[must_use]
    pub fn presume_masked(
        &self,
        decided: &Decision,
        profile: &Profile,
        situation: &Situation<'_>,
    ) -> Option<Decision> {
        let offer = decided.mask.as_ref()?;
        let mut rest = profile.clone();
        let mut replaced = BTreeMap::new();
        rest.sensitivity.findings.retain(|finding| {
            let goes = offer.replaces(finding);
            if goes {
                *replaced.entry(finding.kind).or_insert(0) += 1;
            }
            !goes
        });
        self.decide_masked(decided, &offer.accept((), rest, replaced), situation)
    }
}
