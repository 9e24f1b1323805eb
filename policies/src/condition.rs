//! Conditions of rules, in the Common Expression Language.
//!
//! A condition sees three variables, `profile`, `request` and `caller`, with the fields listed in [`FIELDS`].
//! It sees neither findings nor labels; `decision` says why. Conditions are compiled when the policy is
//! loaded, checked for types in every branch (module `types`) and run there against a sample, so that an unknown variable,
//! an unknown field, a text compared with a number or a result that is no boolean is a fault of the policy and
//! not of a request.

mod types;

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Env, Program, Value};

use crate::decision::{CallerFacts, RequestFacts, Situation, Wants};
use crate::profile::{Profile, Sensitivity, Task};

pub use types::{FIELDS, Type};

/// A compiled condition.
pub struct Condition {
    program: Program,
    uses: [bool; 3],
    /// Shared, because building the standard library's functions costs more than running a condition.
    env: Arc<Env>,
}

/// What is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It is not CEL.
    #[error("not a valid CEL expression: {0}")]
    Syntax(String),
    /// It reads a variable that does not exist.
    #[error("unknown variable `{0}`; a condition can read profile, request and caller")]
    UnknownVariable(String),
    /// It reads a field that does not exist.
    #[error("unknown field `{field}`{hint} (readable: {fields})", hint = hint(near.as_deref()), fields = fields())]
    UnknownField {
        /// The field.
        field: String,
        /// The field that is nearest to it.
        near: Option<String>,
    },
    /// Its parts do not fit together.
    #[error("{0}")]
    Type(String),
    /// It fails when it is run.
    #[error("{0} (readable: {fields})", fields = fields())]
    Evaluation(String),
    /// Its result is not a boolean.
    #[error("yields {0}, not true or false")]
    NotBoolean(String),
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn fields() -> String {
    FIELDS.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(", ")
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condition").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Condition {
    /// Compiles a condition, checks its types and tries it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(source: &str) -> Result<Self, Vec<ConditionError>> {
        let env = Arc::new(Env::stdlib());
        let program = env
            .compile(source)
            .map_err(|error| vec![ConditionError::Syntax(error.to_string().trim().replace('\n', " "))])?;
        let faults = types::check(program.expression());
        if !faults.is_empty() {
            return Err(faults);
        }
        let references = program.references();
        let uses = types::GROUPS.map(|group| references.has_variable(group));
        let condition = Self { program, uses, env };
        let request = RequestFacts { output_tokens_max: Some(100), ..RequestFacts::default() };
        let caller = CallerFacts { tier: String::from("standard"), ..CallerFacts::default() };
        let situation = Situation { request: &request, caller: &caller, targets: &[] };
        condition.holds(&sample_profile(), &situation).map_err(|error| vec![error])?;
        Ok(condition)
    }

    /// Does the condition hold?
    ///
    /// # Errors
    /// [`ConditionError::Evaluation`] and [`ConditionError::NotBoolean`].
    pub fn holds(&self, profile: &Profile, situation: &Situation<'_>) -> Result<bool, ConditionError> {
        let mut context = Context::with_env(self.env.clone());
        let [profile_used, request_used, caller_used] = self.uses;
        if profile_used {
            context.add_variable_from_value("profile", profile_value(profile));
        }
        if request_used {
            context.add_variable_from_value("request", request_value(situation.request));
        }
        if caller_used {
            context.add_variable_from_value("caller", caller_value(situation.caller));
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ConditionError::NotBoolean(format!("{:?}", other.type_of()))),
            Err(error) => Err(ConditionError::Evaluation(error.to_string())),
        }
    }
}

fn sample_profile() -> Profile {
    Profile {
        sensitivity: Sensitivity::default(),
        complexity: 0.5,
        confidence: 1.0,
        task: Task::OpenQa,
        language: "en".into(),
        input_tokens: 100,
        output_tokens: 0,
        rung: crate::Rung::Features,
    }
}

fn profile_value(profile: &Profile) -> HashMap<&'static str, Value> {
    HashMap::from([
        ("complexity", Value::Float(f64::from(profile.complexity))),
        ("confidence", Value::Float(f64::from(profile.confidence))),
        ("task", Value::from(profile.task.as_str())),
        ("language", Value::from(&*profile.language)),
        ("input_tokens", Value::Int(i64::from(profile.input_tokens))),
        ("output_tokens", Value::Int(i64::from(profile.output_tokens))),
    ])
}

