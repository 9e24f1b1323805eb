//! The type of every part of a condition, found without running it.
//!
//! CEL has dynamic types: `profile.task > 0.5 || request.tools` fails only for the requests that reach its first half.
//! A policy must not learn of that from a request, so the whole expression is walked when it is loaded, both sides
//! of each `&&`, `||` and `?:`. Fields are looked up by name, operands are compared by type, and words that a field can
//! never have are told. What the walk does not know (a map, a function that it has no entry for) has the type
//! [`Type::Any`] and is left to the trial run.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SelectExpr, operators};

use super::ConditionError;
use crate::fault::nearest;
use crate::profile::Task;

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A text.
    Text,
    /// The name of a task, which is a text.
    Task,
    /// A list of texts.
    Texts,
    /// `profile`, `request` or `caller` itself.
    Group,
    /// Not known.
    Any,
}

/// Every field that a condition can read, with its type.
pub const FIELDS: &[(&str, Type)] = &[
    ("profile.complexity", Type::Float),
    ("profile.confidence", Type::Float),
    ("profile.task", Type::Task),
    ("profile.language", Type::Text),
    ("profile.input_tokens", Type::Int),
    ("profile.output_tokens", Type::Int),
    ("request.model", Type::Text),
    ("request.named", Type::Bool),
    ("request.stream", Type::Bool),
    ("request.tools", Type::Bool),
    ("request.schema", Type::Bool),
    ("request.images", Type::Bool),
    ("request.output_tokens_max", Type::Int),
    ("request.turns", Type::Int),
    ("caller.team", Type::Text),
    ("caller.key", Type::Text),
    ("caller.tier", Type::Text),
    ("caller.user", Type::Text),
    ("caller.tags", Type::Texts),
];

/// The variables.
pub(super) const GROUPS: [&str; 3] = ["profile", "request", "caller"];

/// Functions with a fixed result: name, type of what they are called on or given first, result.
const FUNCTIONS: &[(&str, Type, Type)] = &[
    ("startsWith", Type::Text, Type::Bool),
    ("endsWith", Type::Text, Type::Bool),
    ("contains", Type::Text, Type::Bool),
    ("matches", Type::Text, Type::Bool),
    ("size", Type::Any, Type::Int),
    ("int", Type::Any, Type::Int),
    ("double", Type::Any, Type::Float),
    ("string", Type::Any, Type::Text),
];

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Text => "a text",
            Self::Task => "a task",
            Self::Texts => "a list of texts",
            Self::Group => "a group of fields",
            Self::Any => "a value",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Any)
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Task | Self::Any)
    }

    /// Whether two values can be equal at all.
    fn meets(self, other: Self) -> bool {
        self == other
            || self == Self::Any
            || other == Self::Any
            || (self.is_number() && other.is_number())
            || (self.is_text() && other.is_text())
    }
}

/// A walk over one condition.
#[derive(Default)]
struct Walk<'a> {
    /// Variables of macros (`tags.exists(t, ...)`) that are in scope.
    bound: Vec<(&'a str, Type)>,
    faults: Vec<ConditionError>,
}

/// Every fault of types and names; a condition must be a boolean.
pub(super) fn check(expression: &IdedExpr) -> Vec<ConditionError> {
    let mut walk = Walk::default();
    let result = walk.of(expression);
    if walk.faults.is_empty() && !result.meets(Type::Bool) {
        walk.faults.push(ConditionError::NotBoolean(result.name().to_owned()));
    }
    walk.faults
}

impl<'a> Walk<'a> {
    fn mismatch(&mut self, message: String) -> Type {
        self.faults.push(ConditionError::Type(message));
        Type::Any
    }

