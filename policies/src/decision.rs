//! What a decision is made of, and how it is made.
//!
//! [`PolicySet::decide`] is four filters in a row, none of which can be skipped:
//! 1. the label: findings, doubt, the caller and the session raise it, nothing lowers it but a policy that
//!    declares itself an observer, or a mask ([`crate::masked`]); both are recorded as a declassification;
//! 2. clearance: targets that may not see the label are out, and no rule can bring them back;
//! 3. capability and availability: targets that cannot serve the request, or not now, are out;
//! 4. preference: the first rule whose condition holds orders what is left.
//!
//! Conditions cannot read findings or labels. Raising the sensitivity of a request therefore only removes
//! targets from an order that stays as it was, and every target that remains is cleared for the higher label:
//! raising sensitivity never moves a request further out to a place that may see less. A property test holds this.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cleared::{ClearanceError, Cleared};
use crate::label::Label;
use crate::masked::{Declassified, Declassifier, Mark, MaskOffer};
use crate::mode::Mode;
use crate::price::{Cost, Price, Usage};
use crate::profile::{Doubt, EntityKind, Profile};
use crate::rules::{Action, PolicySet, Route, WhenCloudFails};
use crate::target::{Availability, Location, Target};

/// Output tokens assumed for a price estimate when classification does not say.
pub const EXPECTED_OUTPUT_TOKENS: u64 = 256;

/// Output tokens assumed for a price estimate: what classification expects, within the request's limit.
#[must_use]
pub fn expected_output_tokens(profile: &Profile, limit: Option<u32>) -> u64 {
    let expected =
        if profile.output_tokens == 0 { EXPECTED_OUTPUT_TOKENS } else { u64::from(profile.output_tokens) };
    limit.map_or(expected, |limit| expected.min(u64::from(limit)))
}

/// What the request asks for, apart from its text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestFacts {
    /// Model name as the client wrote it.
    pub model: String,
    /// How the name is to be read.
    pub wants: Wants,
    /// Server-sent events are wanted.
    pub stream: bool,
    /// Tools are declared and may be called.
    pub tools: bool,
    /// JSON mode or a JSON schema is demanded.
    pub schema: bool,
    /// The input has images, audio or files.
    pub images: bool,
    /// More than one choice is demanded.
    pub choices: bool,
    /// Limit on output tokens, if the request sets one.
    pub output_tokens_max: Option<u32>,
    /// User turns in the conversation.
    pub turns: u32,
}

/// What a model name means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wants {
    /// `auto`: any target.
    #[default]
    Any,
    /// A name that the client would have used without the gateway: its upstream, or a local answer where the
    /// policy allows that.
    Named,
    /// One target (`local/<name>`, `<upstream>/<name>`), still subject to clearance.
    Forced(Arc<str>),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CallerFacts {
    /// Team that pays.
    pub team: String,
    /// Identifier of the key, empty when none was presented.
    pub key: String,
    /// Tier of the key (`standard` unless set).
    pub tier: String,
    /// End user, where the client names one.
    pub user: String,
    /// Tags of the request.
    pub tags: Vec<String>,
    /// Label that the caller asks for; it can only raise.
    pub label: Option<Label>,
    /// Label that the session has already reached.
    pub session_label: Option<Label>,
}

/// Everything that a decision depends on besides the profile.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The request.
    pub request: &'a RequestFacts,
    /// The caller.
    pub caller: &'a CallerFacts,
    /// Every target that the request could go to, in the operator's order.
    pub targets: &'a [Arc<Target>],
}

/// Why a target was not chosen, or that it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It serves the request.
    Chosen,
    /// It could serve; its place in the order after the chosen one, from 1.
    Fallback(u32),
    /// It could serve, but the policy does not fall back to it.
    Eligible,
    /// It may not see the label.
    NotCleared,
    /// It lacks a capability.
    Incapable(&'static str),
    /// It cannot be used now.
    Unavailable(Arc<str>),
    /// The request named another one.
    NotAsked,
}

