//! Conditions of rules, in the Common Expression Language.
//!
//! A condition sees three variables, `profile`, `request` and `caller`, with the fields listed in [`FIELDS`].
//! It sees neither findings nor labels; `decision` says why. Conditions are compiled when the policy is
//! loaded and run once there against a sample, so that an unknown variable, an unknown field or a result that
//! is no boolean is a fault of the policy and not of a request.

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Env, Program, Value};

use crate::decision::{CallerFacts, RequestFacts, Situation, Wants};
use crate::profile::{Profile, Sensitivity, Task};

/// Every field that a condition can read.
pub const FIELDS: &[&str] = &[
    "profile.complexity",
    "profile.confidence",
    "profile.task",
    "profile.language",
    "profile.input_tokens",
    "request.model",
    "request.named",
    "request.stream",
    "request.tools",
    "request.schema",
    "request.images",
    "request.output_tokens_max",
    "request.turns",
    "caller.team",
    "caller.key",
    "caller.tier",
    "caller.user",
    "caller.tags",
];

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
    /// It fails, or reads a field that does not exist.
    #[error("{0} (readable: {fields})", fields = FIELDS.join(", "))]
    Evaluation(String),
    /// Its result is not a boolean.
    #[error("yields {0}, not true or false")]
    NotBoolean(String),
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condition").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Condition {
    /// Compiles and tries a condition.
    ///
    /// # Errors
    /// [`ConditionError`], naming what is wrong.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        let env = Arc::new(Env::stdlib());
        let program = env
            .compile(source)
            .map_err(|error| ConditionError::Syntax(error.to_string().trim().replace('\n', " ")))?;
        let mut uses = [false; 3];
        for name in program.references().variables() {
            match ["profile", "request", "caller"].iter().position(|known| *known == name) {
                Some(index) => uses[index] = true,
                None => return Err(ConditionError::UnknownVariable(name.to_owned())),
            }
        }
        let condition = Self { program, uses, env };
        let request = RequestFacts { output_tokens_max: Some(100), ..RequestFacts::default() };
        let caller = CallerFacts { tier: String::from("standard"), ..CallerFacts::default() };
        condition
            .holds(&sample_profile(), &Situation { request: &request, caller: &caller, targets: &[] })?;
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

    #[test]
    fn faults_are_found_when_the_policy_is_loaded() {
        let fault = |source: &str| Condition::compile(source).unwrap_err().to_string();
        assert!(fault("profile.complexity <").contains("not a valid CEL expression"));
        assert!(fault("sensitivity.label == 'public'").contains("unknown variable `sensitivity`"));
        assert!(fault("profile.complexty < 0.5").contains("complexty"));
        assert!(fault("profile.complexity + 1.0").contains("not true or false"));
    }

    #[test]
    fn every_listed_field_can_be_read() {
        for field in FIELDS {
            Condition::compile(&format!("{field} == {field}")).unwrap();
        }
    }

    #[test]
    fn the_example_of_the_design_compiles() {
        Condition::compile(r#"profile.complexity < 0.35 && !request.tools && caller.tier != "premium""#)
            .unwrap();
    }
}
