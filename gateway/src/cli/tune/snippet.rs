//! Thresholds as a rule of a policy, ready to be pasted.
//!
//! With a policy the rule that they are for is repeated with its other keys and conditions; only the thresholds
//! change. The rest of the policy, its comments above all, stays for a person to keep.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use router_model::measure::Candidate;
use toml::{Table, Value};

use super::super::CliError;

/// Where a condition compares the complexity with a number, in the form that policies are written in.
static COMPARISON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"profile\.complexity\s*<=?\s*([0-9]+(?:\.[0-9]+)?)").expect("a constant pattern compiles")
});

/// One rule of a policy file.
#[derive(Debug, Clone)]
pub(super) struct PolicyRule {
    rule: Table,
}

impl PolicyRule {
    /// Reads the named rule, or the first that routes to `local`.
    pub(super) fn read(path: &Path, name: Option<&str>) -> Result<Self, CliError> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| CliError::Fault(format!("{file}: {error}")))?;
        crate::config::parse_policy(&file, &text).map_err(|faults| CliError::fault(&faults))?;
        let policy: Table = text.parse().map_err(|error| CliError::fault(&error))?;
        let rules =
            policy.get("rule").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
        let is_wanted = |rule: &&Table| match name {
            Some(name) => rule.get("name").and_then(Value::as_str) == Some(name),
            None => rule.get("route").and_then(Value::as_str) == Some("local"),
        };
        let rule = rules.clone().find(is_wanted).cloned().ok_or_else(|| {
            let known: Vec<_> = rules.filter_map(|rule| rule.get("name").and_then(Value::as_str)).collect();
            let known = known.join(", ");
            CliError::Fault(match name {
                Some(name) => format!("{file}: no rule is called `{name}` (rules: {known})"),
                None => format!("{file}: no rule routes to `local`; name one with --rule (rules: {known})"),
            })
        })?;
        Ok(Self { rule })
    }

    /// The thresholds that stand in it; `None` if there is neither.
    pub(super) fn thresholds(&self) -> Option<Candidate> {
        let found = COMPARISON.captures(self.condition()).and_then(|found| found[1].parse().ok());
        let confidence_from = self.rule.get("escalate_below").and_then(number);
        (found.is_some() || confidence_from.is_some())
            .then_some(Candidate { complexity_below: found, confidence_from })
    }

    /// What rows have to meet besides, said as a warning.
    pub(super) fn other_conditions(&self) -> Option<String> {
        let others = COMPARISON.replace(self.condition(), "...");
        (!matches!(&*others, "" | "...")).then(|| {
            format!(
                "the rule also asks `{others}`, which rows do not tell: give rows of requests that meet it"
            )
        })
    }

    fn condition(&self) -> &str {
        self.rule.get("when").and_then(Value::as_str).unwrap_or_default()
    }

    /// The same rule with other thresholds. Keys that it has and thresholds do not concern keep their values.
    fn with(&self, candidate: Candidate) -> Table {
        let mut rule = self.rule.clone();
        if let Some(threshold) = candidate.complexity_below {
            let comparison = format!("profile.complexity < {threshold:.2}");
            let condition = self.condition();
            let condition = if COMPARISON.is_match(condition) {
                COMPARISON.replace(condition, comparison).into_owned()
            } else if condition.is_empty() {
                comparison
            } else {
                format!("({condition}) && {comparison}")
            };
            rule.insert(String::from("when"), Value::String(condition));
        }
        if let Some(threshold) = candidate.confidence_from {
            rule.insert(String::from("escalate_below"), Value::Float(threshold));
            // Only a cascade or a prefix looks at the confidence; a rule that says neither is a cascade.
            if rule.get("mode").and_then(Value::as_str) == Some("route") {
                rule.insert(String::from("mode"), Value::String(String::from("cascade")));
            }
        }
        rule
    }
}

fn number(value: &Value) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a threshold between 0 and 1")]
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
}

/// The rule as TOML.
pub(super) fn write(candidate: Candidate, rule: Option<&PolicyRule>) -> String {
    let template = || {
        let pair = |key: &str, value: &str| (key.to_owned(), Value::String(value.to_owned()));
        PolicyRule { rule: Table::from_iter([pair("name", "routine"), pair("route", "local")]) }
    };
    let rule = rule.cloned().unwrap_or_else(template).with(candidate);
    let first = ["name", "when", "route", "mode", "escalate_below"];
    let known = first.iter().filter_map(|&key| Some((key, rule.get(key)?)));
    let others = rule.iter().filter(|(key, _)| !first.contains(&key.as_str()));
    let mut text = String::from("[[rule]]\n");
    for (key, value) in known.chain(others.map(|(key, value)| (key.as_str(), value))) {
        let _ = writeln!(text, "{key} = {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use policies::PolicySet;

    use super::*;

    fn policy(rules: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("name = \"p\"\n{rules}")).unwrap();
        file
    }

    fn candidate(complexity_below: Option<f64>, confidence_from: Option<f64>) -> Candidate {
        Candidate { complexity_below, confidence_from }
    }

    #[test]
    fn a_rule_keeps_everything_but_its_thresholds() {
        let preset = PolicySet::preset_text("balanced").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), preset).unwrap();
        let rule = PolicyRule::read(file.path(), None).unwrap();
        assert!(rule.other_conditions().unwrap().contains("`... && profile.input_tokens < 3000`"));
        assert!(rule.thresholds().is_some(), "the preset compares the complexity with a number");
        let text = write(candidate(Some(0.3), None), Some(&rule));
        assert!(text.starts_with("[[rule]]\nname = \"routine\"\nwhen = "), "{text}");
        assert!(text.contains("profile.complexity < 0.30 && profile.input_tokens < 3000"), "{text}");
        let whole = format!("name = \"p\"\n{text}");
        assert!(PolicySet::parse("p", &whole).is_ok(), "{whole}");
        let again = PolicyRule::read(policy(&text).path(), Some("routine")).unwrap();
        let bare = write(candidate(Some(0.5), None), None);
        let bare = PolicyRule::read(policy(&bare).path(), None).unwrap();
        assert_eq!(bare.other_conditions(), None);
        assert_eq!(again.thresholds().unwrap().complexity_below, Some(0.3));
    }

    #[test]
    fn conditions_without_a_threshold_get_one() {
        let rules = "[[rule]]\nname = \"a\"\nwhen = \"request.tools || profile.input_tokens > 9\"\nroute = \"local\"\n";
        let rule = PolicyRule::read(policy(rules).path(), None).unwrap();
        assert_eq!(rule.thresholds(), None);
        let text = write(candidate(Some(0.2), Some(0.65)), Some(&rule));
        assert!(
            text.contains("(request.tools || profile.input_tokens > 9) && profile.complexity < 0.20"),
            "{text}"
        );
        assert!(text.contains("escalate_below = 0.65"), "{text}");
        assert!(PolicySet::parse("p", &format!("name = \"p\"\n{text}")).is_ok(), "{text}");
        let bare = write(candidate(None, Some(1.0)), None);
        assert!(PolicySet::parse("p", &format!("name = \"p\"\n{bare}")).is_ok(), "{bare}");
    }

    #[test]
    fn a_missing_rule_is_named_with_those_there_are() {
        let file = policy("[[rule]]\nname = \"hard\"\nroute = \"cloud\"\n");
        let said = PolicyRule::read(file.path(), Some("easy")).unwrap_err().to_string();
        assert!(said.contains("no rule is called `easy` (rules: hard)"), "{said}");
        let said = PolicyRule::read(file.path(), None).unwrap_err().to_string();
        assert!(said.contains("--rule"), "{said}");
    }
}
