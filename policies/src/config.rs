//! Policies as people write them: TOML in, a checked [`PolicySet`] out, every fault with file, line and key.

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
    label: Label,
    #[serde(default = "default_topic_at")]
    at: f32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCombination {
    all: Vec<String>,
    label: Label,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    when: Option<String>,
    route: String,
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

    /// Reads and compiles a policy.
    ///
    /// # Errors
    /// Every fault, with file, line and key.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        let document = Document { file, text };
        let raw: RawPolicy = fault::read(document)?;
        let mut check = Check { document, faults: Vec::new() };
        let policy = check.policy(raw, text);
        if check.faults.is_empty() { Ok(policy) } else { Err(Faults(check.faults)) }
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

    fn policy(&mut self, raw: RawPolicy, text: &str) -> PolicySet {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let cloud_unavailable = match raw.cloud_unavailable.as_str() {
            "serve-local" => WhenCloudFails::ServeLocal,
            "refuse" => WhenCloudFails::Refuse,
            other => {
                let message = format!("`{other}` is neither `serve-local` nor `refuse`");
                self.fault("cloud_unavailable", message);
                WhenCloudFails::Refuse
            }
        };
        PolicySet {
            revision: Arc::from(format!("{}-{}", raw.name, &hash[..8])),
            on_doubt: raw.on_doubt,
            default_label: raw.default_label,
            observes: raw.observe,
            score_min: self.unit("score_min", raw.score_min),
            kinds: self.keys("labels", raw.labels, EntityKind::ALL.iter().map(|k| k.as_str())),
            topics: self.topics(raw.topics),
            combinations: self.combinations(raw.combination),
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
                (topic, TopicRule { label: rule.label, at })
            })
            .collect()
    }

    fn combinations(&mut self, raw: Vec<RawCombination>) -> Vec<Combination> {
        let mut checked = Vec::with_capacity(raw.len());
        for (index, combination) in raw.into_iter().enumerate() {
            let mut all = Vec::with_capacity(combination.all.len());
            for (place, member) in combination.all.iter().enumerate() {
                let mut alternatives = Vec::new();
                for word in member.split('|').map(str::trim) {
                    match ingredient(word) {
                        Some(found) => alternatives.push(found),
                        None => self.fault(
                            &format!("combination.{index}.all.{place}"),
                            format!("`{word}` is neither an entity kind nor `topic:<name>`"),
                        ),
                    }
                }
                all.push(alternatives);
            }
            if all.len() < 2 {
                self.fault(&format!("combination.{index}.all"), "a combination has at least two members");
            }
            checked.push(Combination { all, label: combination.label });
        }
        checked
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
            if checked.iter().any(|other| *other.name == *rule.name) {
                self.fault(&key("name"), format!("a rule before this one is called `{}` too", rule.name));
            }
            let when = rule.when.as_deref().and_then(|source| match Condition::compile(source) {
                Ok(condition) => Some(condition),
                Err(error) => {
                    self.fault(&key("when"), error.to_string());
                    None
                }
            });
            let route = match rule.route.as_str() {
                "cheapest" => Route::Cheapest,
                word => word
                    .parse::<PlaceKey>()
                    .map_or_else(|()| Route::Name(Arc::from(word)), |place| Route::Place(place.0)),
            };
            let mode = self.mode(index, &rule);
            if mode.escalate_below().is_some() {
                self.escalates(index, &route, fall_back);
            }
            checked.push(Rule { name: Arc::from(rule.name), when, route, mode });
        }
        checked
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

fn ingredient(word: &str) -> Option<Ingredient> {
    match word.strip_prefix("topic:") {
        Some(topic) => topic.parse().ok().map(Ingredient::Topic),
        None => word.parse().ok().map(Ingredient::Kind),
    }
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
