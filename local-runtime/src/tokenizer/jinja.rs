//! The Jinja environment that chat templates were written for: what transformers adds to Jinja2.
//!
//! Measured against `transformers.utils.chat_template_utils` (5.23) by `fixtures/make_chat_goldens.py`. Blocks are
//! trimmed, loops have `break` and `continue`, `tojson` is Python's `json.dumps`, `raise_exception` and `strftime_now`
//! exist, and `{% generation %}` only groups.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior, Value};
use serde_json::Value as Json;

use super::guard::MARKS;

/// The context variable with the time, seconds since 1970 in UTC; no template can name it.
pub(super) const NOW: &str = "%now";
/// Levels of values inside values that `tojson` writes.
const DEPTH_MAX: usize = 64;

type Outcome<T> = Result<T, minijinja::Error>;

pub(super) fn environment() -> Outcome<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    Ok(environment)
}

pub(super) fn syntax() -> Outcome<SyntaxConfig> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// Rewrites `{% generation %}`, which marks training data and is unknown to the engine, as a `with` that sets
/// nothing: the same white-space control, and the same scope.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let Some(end) = tag.find("%}") else { break };
        let inner = &tag[2..end];
        let word = inner.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        out.push_str(before);
        let replacement = match word {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => word,
        };
        out.push_str("{%");
        out.push_str(&inner.replacen(word, replacement, 1));
        out.push_str("%}");
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out
}

fn fault(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message.into())
}

fn raise_exception(message: String) -> Outcome<Value> {
    let plain: String = message.chars().filter(|character| !MARKS.contains(character)).collect();
    Err(fault(format!("the template refuses the conversation: {plain}")))
}

fn strftime_now(state: &State<'_, '_>, format: &str) -> Outcome<String> {
    let seconds = state.lookup(NOW).and_then(|now| i64::try_from(now).ok()).unwrap_or_default();
    let now = jiff::Timestamp::from_second(seconds).map_err(|error| fault(error.to_string()))?;
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(format, &now).map_err(|error| fault(error.to_string()))
}

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`; the engine's own
/// filter escapes for HTML.
fn to_json(value: &Value, positional: Rest<Value>, named: Kwargs) -> Outcome<String> {
    let option = |index: usize, name: &str| -> Outcome<Option<Value>> {
        let given: Option<Value> = named.get(name)?;
        Ok(given.or_else(|| positional.get(index).cloned()).filter(|value| !value.is_none()))
    };
    let indent = match option(1, "indent")? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) => Some(" ".repeat(usize::try_from(width)?.min(16))),
    };
    let separators = match option(2, "separators")? {
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let dump = Dump {
        ascii: option(0, "ensure_ascii")?.is_some_and(|value| value.is_true()),
        indent,
        separators,
        sorted: option(3, "sort_keys")?.is_some_and(|value| value.is_true()),
    };
    named.assert_all_used()?;
    if value.is_undefined() {
        return Err(fault("an undefined value cannot be written as JSON"));
    }
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut out = String::new();
    dump.value(&json, 0, &mut out)?;
    Ok(out)
}

/// Python's `json.dumps`.
struct Dump {
    ascii: bool,
    indent: Option<String>,
    separators: (String, String),
    sorted: bool,
}

impl Dump {
    fn value(&self, value: &Json, depth: usize, out: &mut String) -> Outcome<()> {
        if depth > DEPTH_MAX {
            return Err(fault(format!("a value is nested deeper than {DEPTH_MAX} levels")));
        }
        match value {
            Json::Array(items) if !items.is_empty() => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.between(index, depth, out);
                    self.value(item, depth + 1, out)?;
                }
                self.line(depth, out);
                out.push(']');
            }
            Json::Object(members) if !members.is_empty() => {
                let mut pairs: Vec<_> = members.iter().collect();
                if self.sorted {
                    pairs.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (index, (key, item)) in pairs.into_iter().enumerate() {
                    self.between(index, depth, out);
                    self.text(key, out);
                    out.push_str(&self.separators.1);
                    self.value(item, depth + 1, out)?;
                }
                self.line(depth, out);
                out.push('}');
            }
            Json::String(text) => self.text(text, out),
            Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(real) => out.push_str(&python_float(real)),
                None => out.push_str(&number.to_string()),
            },
            plain => out.push_str(&plain.to_string()),
        }
        Ok(())
    }

    fn between(&self, index: usize, depth: usize, out: &mut String) {
        if index > 0 {
            out.push_str(&self.separators.0);
        }
        self.line(depth + 1, out);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let quoted = Json::String(text.to_owned()).to_string();
        // Marks stay marks, so that they can be removed afterwards.
        let kept = |character: char| !self.ascii || character.is_ascii() || MARKS.contains(&character);
        for character in quoted.chars() {
            if kept(character) {
                out.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

/// Python's `repr` of a float: the shortest digits that read back the same, with an exponent from 1e16 and below 1e-4.
fn python_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = value.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}
