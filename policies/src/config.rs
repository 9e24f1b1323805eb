//! Policies as people write them: TOML in, a checked [`PolicySet`] out, every fault with file, line and key.

mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use crate::condition::Condition;
use crate::fault::{self, Document, Fault, Faults};
use crate::label::{Clearance, Label};
use crate::masked::{MaskSettings, MaskStyle};
use crate::mode::{self, Mode};
use crate::profile::{EntityKind, Topic};
use crate::rules::{Action, Combination, Ingredient, PolicySet, Route, Rule, TopicRule, WhenCloudFails};
use crate::target::Location;

use terms::RawTerm;
pub use terms::ReadFile;

/// Findings below this score do not count towards a label unless the policy says otherwise. Recognisers give
/// 0.5 to a pattern without a check digit and without context.
pub const DEFAULT_SCORE_MIN: f32 = 0.5;
/// Expected quality that `cheapest` asks for unless the policy says otherwise.
pub const DEFAULT_QUALITY_MIN: f32 = 0.65;
/// Topic score from which a topic counts unless the policy says otherwise.
pub const DEFAULT_TOPIC_AT: f32 = 0.6;

const PRESETS: &[(&str, &str)] = &[
    ("balanced", include_str!("../presets/balanced.toml")),
    ("cost-saver", include_str!("../presets/cost-saver.toml")),
    ("strict-privacy", include_str!("../presets/strict-privacy.toml")),
    ("hipaa", include_str!("../presets/hipaa.toml")),
    ("pci", include_str!("../presets/pci.toml")),
    ("gdpr", include_str!("../presets/gdpr.toml")),
    ("observe", include_str!("../presets/observe.toml")),
];