/// One target with its price and standing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// Target id.
    pub target: Arc<str>,
    /// Where it runs.
    pub location: Location,
    /// Chosen, fallback, or why not.
    pub standing: Standing,
    /// Estimated cost of this request there.
    pub estimate: Cost,
    /// Expected chance of a good enough answer.
    pub expected_quality: f32,
}

/// Why a decision came out as it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// Name of the rule that fired, or of the built-in step.
    pub rule: Arc<str>,
    /// Short static word for headers and metrics.
    pub code: &'static str,
    /// One sentence for people; names kinds and counts, never values.
    pub text: String,
}

/// Everything that is known about the label of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labelled {
    /// The label.
    pub label: Label,
    /// What raised it to that.
    pub because: String,
    /// Findings by kind.
    pub kinds: BTreeMap<EntityKind, u32>,
    /// Doubts.
    pub doubt: Vec<Doubt>,
}

/// The request is served: where, and what comes next if that fails.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Targets in the order in which they are tried; never empty, all cleared for the label.
    targets: Vec<Arc<Target>>,
    label: Label,
    /// How the local model is used.
    pub mode: Mode,
    /// Who else is asked, without being shown, where the mode says so; cleared for the label whoever observes.
    shadow: Option<Arc<Target>>,
    /// The preferred kind of place was not to be had.
    pub degraded: bool,
    /// Set when the policy let the data pass above its label.
    pub declassified: Option<Declassified>,
    /// The masked request that this plan was made for, if it is one.
    mark: Option<Mark>,
}

impl Plan {
    /// The first target.
    #[must_use]
    pub fn target(&self) -> &Arc<Target> {
        &self.targets[0]
    }

    /// All targets, first choice first.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The same plan with only the targets that cost no money; `None` when none does.
    #[must_use]
    pub fn free_of_charge(mut self) -> Option<Self> {
        self.targets.retain(|target| target.price == Some(Price::FREE));
        self.shadow = self.shadow.filter(|target| target.price == Some(Price::FREE));
        (!self.targets.is_empty()).then_some(self)
    }

    /// The target that is asked too, and never shown.
    #[must_use]
    pub const fn shadow(&self) -> Option<&Arc<Target>> {
        self.shadow.as_ref()
    }

    /// The plan of the shadow: its target alone, nothing after it. `None` where there is no shadow.
    #[must_use]
    pub fn of_shadow(&self) -> Option<Self> {
        let target = self.shadow.clone()?;
        Some(Self { targets: vec![target], mode: Mode::Route, shadow: None, ..self.clone() })
    }

    /// The same plan when nothing is judged any more: the first answer is served.
    #[must_use]
    pub fn without_judgement(&self) -> Self {
        Self { mode: Mode::Route, shadow: None, ..self.clone() }
    }

    /// Where a weak answer of a local target escalates to, if to anywhere: the next target of the plan that is
    /// stronger or further out. `None` in modes that do not escalate, and for a target that is not local.
    #[must_use]
    pub fn escalation(&self, from: &Target) -> Option<&Arc<Target>> {
        self.mode.escalate_below()?;
        let place = self.targets.iter().position(|target| target.id == from.id)?;
        let next = self.targets[place + 1..].iter().find(|to| to.is_beyond(from));
        next.filter(|_| from.location == Location::Local)
    }

    /// The label against which targets are cleared.
    #[must_use]
    pub const fn label(&self) -> Label {
        self.label
    }

    pub(crate) const fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Clears a value for one target.
    ///
    /// # Errors
    /// [`ClearanceError::AboveClearance`] when the target may not see this request, [`ClearanceError::OtherRequest`] when the
    /// plan is that of a masked request: then [`crate::Subject::clear`] clears what is made of that one, and nothing else.
    pub fn clear<T>(&self, value: T, target: &Target) -> Result<Cleared<T>, ClearanceError> {
        match self.mark {
            None => Cleared::check(value, self.label, target),
            Some(_) => Err(ClearanceError::OtherRequest { target: target.id.clone() }),
        }
    }
}