    fn of(&mut self, expression: &'a IdedExpr) -> Type {
        match &expression.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.field(select),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                let types: Vec<Type> = list.elements.iter().map(|element| self.of(element)).collect();
                let texts = !types.is_empty() && types.iter().all(|kind| matches!(kind, Type::Text));
                if texts { Type::Texts } else { Type::Any }
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Type::Any,
        }
    }

    fn variable(&mut self, name: &str) -> Type {
        if let Some((_, kind)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return *kind;
        }
        if GROUPS.contains(&name) {
            return Type::Group;
        }
        self.faults.push(ConditionError::UnknownVariable(name.to_owned()));
        Type::Any
    }

    fn field(&mut self, select: &'a SelectExpr) -> Type {
        let Expr::Ident(group) = &select.operand.expr else {
            self.of(&select.operand);
            return Type::Any;
        };
        if self.variable(group) != Type::Group {
            return Type::Any;
        }
        let path = format!("{group}.{}", select.field);
        match FIELDS.iter().find(|(field, _)| *field == path) {
            Some(_) if select.test => Type::Bool,
            Some((_, kind)) => *kind,
            None => {
                let near = nearest(&path, FIELDS.iter().map(|(field, _)| *field)).map(str::to_owned);
                self.faults.push(ConditionError::UnknownField { field: path, near });
                Type::Any
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Type {
        let function = call.func_name.as_str();
        let operands: Vec<(Type, &'a IdedExpr)> = call
            .target
            .iter()
            .map(|target| &**target)
            .chain(&call.args)
            .map(|part| (self.of(part), part))
            .collect();
        let [first, rest @ ..] = operands.as_slice() else { return Type::Any };
        let second = rest.first().map_or(Type::Any, |(kind, _)| *kind);
        match function {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                let odd = operands.iter().find(|(kind, _)| !kind.meets(Type::Bool));
                if let Some((kind, _)) = odd {
                    let sign = function.trim_matches(['_', ' ']);
                    return self.mismatch(format!("`{sign}` is for booleans, not for {}", kind.name()));
                }
                Type::Bool
            }
            operators::EQUALS | operators::NOT_EQUALS => self.equality(&operands),
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
                let comparable =
                    (first.0.is_number() && second.is_number()) || (first.0.is_text() && second.is_text());
                if !comparable {
                    return self.incomparable(first.0, second);
                }
                Type::Bool
            }
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE => {
                self.arithmetic(first.0, second)
            }
            operators::IN => self.membership(first, rest),
            operators::CONDITIONAL => {
                if !first.0.meets(Type::Bool) {
                    return self.mismatch(format!("`?:` asks a boolean, not {}", first.0.name()));
                }
                match rest {
                    [(left, _), (right, _)] if left == right => *left,
                    _ => Type::Any,
                }
            }
            _ => self.function(function, first.0, rest),
        }
    }

    fn incomparable(&mut self, left: Type, right: Type) -> Type {
        self.mismatch(format!("{} cannot be compared with {}", left.name(), right.name()));
        Type::Bool
    }

    fn equality(&mut self, operands: &[(Type, &'a IdedExpr)]) -> Type {
        let [left, right] = operands else { return Type::Bool };
        if !left.0.meets(right.0) {
            return self.incomparable(left.0, right.0);
        }
        for (field, word) in [(left, right), (right, left)] {
            if field.0 == Type::Task {
                self.task(word.1);
            }
        }
        Type::Bool
    }

    fn membership(&mut self, item: &(Type, &'a IdedExpr), rest: &[(Type, &'a IdedExpr)]) -> Type {
        let [(list, given)] = rest else { return Type::Bool };
        if !matches!(list, Type::Texts | Type::Any) {
            return self.mismatch(format!("`in` looks into a list, not into {}", list.name()));
        }
        if *list == Type::Texts && !item.0.is_text() {
            return self.incomparable(item.0, Type::Text);
        }
        if item.0 == Type::Task
            && let Expr::List(words) = &given.expr
        {
            words.elements.iter().for_each(|word| self.task(word));
        }
        Type::Bool
    }

    /// A word that is compared with a task must be one.
    fn task(&mut self, word: &IdedExpr) {
        if let Expr::Literal(LiteralValue::String(text)) = &word.expr {
            let word: &str = text.inner();
            if word.parse::<Task>().is_err() {
                let near = nearest(word, Task::ALL.iter().map(|task| task.as_str()));
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                self.mismatch(format!("no task is called `{word}`{hint}"));
            }
        }
    }

    fn arithmetic(&mut self, left: Type, right: Type) -> Type {
        match (left, right) {
            (Type::Any, _) | (_, Type::Any) => Type::Any,
            (Type::Int, Type::Int) => Type::Int,
            (Type::Float, Type::Float) => Type::Float,
            (left, right) if left.is_text() && right.is_text() => Type::Text,
            (left, right) => self.mismatch(format!(
                "{} and {} cannot be reckoned together (write 1.0 for a number, 1 for a whole number)",
                left.name(),
                right.name()
            )),
        }
    }

    fn function(&mut self, function: &str, on: Type, rest: &[(Type, &'a IdedExpr)]) -> Type {
        let Some((_, subject, result)) = FUNCTIONS.iter().find(|(name, ..)| *name == function) else {
            return Type::Any;
        };
        if function == "contains" && on == Type::Texts {
            return *result;
        }
        if *subject == Type::Text {
            let odd =
                std::iter::once(on).chain(rest.iter().map(|(kind, _)| *kind)).find(|kind| !kind.is_text());
            if let Some(kind) = odd {
                self.mismatch(format!("`{function}` is for texts, not for {}", kind.name()));
            }
        }
        *result
    }

    fn comprehension(&mut self, of: &'a ComprehensionExpr) -> Type {
        let item = match self.of(&of.iter_range) {
            Type::Texts => Type::Text,
            Type::Any => Type::Any,
            other => self.mismatch(format!("only a list has elements, not {}", other.name())),
        };
        let depth = self.bound.len();
        let begun = self.of(&of.accu_init);
        self.bound.push((&of.accu_var, begun));
        self.bound.push((&of.iter_var, item));
        self.bound.extend(of.iter_var2.as_deref().map(|variable| (variable, Type::Any)));
        self.of(&of.loop_cond);
        self.of(&of.loop_step);
        self.bound.truncate(depth + 1);
        let result = self.of(&of.result);
        self.bound.truncate(depth);
        result
    }
}

const fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Int,
        LiteralValue::Double(_) => Type::Float,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::Bytes(_) | LiteralValue::Null => Type::Any,
    }
}