/// A policy file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
struct RawPolicy {
    /// Name, shown in explanations and the ledger.
    name: String,
    /// One sentence for people.
    #[serde(default)]
    #[expect(dead_code, reason = "for the reader of the file")]
    description: String,
    /// Only watch: forward everything as the client asked, and record what would have been done.
    #[serde(default)]
    observe: bool,
    /// Label of a request that could not be classified with certainty.
    #[serde(default = "restricted")]
    on_doubt: Label,
    /// Label of a request in which nothing was found.
    #[serde(default)]
    default_label: Label,
    /// Findings below this score do not count.
    #[serde(default = "default_score_min")]
    score_min: f32,
    /// Expected quality that the route `cheapest` asks for.
    #[serde(default = "default_quality_min")]
    quality_min: f32,
    /// May a model that the client names be answered locally?
    #[serde(default)]
    named_models_locally: bool,
    /// `serve-local` or `refuse`: a request that wants the cloud when none can be reached.
    #[serde(default = "serve_local")]
    cloud_unavailable: String,
    /// Try the next cleared target when one fails.
    #[serde(default = "yes")]
    fall_back: bool,
    /// `best-effort`, or `required`: nothing leaves the machine before its audit record is on disk.
    #[serde(default = "best_effort")]
    audit: String,
    /// Entity kind to label.
    #[serde(default)]
    labels: BTreeMap<String, Label>,
    /// Topic to label and threshold.
    #[serde(default)]
    topics: BTreeMap<String, RawTopic>,
    /// Team to the lowest label of its requests.
    #[serde(default)]
    teams: BTreeMap<String, Label>,
    /// Label to action.
    #[serde(default)]
    actions: BTreeMap<String, String>,
    /// How values are replaced where the action is `mask`.
    #[serde(default)]
    mask: RawMask,
    /// Kind of place to the highest label that it may see, whatever its own clearance says.
    #[serde(default)]
    clearance: BTreeMap<String, Label>,
    /// Findings that together mean more.
    #[serde(default)]
    combination: Vec<RawCombination>,
    /// Terms to find besides what is built in.
    #[serde(default)]
    term: Vec<RawTerm>,
    /// Ordered rules; the first whose condition holds decides.
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawMask {
    /// `placeholder` or `surrogate`.
    style: Option<String>,
    /// Kinds that are replaced.
    kinds: Option<Vec<String>>,
    /// Put values back into the answer.
    restore: Option<bool>,
    /// Put secrets back too.
    restore_secrets: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopic {
    label: Option<Label>,
    #[serde(default = "default_topic_at")]
    at: f32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCombination {
    /// Members that must all be found: `KIND`, `KIND>=5`, `topic:name` or `topic:name>=0.4`, alternatives separated by `|`.
    #[serde(default)]
    all: Vec<String>,
    label: Option<Label>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Option<String>,
    when: Option<String>,
    route: Option<String>,
    /// `route`, `cascade`, `prefix` or `shadow`; `cascade` where only `escalate_below` is set.
    mode: Option<String>,
    /// `cascade`, `prefix`: confidence below which another target answers.
    escalate_below: Option<f32>,
    /// `prefix`: tokens that are held back.
    hold_tokens: Option<u32>,
    /// `shadow`: share of requests.
    shadow_rate: Option<f32>,
    /// `cascade`: further answers that are sampled.
    self_consistency: Option<u32>,
}

const fn restricted() -> Label {
    Label::Restricted
}
const fn default_score_min() -> f32 {
    DEFAULT_SCORE_MIN
}
const fn default_quality_min() -> f32 {
    DEFAULT_QUALITY_MIN
}
const fn default_topic_at() -> f32 {
    DEFAULT_TOPIC_AT
}
const fn yes() -> bool {
    true
}
fn best_effort() -> String {
    String::from("best-effort")
}
fn serve_local() -> String {
    String::from("serve-local")
}

impl PolicySet {
    /// Names of the presets that ship with this version.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// Text of a preset.
    #[must_use]
    pub fn preset_text(name: &str) -> Option<&'static str> {
        PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
    }

    /// A preset, compiled.
    ///
    /// # Errors
    /// A fault that names the nearest preset when there is none of that name.
    pub fn preset(name: &str) -> Result<Self, Faults> {
        let Some(text) = Self::preset_text(name) else {
            let near = fault::nearest(name, Self::presets())
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            let known: Vec<_> = Self::presets().collect();
            let message = format!("no preset is called `{name}`{near} (presets: {})", known.join(", "));
            return Err(Faults(vec![Fault {
                file: String::from("policies/presets"),
                line: 0,
                key: String::from("policy.preset"),
                message,
            }]));
        };
        Self::parse(&format!("preset {name}"), text)
    }

    /// Reads and compiles a policy that names no other files.
    ///
    /// # Errors
    /// Every fault, with file, line and key; a term in a file is one.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        Self::parse_with(file, text, &|_| Err(String::from("only a policy that is a file may name others")))
    }

    /// Reads and compiles a policy; `read` gives the text of the files that it names.
    ///
    /// # Errors
    /// Every fault, with file, line and key.
    pub fn parse_with(file: &str, text: &str, read: ReadFile<'_>) -> Result<Self, Faults> {
        let document = Document { file, text };
        let (raw, faults) = fault::read_all::<RawPolicy>(document);
        let Some(raw) = raw else { return Err(Faults(faults)) };
        let mut check = Check { document, faults };
        let policy = check.policy(raw, text, read);
        if check.faults.is_empty() {
            return Ok(policy);
        }
        check.faults.sort_by_key(|fault| fault.line);
        Err(Faults(check.faults))
    }
}

/// Turns raw sections into checked ones, collecting faults on the way.
struct Check<'a> {
    document: Document<'a>,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(self.document.fault(key, message));
    }

    /// A key that must be there. One that was there and could not be read has its fault already.
    fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.faults.iter().any(|fault| fault.key == key) {
            self.fault(key, "is missing");
        }
        value
    }

    fn policy(&mut self, raw: RawPolicy, text: &str, read: ReadFile<'_>) -> PolicySet {
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.as_bytes());
        let terms = self.terms(raw.term, read, &mut hasher);
        let hash = hasher.finalize().to_hex();
        let cloud_unavailable = match raw.cloud_unavailable.as_str() {
            "serve-local" => WhenCloudFails::ServeLocal,
            "refuse" => WhenCloudFails::Refuse,
            other => {
                let message = format!("`{other}` is neither `serve-local` nor `refuse`");
                self.fault("cloud_unavailable", message);
                WhenCloudFails::Refuse
            }
        };
        let requires_audit = match raw.audit.as_str() {
            "best-effort" => false,
            "required" => true,
            other => {
                self.fault("audit", format!("`{other}` is neither `best-effort` nor `required`"));
                true
            }
        };
        PolicySet {
            requires_audit,
            revision: Arc::from(format!("{}-{}", raw.name, &hash[..8])),
            on_doubt: raw.on_doubt,
            default_label: raw.default_label,
            observes: raw.observe,
            score_min: self.unit("score_min", raw.score_min),
            kinds: self.keys("labels", raw.labels, EntityKind::ALL.iter().map(|k| k.as_str())),
            topics: self.topics(raw.topics),
            combinations: self.combinations(raw.combination),
            terms,
            teams: raw.teams,
            actions: self.actions(raw.actions),
            mask: self.mask(raw.mask),
            clearance: self
                .keys::<PlaceKey, Label>("clearance", raw.clearance, PLACES.iter().copied())
                .into_iter()
                .map(|(place, label)| (place.0, Clearance(label)))
                .collect(),
            names_may_be_local: raw.named_models_locally,
            quality_min: self.unit("quality_min", raw.quality_min),
            cloud_unavailable,
            fall_back: raw.fall_back,
            rules: self.rules(raw.rule, raw.fall_back),
            name: Arc::from(raw.name),
        }
    }

    fn unit(&mut self, key: &str, value: f32) -> f32 {
        if !(0.0..=1.0).contains(&value) {
            self.fault(key, format!("{value} is not between 0 and 1"));
        }
        value
    }

    fn keys<'c, K: FromStr + Ord, V>(
        &mut self,
        section: &str,
        raw: BTreeMap<String, V>,
        valid: impl Iterator<Item = &'c str> + Clone,
    ) -> BTreeMap<K, V> {
        let mut checked = BTreeMap::new();
        for (word, value) in raw {
            match word.parse::<K>() {
                Ok(key) => {
                    checked.insert(key, value);
                }
                Err(_) => {
                    let near = fault::nearest(&word, valid.clone())
                        .map(|near| format!("; did you mean `{near}`?"))
                        .unwrap_or_default();
                    self.fault(&format!("{section}.{word}"), format!("unknown name `{word}`{near}"));
                }
            }
        }
        checked
    }

    fn topics(&mut self, raw: BTreeMap<String, RawTopic>) -> BTreeMap<Topic, TopicRule> {
        self.keys::<Topic, RawTopic>("topics", raw, Topic::ALL.iter().map(|t| t.as_str()))
            .into_iter()
            .map(|(topic, rule)| {
                let at = self.unit(&format!("topics.{topic}.at"), rule.at);
                let label = self.required(&format!("topics.{topic}.label"), rule.label);
                (topic, TopicRule { label: label.unwrap_or(Label::Restricted), at })
            })
            .collect()
    }

    fn combinations(&mut self, raw: Vec<RawCombination>) -> Vec<Combination> {
        let mut checked = Vec::with_capacity(raw.len());
        for (index, combination) in raw.into_iter().enumerate() {
            let key = |field: &str| format!("combination.{index}.{field}");
            let mut all = Vec::with_capacity(combination.all.len());
            for (place, member) in combination.all.iter().enumerate() {
                all.push(self.member(&key(&format!("all.{place}")), member));
            }
            let counts = |member: &Vec<Ingredient>| {
                member.iter().all(|one| matches!(one, Ingredient::Kind { at_least: 2.., .. }))
            };
            if all.len() < 2 && !all.iter().all(|member| !member.is_empty() && counts(member))
                || all.is_empty()
            {
                let message = "a combination has at least two members, or one with a count (`EMAIL>=20`)";
                self.fault(&key("all"), message);
            }
            let label = self.required(&key("label"), combination.label).unwrap_or(Label::Restricted);
            checked.push(Combination { all, label });
        }
        checked
    }

    /// The alternatives of one member.
    fn member(&mut self, key: &str, member: &str) -> Vec<Ingredient> {
        let mut alternatives = Vec::new();
        for word in member.split('|').map(str::trim) {
            match ingredient(word) {
                Ok(found) => alternatives.push(found),
                Err(message) => self.fault(key, message),
            }
        }
        alternatives
    }

    fn actions(&mut self, raw: BTreeMap<String, String>) -> BTreeMap<Label, Action> {
        let labels = Label::ALL.iter().map(|l| l.as_str());
        let mut checked = BTreeMap::new();
        for (label, word) in self.keys::<Label, String>("actions", raw, labels) {
            match word.as_str() {
                "keep-local" => {
                    checked.insert(label, Action::KeepLocal);
                }
                "refuse" => {
                    checked.insert(label, Action::Refuse);
                }
                "mask" => {
                    checked.insert(label, Action::Mask);
                }
                other => {
                    let message = format!("`{other}` is not an action (keep-local, mask, refuse)");
                    self.fault(&format!("actions.{label}"), message);
                }
            }
        }
        checked
    }

    fn mask(&mut self, raw: RawMask) -> MaskSettings {
        let defaults = MaskSettings::default();
        let style = match raw.style.as_deref() {
            None => defaults.style,
            Some("placeholder") => MaskStyle::Placeholder,
            Some("surrogate") => MaskStyle::Surrogate,
            Some(other) => {
                let message = format!("`{other}` is not a style ({})", MaskStyle::WORDS.join(", "));
                self.fault("mask.style", message);
                defaults.style
            }
        };
        let kinds = raw.kinds.map(|words| {
            let mut kinds = BTreeSet::new();
            for (index, word) in words.iter().enumerate() {
                match word.parse::<EntityKind>() {
                    Ok(kind) => {
                        kinds.insert(kind);
                    }
                    Err(_) => {
                        let near = fault::nearest(word, EntityKind::ALL.iter().map(|kind| kind.as_str()))
                            .map(|near| format!("; did you mean `{near}`?"))
                            .unwrap_or_default();
                        self.fault(&format!("mask.kinds.{index}"), format!("unknown name `{word}`{near}"));
                    }
                }
            }
            kinds
        });
        MaskSettings {
            style,
            kinds,
            restore: raw.restore.unwrap_or(defaults.restore),
            restore_secrets: raw.restore_secrets.unwrap_or(defaults.restore_secrets),
        }
    }

    fn rules(&mut self, raw: Vec<RawRule>, fall_back: bool) -> Vec<Rule> {
        let mut checked: Vec<Rule> = Vec::with_capacity(raw.len());
        for (index, rule) in raw.into_iter().enumerate() {
            let key = |field: &str| format!("rule.{index}.{field}");
            let name = self.required(&key("name"), rule.name.clone()).unwrap_or_default();
            if checked.iter().any(|other| *other.name == *name) {
                self.fault(&key("name"), format!("a rule before this one is called `{name}` too"));
            }
            let when = rule.when.as_deref().and_then(|source| self.condition(&key("when"), source));
            let route = match self.required(&key("route"), rule.route.clone()).as_deref() {
                None | Some("cheapest") => Route::Cheapest,
                Some(word) => word
                    .parse::<PlaceKey>()
                    .map_or_else(|()| Route::Name(Arc::from(word)), |place| Route::Place(place.0)),
            };
            let mode = self.mode(index, &rule);
            if mode.escalate_below().is_some() {
                self.escalates(index, &route, fall_back);
            }
            checked.push(Rule { name: Arc::from(name), when, route, mode });
        }
        checked
    }

    fn condition(&mut self, key: &str, source: &str) -> Option<Condition> {
        match Condition::compile(source) {
            Ok(condition) => Some(condition),
            Err(errors) => {
                for error in errors {
                    self.fault(key, error.to_string());
                }
                None
            }
        }
    }

    /// The mode of a rule with its numbers; a number that the mode has no use for is a fault, since it would be
    /// ignored without a word.
    fn mode(&mut self, index: usize, rule: &RawRule) -> Mode {
        let key = |field: &str| format!("rule.{index}.{field}");
        let implied = if rule.escalate_below.is_some() { "cascade" } else { "route" };
        let word = rule.mode.as_deref().unwrap_or(implied);
        if !Mode::WORDS.contains(&word) {
            let near = fault::nearest(word, Mode::WORDS.iter().copied())
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            let message = format!("`{word}` is not a mode ({}){near}", Mode::WORDS.join(", "));
            self.fault(&key("mode"), message);
            return Mode::Route;
        }
        let uses: [(&str, bool, &[&str]); 4] = [
            ("escalate_below", rule.escalate_below.is_some(), &["cascade", "prefix"]),
            ("hold_tokens", rule.hold_tokens.is_some(), &["prefix"]),
            ("shadow_rate", rule.shadow_rate.is_some(), &["shadow"]),
            ("self_consistency", rule.self_consistency.is_some(), &["cascade"]),
        ];
        for (field, _, modes) in uses.iter().filter(|(_, set, modes)| *set && !modes.contains(&word)) {
            let message = format!("has no meaning with mode = \"{word}\" (only with {})", modes.join(", "));
            self.fault(&key(field), message);
        }
        let escalate_below = rule.escalate_below.unwrap_or(mode::DEFAULT_ESCALATE_BELOW);
        match word {
            "cascade" => Mode::Cascade {
                escalate_below: self.unit(&key("escalate_below"), escalate_below),
                self_consistency: self.count(
                    &key("self_consistency"),
                    rule.self_consistency.unwrap_or(0),
                    0..=mode::SELF_CONSISTENCY_MAX,
                ),
            },
            "prefix" => Mode::Prefix {
                escalate_below: self.unit(&key("escalate_below"), escalate_below),
                hold_tokens: self.count(
                    &key("hold_tokens"),
                    rule.hold_tokens.unwrap_or(mode::DEFAULT_HOLD_TOKENS),
                    1..=mode::HOLD_TOKENS_MAX,
                ),
            },
            "shadow" => {
                let rate =
                    self.unit(&key("shadow_rate"), rule.shadow_rate.unwrap_or(mode::DEFAULT_SHADOW_RATE));
                if rate == 0.0 {
                    self.fault(&key("shadow_rate"), "0 shadows nothing: use mode = \"route\"");
                }
                Mode::Shadow { rate }
            }
            _ => Mode::Route,
        }
    }

    fn count(&mut self, key: &str, value: u32, range: RangeInclusive<u32>) -> u32 {
        if !range.contains(&value) {
            self.fault(key, format!("{value} is not between {} and {}", range.start(), range.end()));
        }
        value
    }

    /// A rule that tries the local model first needs a local target to begin with and another one to go on to.
    fn escalates(&mut self, index: usize, route: &Route, fall_back: bool) {
        let key = format!("rule.{index}.mode");
        if let Route::Place(place @ (Location::OnPrem | Location::Cloud)) = route {
            let message = format!(
                "begins with the local model, and this rule's route is `{place}`: use \
                `local` or `cheapest`"
            );
            self.fault(&key, message);
        }
        if !fall_back {
            let message = "escalates to the next target, and `fall_back = false` leaves none";
            self.fault(&key, message);
        }
    }
}