/// The request is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its label may go nowhere that could serve it.
    Policy,
    /// No target has what it needs (`tools`, `vision`, ...).
    Incapable(&'static str),
    /// What could serve it is not available now.
    Unavailable(Arc<str>),
    /// It names a model that does not exist.
    UnknownModel,
}

/// Served or refused.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Served as planned.
    Serve(Plan),
    /// Not served.
    Refuse(Refusal),
}

/// A decision with everything that explains it.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Served or refused.
    pub outcome: Outcome,
    /// The label and what raised it.
    pub labelled: Labelled,
    /// Why.
    pub reason: Reason,
    /// Every target considered, in the operator's order.
    pub alternatives: Vec<Alternative>,
    /// Revision of the policy that decided.
    pub policy_revision: Arc<str>,
    /// The offer to mask the request, where that could take it further.
    pub mask: Option<MaskOffer>,
}

/// What to do with an answer that has arrived.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Serve it.
    Serve,
    /// Ask this target instead.
    Escalate(Arc<Target>),
}

/// Reviews a local answer by its confidence (`[0, 1]`): the second half of a cascade. A confidence that is no number
/// counts as none.
#[must_use]
pub fn review(plan: &Plan, target: &Target, confidence: f32) -> Verdict {
    let enough = |threshold: f32| confidence >= threshold;
    match (plan.mode.escalate_below(), plan.escalation(target)) {
        (Some(threshold), Some(next)) if !enough(threshold) => Verdict::Escalate(next.clone()),
        _ => Verdict::Serve,
    }
}

impl PolicySet {
    /// Decides where a request goes.
    #[must_use]
    pub fn decide(&self, profile: &Profile, situation: &Situation<'_>) -> Decision {
        let labelled = self.label(&profile.sensitivity, situation.caller);
        let (outcome, reason, alternatives) = self.planned(profile, situation, &labelled, None);
        let mask = self.mask_offer(profile, situation, &labelled);
        Decision { outcome, labelled, reason, alternatives, policy_revision: self.revision().clone(), mask }
    }

    /// Filters 2 to 4 for a label. `masked` says that the request was masked to get that label.
    pub(crate) fn planned(
        &self,
        profile: &Profile,
        situation: &Situation<'_>,
        labelled: &Labelled,
        masked: Option<(Declassified, Mark)>,
    ) -> (Outcome, Reason, Vec<Alternative>) {
        let effective = if self.observes() { Label::Public } else { labelled.label };
        let mut sifted = self.sift(profile, situation, effective);
        let (mut outcome, reason) = self.choose(profile, situation, labelled, effective, &mut sifted);
        if let Outcome::Serve(plan) = &mut outcome {
            let observed = Declassified { from: labelled.label, to: effective, by: Declassifier::Observer };
            plan.declassified = (labelled.label > effective).then_some(observed);
            if let Some((declassified, mark)) = masked {
                (plan.declassified, plan.mark) = (Some(declassified), Some(mark));
            }
        }
        (outcome, reason, sifted)
    }

    /// Filters 2 and 3: one [`Alternative`] per target, with `Eligible` or why not.
    fn sift(&self, profile: &Profile, situation: &Situation<'_>, label: Label) -> Vec<Alternative> {
        let usage = Usage {
            input_tokens: u64::from(profile.input_tokens),
            output_tokens: expected_output_tokens(profile, situation.request.output_tokens_max),
            ..Usage::default()
        };
        situation
            .targets
            .iter()
            .map(|target| Alternative {
                target: target.id.clone(),
                location: target.location,
                standing: self.standing(profile, situation.request, label, target),
                estimate: target.price.map_or(Cost::Unpriced, |p| Cost::Priced(p.cost(&usage))),
                expected_quality: target.expected_quality(profile.complexity),
            })
            .collect()
    }

