//! A policy: what findings mean, which places may see what, and which place is preferred when.
//!
//! Policies are written in TOML ([`crate::config`]) and compiled once into a [`PolicySet`], which is then
//! shared and never changes; a new policy is a new set with another revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::condition::Condition;
use crate::decision::{CallerFacts, Labelled, Situation};
use crate::label::{Clearance, Label};
use crate::masked::MaskSettings;
use crate::mode::Mode;
use crate::profile::{EntityKind, FindingSource, Profile, Sensitivity, Topic};
use crate::target::{Location, Target};
use crate::term::Term;

/// What to do with data whose label is above the clearance of the place that it would have gone to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Serve it from a place that is cleared, or refuse; it never leaves.
    KeepLocal,
    /// Refuse it.
    Refuse,
    /// Replace what was found and read the rest again; where that does not clear, as `KeepLocal`.
    Mask,
}

/// What to do with a request that wants the cloud when no cloud can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenCloudFails {
    /// Answer with what is here, marked as degraded.
    ServeLocal,
    /// Refuse with a clear error.
    Refuse,
}

/// Where a rule sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Any target at a kind of place.
    Place(Location),
    /// One target, or the targets of one upstream.
    Name(Arc<str>),
    /// The cheapest target whose expected quality meets the policy.
    Cheapest,
}

/// One ordered rule.
#[derive(Debug)]
pub struct Rule {
    /// Name, for explanations and the ledger.
    pub name: Arc<str>,
    /// Condition; a rule without one always holds.
    pub when: Option<Condition>,
    /// Where to.
    pub route: Route,
    /// How the local model is used.
    pub mode: Mode,
}

/// One alternative of a member of a combination.
///
/// Counts are of findings, not of different values: a profile holds no values, so one address that stands there twice
/// counts twice. A count is over the whole request, history included.
#[derive(Debug, Clone, PartialEq)]
pub enum Ingredient {
    /// Entities of this kind were found, at least so many.
    Kind {
        /// The kind.
        kind: EntityKind,
        /// At least how many; 1 unless the policy says otherwise.
        at_least: u32,
    },
    /// The topic reached a score.
    Topic {
        /// The topic.
        topic: Topic,
        /// The score in `[0, 1]`: lower than the topic's own where it takes less to mean something beside another member.
        /// The topic's own, if absent; a topic that the policy does not label is then never there.
        at: Option<f32>,
    },
}

/// Findings that together mean more than each alone.
#[derive(Debug, Clone)]
pub struct Combination {
    /// Every member must be present; a member is a list of alternatives.
    pub all: Vec<Vec<Ingredient>>,
    /// What they mean together.
    pub label: Label,
}

/// What a topic means from which score on.
#[derive(Debug, Clone, Copy)]
pub struct TopicRule {
    /// Label.
    pub label: Label,
    /// Score in `[0, 1]` from which the topic counts.
    pub at: f32,
}

/// A compiled policy.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) name: Arc<str>,
    pub(crate) revision: Arc<str>,
    pub(crate) on_doubt: Label,
    pub(crate) default_label: Label,
    pub(crate) observes: bool,
    pub(crate) score_min: f32,
    pub(crate) kinds: BTreeMap<EntityKind, Label>,
    pub(crate) topics: BTreeMap<Topic, TopicRule>,
    pub(crate) combinations: Vec<Combination>,
    pub(crate) terms: Vec<Term>,
    pub(crate) teams: BTreeMap<String, Label>,
    pub(crate) actions: BTreeMap<Label, Action>,
    pub(crate) clearance: BTreeMap<Location, Clearance>,
    pub(crate) mask: MaskSettings,
    pub(crate) names_may_be_local: bool,
    pub(crate) quality_min: f32,
    pub(crate) cloud_unavailable: WhenCloudFails,
    pub(crate) fall_back: bool,
    pub(crate) requires_audit: bool,
    pub(crate) rules: Vec<Rule>,
}

impl PolicySet {
    /// Name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Revision: the name and a hash of the text that it was compiled from.
    #[must_use]
    pub const fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// Does this policy only watch? Then nothing is kept back, and each label that would have kept something
    /// back is recorded as declassified.
    #[must_use]
    pub const fn observes(&self) -> bool {
        self.observes
    }