impl PolicySet {
    /// The rules in order: name and mode.
    pub fn modes(&self) -> impl Iterator<Item = (&str, Mode)> {
        self.rules.iter().map(|rule| (&*rule.name, rule.mode))
    }

    /// Names of upstreams and targets that rules route to, with the rule's name; the gateway checks that they
    /// exist.
    pub fn routed_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.iter().filter_map(|rule| match &rule.route {
            Route::Name(name) => Some((&*rule.name, &**name)),
            _ => None,
        })
    }
}

/// Findings of one kind that a combination may ask for; a body cannot have more.
const COUNT_MAX: u32 = 1_000_000;

fn ingredient(word: &str) -> Result<Ingredient, String> {
    let hint = |word: &str, known: &[&'static str]| {
        fault::nearest(word, known.iter().copied())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default()
    };
    if let Some(topic) = word.strip_prefix("topic:") {
        let (topic, at) = match topic.split_once(">=") {
            None => (topic, None),
            Some((topic, at)) => {
                let at = at.trim().parse().ok().filter(|at| *at > 0.0 && *at <= 1.0);
                let message = || format!("the score of `{word}` is not a number above 0, up to 1");
                (topic.trim(), Some(at.ok_or_else(message)?))
            }
        };
        return topic.parse().map(|topic| Ingredient::Topic { topic, at }).map_err(|_| {
            let known: Vec<_> = Topic::ALL.iter().map(|topic| topic.as_str()).collect();
            format!("no topic is called `{topic}`{}", hint(topic, &known))
        });
    }
    let (kind, at_least) = match word.split_once(">=") {
        None => (word, 1),
        Some((kind, count)) => {
            let count = count.trim().parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
            let message = || format!("the count of `{word}` is not a whole number from 1 to {COUNT_MAX}");
            (kind.trim(), count.ok_or_else(message)?)
        }
    };
    kind.parse().map(|kind| Ingredient::Kind { kind, at_least }).map_err(|_| {
        let known: Vec<_> = EntityKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("`{kind}` is neither an entity kind nor `topic:<name>`{}", hint(kind, &known))
    })
}

const PLACES: &[&str] = &["local", "on-prem", "cloud"];

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PlaceKey(Location);

impl FromStr for PlaceKey {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Location::Local, Location::OnPrem, Location::Cloud]
            .into_iter()
            .find(|place| place.as_str() == word)
            .map(Self)
            .ok_or(())
    }
}