    fn standing(&self, profile: &Profile, request: &RequestFacts, label: Label, target: &Target) -> Standing {
        let asked = match &request.wants {
            Wants::Any => true,
            Wants::Named => target.location != Location::Local || self.names_may_be_local(),
            Wants::Forced(id) => target.id == *id,
        };
        if !self.may_see(target, label) {
            Standing::NotCleared
        } else if !asked {
            Standing::NotAsked
        } else if let Some(lacking) = lacking(profile, request, target) {
            Standing::Incapable(lacking)
        } else if let Availability::Unavailable(why) = &target.availability {
            Standing::Unavailable(why.clone())
        } else {
            Standing::Eligible
        }
    }

    /// Filter 4, and what happens when nothing is left.
    fn choose(
        &self,
        profile: &Profile,
        situation: &Situation<'_>,
        labelled: &Labelled,
        effective: Label,
        sifted: &mut [Alternative],
    ) -> (Outcome, Reason) {
        if let Wants::Forced(id) = &situation.request.wants
            && !situation.targets.iter().any(|target| target.id == *id)
        {
            let text = format!("no model is called `{}`", situation.request.model);
            return refuse(Refusal::UnknownModel, "model", "unknown_model", text);
        }
        if self.action(effective) == Action::Refuse {
            let text = format!("{}: the policy refuses {} data", labelled.because, labelled.label);
            return refuse(Refusal::Policy, "label", "refused", text);
        }
        let fired = self.first_rule(profile, situation);
        let forced = matches!(situation.request.wants, Wants::Forced(_));
        let order = order(&fired.route, self.quality_min(), situation.targets, sifted);
        let wanted = wanted_location(&fired.route);
        let Some(&first) = order.first() else {
            return nothing_left(labelled, sifted);
        };
        let location = situation.targets[first].location;
        let fate = Fate {
            rule: &fired.name,
            forced,
            location,
            kept: kept_by_label(sifted, wanted, location),
            wanted: wanted.filter(|wanted| !forced && *wanted != location),
        };
        if fate.is_degraded() && self.when_cloud_fails() == WhenCloudFails::Refuse {
            let why = unavailable_reason(sifted, fate.wanted.unwrap_or(Location::Cloud));
            let text = format!("{why}, and the policy does not serve such requests elsewhere");
            return refuse(Refusal::Unavailable(why), &fired.name, "cloud_unavailable", text);
        }
        let mut targets = vec![situation.targets[first].clone()];
        sifted[first].standing = Standing::Chosen;
        if self.falls_back() && !forced {
            let further = |&&index: &&usize| {
                self.when_cloud_fails() == WhenCloudFails::ServeLocal
                    || situation.targets[index].location >= location
            };
            for (place, &index) in order[1..].iter().filter(further).enumerate() {
                sifted[index].standing = Standing::Fallback(u32::try_from(place + 1).unwrap_or(u32::MAX));
                targets.push(situation.targets[index].clone());
            }
        }
        let plan = Plan {
            targets,
            label: effective,
            mode: fired.mode,
            shadow: match fired.mode {
                Mode::Shadow { .. } if !forced => {
                    self.shadow_of(profile, situation, labelled.label, &situation.targets[first], &order)
                }
                _ => None,
            },
            degraded: fate.is_degraded(),
            declassified: None,
            mark: None,
        };
        let reason = fate.reason(profile, situation, labelled, sifted);
        (Outcome::Serve(plan), reason)
    }
}