fn request_value(request: &RequestFacts) -> HashMap<&'static str, Value> {
    HashMap::from([
        ("model", Value::from(request.model.as_str())),
        ("named", Value::Bool(request.wants == Wants::Named)),
        ("stream", Value::Bool(request.stream)),
        ("tools", Value::Bool(request.tools)),
        ("schema", Value::Bool(request.schema)),
        ("images", Value::Bool(request.images)),
        ("output_tokens_max", Value::Int(request.output_tokens_max.map_or(0, i64::from))),
        ("turns", Value::Int(i64::from(request.turns))),
    ])
}

fn caller_value(caller: &CallerFacts) -> HashMap<&'static str, Value> {
    let tags: Vec<Value> = caller.tags.iter().map(|tag| Value::from(tag.as_str())).collect();
    HashMap::from([
        ("team", Value::from(caller.team.as_str())),
        ("key", Value::from(caller.key.as_str())),
        ("tier", Value::from(caller.tier.as_str())),
        ("user", Value::from(caller.user.as_str())),
        ("tags", Value::List(tags.into())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(source: &str) -> String {
        let faults = Condition::compile(source).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn faults_are_found_when_the_policy_is_loaded() {
        let cases = [
            ("profile.complexity <", "not a valid CEL expression"),
            ("sensitivity.label == 'public'", "unknown variable `sensitivity`"),
            (
                "profile.complexty < 0.5",
                "unknown field `profile.complexty`; did you mean `profile.complexity`?",
            ),
            ("profile.complexity + 1.0", "yields a number, not true or false"),
            ("profile.complexity", "yields a number"),
            ("profile", "yields a group of fields"),
            ("profile.complexity < 'high'", "a number cannot be compared with a text"),
            ("profile.task > 0.5", "a task cannot be compared with a number"),
            ("request.tools == 'yes'", "a boolean cannot be compared with a text"),
            ("profile.complexity + 1 < 2.0", "cannot be reckoned together"),
            ("caller.tags == 'batch'", "a list of texts cannot be compared with a text"),
            ("'batch' in caller.team", "`in` looks into a list, not into a text"),
            ("1 in caller.tags", "a whole number cannot be compared with a text"),
            ("profile.task == 'codee'", "no task is called `codee`; did you mean `code`?"),
            ("profile.task in ['math', 'codee']", "no task is called `codee`"),
            ("profile.input_tokens.startsWith('1')", "`startsWith` is for texts, not for a whole number"),
            ("caller.tags.exists(t, t > 3)", "a text cannot be compared with a whole number"),
            ("caller.team.exists(t, t == 'x')", "only a list has elements"),
            ("!profile.complexity", "is for booleans, not for a number"),
            ("caller.team.matches('[')", "regex"),
        ];
        for (source, expected) in cases {
            assert!(fault(source).contains(expected), "{source}: {}", fault(source));
        }
    }

    #[test]
    fn a_fault_is_found_in_a_branch_that_the_sample_does_not_take() {
        let fit = "profile.complexity < 0.9";
        for unfit in ["profile.task > 0.5", "profile.complexty < 0.5", "caller.team == 3"] {
            for source in [
                format!("{fit} || {unfit}"),
                format!("!({fit}) && {unfit}"),
                format!("{fit} ? request.tools : {unfit}"),
                format!("{fit} || (request.tools && (request.stream || {unfit}))"),
                format!("caller.tags.exists(t, {unfit})"),
            ] {
                assert!(Condition::compile(&source).is_err(), "{source}");
            }
        }
        assert_eq!(Condition::compile("profile.a < 1.0 || profile.b < 1.0").unwrap_err().len(), 2);
    }

    #[test]
    fn every_listed_field_can_be_read() {
        for (field, _) in FIELDS {
            Condition::compile(&format!("{field} == {field}")).unwrap();
        }
    }

    #[test]
    fn what_people_write_compiles() {
        for source in [
            r#"profile.complexity < 0.35 && !request.tools && caller.tier != "premium""#,
            "profile.complexity < 1 || profile.input_tokens >= 100.0",
            "'batch' in caller.tags || caller.tags.exists(t, t.startsWith('batch-'))",
            "caller.team in ['ml', 'search'] && profile.task in ['math', 'code']",
            "size(caller.tags) > 2 || caller.team.matches('^eu-')",
            "(profile.language == 'de' ? 0.3 : 0.5) > profile.complexity",
            "double(profile.input_tokens) * 0.5 < 100.0",
            "has(caller.tags) && caller.tags.all(t, t != 'x')",
        ] {
            Condition::compile(source).unwrap();
        }
    }
}