    /// May a model that the client names be answered locally?
    #[must_use]
    pub const fn names_may_be_local(&self) -> bool {
        self.names_may_be_local
    }

    /// Are other targets tried when the first one fails?
    #[must_use]
    pub const fn falls_back(&self) -> bool {
        self.fall_back
    }

    /// Must the audit record of what leaves this machine be on disk before its first byte is sent?
    #[must_use]
    pub const fn requires_audit(&self) -> bool {
        self.requires_audit
    }

    /// The topics that reach this policy's thresholds, with their scores.
    pub fn topics_above<'a>(
        &'a self,
        sensitivity: &'a Sensitivity,
    ) -> impl Iterator<Item = (Topic, f32)> + 'a {
        let scored =
            self.topics.iter().map(|(topic, rule)| (*topic, rule.at, topic_score(sensitivity, *topic)));
        scored.filter(|(_, at, score)| score >= at).map(|(topic, _, score)| (topic, score))
    }

    /// Expected chance of a good enough answer that is asked of a target, in `[0, 1]`.
    #[must_use]
    pub const fn quality_min(&self) -> f32 {
        self.quality_min
    }

    /// The terms that the detector is to find for this policy.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    pub(crate) const fn when_cloud_fails(&self) -> WhenCloudFails {
        self.cloud_unavailable
    }

    pub(crate) fn action(&self, label: Label) -> Action {
        self.actions.get(&label).copied().unwrap_or(Action::KeepLocal)
    }

    /// The policy's cap on the clearance of a kind of place; a target's own clearance holds besides.
    pub(crate) fn clearance_of(&self, target: &Target) -> Clearance {
        self.clearance.get(&target.location).copied().unwrap_or(target.clearance)
    }

    /// May a target see data with this label, by its own clearance and by the policy's cap?
    pub(crate) fn may_see(&self, target: &Target, label: Label) -> bool {
        self.clearance_of(target).admits(label) && target.clearance.admits(label)
    }

    /// Filter 1: the label of a request, the highest of everything that speaks for one.
    #[must_use]
    pub fn label(&self, sensitivity: &Sensitivity, caller: &CallerFacts) -> Labelled {
        self.label_of(self.counted_kinds(sensitivity), sensitivity, caller)
    }

    /// The label of a request in which each kind was found so many times.
    fn label_of(
        &self,
        kinds: BTreeMap<EntityKind, u32>,
        sensitivity: &Sensitivity,
        caller: &CallerFacts,
    ) -> Labelled {
        let counts = kinds.clone();
        let mut labelled = Labelled {
            label: self.default_label,
            because: String::from("policy default"),
            kinds,
            doubt: sensitivity.doubt.clone(),
        };
        let mut raise = |label: Label, because: String| {
            if label > labelled.label {
                labelled.label = label;
                labelled.because = because;
            }
        };
        if let Some(label) = self.teams.get(&caller.team) {
            raise(*label, format!("default of team {}", caller.team));
        }
        if let Some(label) = caller.label {
            raise(label, String::from("asked for by the caller"));
        }
        if let Some(label) = caller.session_label {
            raise(label, String::from("reached earlier in this session"));
        }
        for (kind, count) in &counts {
            if let Some(label) = self.kinds.get(kind) {
                raise(*label, format!("{count} {kind} found"));
            }
        }
        for (topic, rule) in &self.topics {
            if topic_score(sensitivity, *topic) >= rule.at {
                raise(rule.label, format!("topic {topic}"));
            }
        }
        for combination in &self.combinations {
            if let Some(because) = self.present(combination, &counts, sensitivity) {
                raise(combination.label, because);
            }
        }
        for (name, label) in self.labelled_terms(sensitivity) {
            raise(label, format!("term {name} found"));
        }
        if let Some(doubt) = sensitivity.doubt.first() {
            raise(self.on_doubt, format!("doubt: {doubt}"));
        }
        labelled
    }

    /// Whether findings of these kinds, however many, could raise the label that a request has by now, whoever asks; or
    /// would have to be masked. Where they could not, nobody needs to look for them.
    #[must_use]
    pub fn would_heed(&self, sensitivity: &Sensitivity, kinds: &[EntityKind]) -> bool {
        let caller = CallerFacts::default();
        let now = self.label(sensitivity, &caller).label;
        if self.actions.values().any(|action| *action == Action::Mask) {
            return true;
        }
        if now == Label::Restricted {
            return false;
        }
        let mut worst = self.counted_kinds(sensitivity);
        worst.extend(kinds.iter().map(|kind| (*kind, u32::MAX)));
        self.label_of(worst, sensitivity, &caller).label > now
    }

    fn counted_kinds(&self, sensitivity: &Sensitivity) -> BTreeMap<EntityKind, u32> {
        let mut counts = BTreeMap::new();
        for finding in sensitivity.findings.iter().filter(|f| f.score >= self.score_min) {
            *counts.entry(finding.kind).or_insert(0) += 1;
            for kind in finding.hidden_kinds() {
                *counts.entry(kind).or_insert(0) += 1;
            }
        }
        counts
    }

    /// The terms of this policy that were found and mean a label; a finding knows its term by name only.
    fn labelled_terms<'a>(
        &'a self,
        sensitivity: &'a Sensitivity,
    ) -> impl Iterator<Item = (&'a str, Label)> + 'a {
        let found = |term: &Term| {
            sensitivity.findings.iter().any(|finding| {
                finding.source == FindingSource::User
                    && finding.score >= self.score_min
                    && finding.subtype.as_deref() == Some(&*term.name)
            })
        };
        self.terms.iter().filter_map(move |term| Some((&*term.name, term.label.filter(|_| found(term))?)))
    }

    /// What the members of a combination are, in words, if all were found.
    fn present(
        &self,
        combination: &Combination,
        kinds: &BTreeMap<EntityKind, u32>,
        sensitivity: &Sensitivity,
    ) -> Option<String> {
        let mut names = Vec::with_capacity(combination.all.len());
        for member in &combination.all {
            let found = member.iter().find(|ingredient| match ingredient {
                Ingredient::Kind { kind, at_least } => kinds.get(kind).is_some_and(|count| count >= at_least),
                Ingredient::Topic { topic, at } => at
                    .or_else(|| self.topics.get(topic).map(|rule| rule.at))
                    .is_some_and(|at| topic_score(sensitivity, *topic) >= at),
            })?;
            names.push(match found {
                Ingredient::Kind { kind, at_least: 1 } => kind.to_string(),
                Ingredient::Kind { kind, at_least } => format!("{at_least} or more {kind}"),
                Ingredient::Topic { topic, .. } => topic.to_string(),
            });
        }
        let together = if names.len() > 1 { " together" } else { "" };
        Some(format!("{}{together}", names.join(" and ")))
    }

    /// The first rule whose condition holds.
    ///
    /// A condition that cannot be evaluated counts as doubt about where the request belongs: the request is
    /// then routed to the most cleared kind of place.
    pub(crate) fn first_rule(&self, profile: &Profile, situation: &Situation<'_>) -> Fired {
        for rule in &self.rules {
            let holds = match &rule.when {
                None => Ok(true),
                Some(condition) => condition.holds(profile, situation),
            };
            match holds {
                Ok(true) => {
                    return Fired { name: rule.name.clone(), route: rule.route.clone(), mode: rule.mode };
                }
                Ok(false) => {}
                Err(_) => {
                    return Fired {
                        name: Arc::from(format!("{} (could not be evaluated)", rule.name)),
                        route: Route::Place(Location::Local),
                        mode: Mode::Route,
                    };
                }
            }
        }
        Fired { name: Arc::from("default"), route: Route::Cheapest, mode: Mode::Route }
    }
}

fn topic_score(sensitivity: &Sensitivity, topic: Topic) -> f32 {
    sensitivity.topics.get(&topic).copied().unwrap_or(0.0)
}

/// The rule that fired.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    pub(crate) name: Arc<str>,
    pub(crate) route: Route,
    pub(crate) mode: Mode,
}