impl PolicySet {
    /// Who is asked beside the target that serves: a local target beside a remote one, and the best remote one that
    /// the request could have gone to beside a local one.
    ///
    /// A shadow is a copy that nobody asked for, so it is cleared against the label itself, also where an observing
    /// policy lets the request pass above it. That the policy would not have answered this name locally is no
    /// obstacle: the answer is not shown.
    fn shadow_of(
        &self,
        profile: &Profile,
        situation: &Situation<'_>,
        label: Label,
        served: &Target,
        order: &[usize],
    ) -> Option<Arc<Target>> {
        let may_see = |target: &&Arc<Target>| self.may_see(target, label);
        let can = |target: &&Arc<Target>| {
            target.is_ready() && lacking(profile, situation.request, target).is_none()
        };
        let other = |target: &&Arc<Target>| {
            (target.location == Location::Local) != (served.location == Location::Local)
        };
        let mut candidates: Vec<&Arc<Target>> =
            order.iter().map(|&index| &situation.targets[index]).collect();
        if served.location != Location::Local {
            candidates = situation.targets.iter().collect();
        }
        candidates.into_iter().filter(other).filter(may_see).find(can).cloned()
    }
}

/// Indices of the eligible targets in the order in which a route prefers them.
///
/// `cheapest` takes the cheapest whose expected quality meets the policy, then the others by quality; a place
/// or a name takes its own first and the rest after it. Ties keep the operator's order.
fn order(route: &Route, quality_min: f32, targets: &[Arc<Target>], sifted: &[Alternative]) -> Vec<usize> {
    let mut indices: Vec<usize> =
        (0..targets.len()).filter(|&i| sifted[i].standing == Standing::Eligible).collect();
    let price = |i: usize| sifted[i].estimate.money().map_or(i64::MAX, |m| m.nanos());
    let good = |i: usize| sifted[i].expected_quality >= quality_min;
    let asked = |i: usize| match route {
        Route::Place(location) => targets[i].location == *location,
        Route::Name(name) => targets[i].id == *name || targets[i].upstream == *name,
        Route::Cheapest => true,
    };
    indices.sort_by(|&a, &b| {
        (asked(b).cmp(&asked(a))).then(good(b).cmp(&good(a))).then_with(|| {
            if good(a) && good(b) {
                price(a).cmp(&price(b))
            } else {
                sifted[b].expected_quality.total_cmp(&sifted[a].expected_quality)
            }
        })
    });
    indices
}

fn wanted_location(route: &Route) -> Option<Location> {
    match route {
        Route::Place(location) => Some(*location),
        Route::Name(_) | Route::Cheapest => None,
    }
}

/// Did clearance, rather than a failure or a preference, put the request where it is?
fn kept_by_label(sifted: &[Alternative], wanted: Option<Location>, got: Location) -> bool {
    let barred = |a: &Alternative| a.standing == Standing::NotCleared;
    match wanted {
        Some(wanted) if wanted != got => {
            let mut there = sifted.iter().filter(|a| a.location == wanted).peekable();
            there.peek().is_some() && there.all(barred)
        }
        _ => got != Location::Cloud && sifted.iter().any(|a| a.location > got && barred(a)),
    }
}

fn unavailable_reason(sifted: &[Alternative], location: Location) -> Arc<str> {
    sifted
        .iter()
        .filter(|a| a.location == location)
        .find_map(|a| match &a.standing {
            Standing::Unavailable(why) => Some(why.clone()),
            _ => None,
        })
        .unwrap_or_else(|| Arc::from(format!("no {location} target is configured")))
}

/// What a target lacks for a request, if anything.
fn lacking(profile: &Profile, request: &RequestFacts, target: &Target) -> Option<&'static str> {
    let has = &target.capabilities;
    let needed_tokens = profile.input_tokens.saturating_add(if target.location == Location::Local {
        0
    } else {
        request.output_tokens_max.unwrap_or(0)
    });
    [
        (request.tools && !has.tools, "tools"),
        (request.schema && !has.schema, "response_format"),
        (request.images && !has.vision, "vision"),
        (request.choices && !has.choices, "n"),
        (needed_tokens > has.context_tokens, "context length"),
    ]
    .into_iter()
    .find_map(|(lacks, what)| lacks.then_some(what))
}

fn refuse(refusal: Refusal, rule: &str, code: &'static str, text: String) -> (Outcome, Reason) {
    (Outcome::Refuse(refusal), Reason { rule: Arc::from(rule), code, text })
}

fn nothing_left(labelled: &Labelled, sifted: &[Alternative]) -> (Outcome, Reason) {
    let incapable = sifted.iter().find_map(|a| match a.standing {
        Standing::Incapable(what) => Some(what),
        _ => None,
    });
    let unavailable = sifted.iter().find_map(|a| match &a.standing {
        Standing::Unavailable(why) => Some(why.clone()),
        _ => None,
    });
    let barred = sifted.iter().any(|a| a.standing == Standing::NotCleared);
    if barred {
        let rest = match (incapable, &unavailable) {
            (_, Some(why)) => format!("; what is cleared for it cannot be used now: {why}"),
            (Some(what), None) => format!("; no target cleared for it supports {what}"),
            (None, None) => String::from("; no target is cleared for it"),
        };
        let text = format!("{}: {} data must not leave{rest}", labelled.because, labelled.label);
        return match unavailable {
            Some(why) => refuse(Refusal::Unavailable(why), "label", "cleared_target_unavailable", text),
            None => refuse(Refusal::Policy, "label", "not_cleared", text),
        };
    }
    match (unavailable, incapable) {
        (Some(why), _) => {
            let text = format!("no target can be used now: {why}");
            refuse(Refusal::Unavailable(why), "availability", "unavailable", text)
        }
        (None, Some(what)) => {
            let text = format!("no available target supports {what}");
            refuse(Refusal::Incapable(what), "capability", "incapable", text)
        }
        (None, None) => {
            let why: Arc<str> = Arc::from("no target is configured for this model name");
            refuse(Refusal::Unavailable(why.clone()), "availability", "unavailable", why.to_string())
        }
    }
}

/// How a served request came to its place.
struct Fate<'a> {
    rule: &'a Arc<str>,
    /// The request named the target.
    forced: bool,
    /// Where it goes.
    location: Location,
    /// Its label kept it from going further.
    kept: bool,
    /// The place that the rule wanted, if it is another one.
    wanted: Option<Location>,
}

impl Fate<'_> {
    /// A place further out was wanted and could not be had, for another reason than the label.
    fn is_degraded(&self) -> bool {
        !self.kept && self.wanted.is_some_and(|wanted| wanted > self.location)
    }

    fn reason(
        &self,
        profile: &Profile,
        situation: &Situation<'_>,
        labelled: &Labelled,
        sifted: &[Alternative],
    ) -> Reason {
        let (complexity, rule, location) = (profile.complexity, self.rule, self.location);
        let (code, text) = if self.forced {
            ("forced", format!("the request names {}", situation.request.model))
        } else if self.kept {
            let because = &labelled.because;
            ("sensitive", format!("{because}: {} data stays where it is cleared", labelled.label))
        } else if let Some(wanted) = self.wanted {
            let why = shortfall(sifted, wanted);
            let code = if self.is_degraded() { "degraded" } else { "capability" };
            (code, format!("rule `{rule}` wants {wanted}, but {why}: served {location}"))
        } else {
            let code = if location == Location::Local { "routine" } else { "hard" };
            (code, format!("complexity {complexity:.2}, rule `{rule}`"))
        };
        Reason { rule: rule.clone(), code, text }
    }
}

/// Why no target at a place could be chosen, in words.
fn shortfall(sifted: &[Alternative], place: Location) -> String {
    let incapable = sifted.iter().filter(|a| a.location == place).find_map(|a| match a.standing {
        Standing::Incapable(what) => Some(format!("{} does not support {what}", a.target)),
        Standing::NotAsked => Some(format!("the policy answers {} only where it was asked for", a.target)),
        _ => None,
    });
    incapable.unwrap_or_else(|| unavailable_reason(sifted, place).to_string())
}
