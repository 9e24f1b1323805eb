//! The form that an answer must have, as requests ask for it: OpenAI's `response_format`, and `structured_outputs` as
//! vLLM names it for what OpenAI's protocol has no words for.
//!
//! What is checked here is the shape of the request. Whether a schema can be followed is the embedded model's business,
//! asked only when it is about to answer: another target may follow what it cannot.

use std::borrow::Cow;

use local_runtime::Grammar;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::chat::{optional, required};
use crate::error::Error;

/// Texts of `structured_outputs.choice` at most.
const CHOICES_MAX: usize = 1_000;
/// Characters of a schema's name at most (OpenAI's limit).
const NAME_CHARS_MAX: usize = 64;

/// A demanded form.
#[derive(Debug, Clone)]
pub struct Format {
    /// The form.
    pub grammar: Grammar,
    /// The field that demands it.
    pub param: &'static str,
}

#[derive(Deserialize)]
struct RawFormat<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    json_schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawSchema<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawStructured<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    #[serde(borrow)]
    json_object: Option<&'a RawValue>,
    #[serde(borrow)]
    regex: Option<&'a RawValue>,
    #[serde(borrow)]
    choice: Option<&'a RawValue>,
    #[serde(borrow)]
    grammar: Option<&'a RawValue>,
}

/// Reads both fields; `None` for plain text.
pub(super) fn format(
    response_format: Option<&RawValue>,
    structured_outputs: Option<&RawValue>,
) -> Result<Option<Format>, Error> {
    let given = |raw: &&RawValue| raw.get() != "null";
    let first = response_format.filter(given).map(response_format_of).transpose()?.flatten();
    let second = structured_outputs.filter(given).map(structured_outputs_of).transpose()?;
    if first.is_some() && second.is_some() {
        let message = "`structured_outputs` and `response_format` cannot both demand a form";
        return Err(Error::invalid("structured_outputs", message));
    }
    Ok(first.or(second))
}

fn response_format_of(raw: &RawValue) -> Result<Option<Format>, Error> {
    let param = "response_format";
    let format: RawFormat<'_> = serde_json::from_str(raw.get())
        .map_err(|_| Error::invalid(param, "`response_format` must be an object with a `type`"))?;
    let grammar = match &*format.kind {
        "text" => return Ok(None),
        "json_object" => Grammar::JsonObject,
        "json_schema" => json_schema(format.json_schema)?,
        other => {
            let message =
                format!("`response_format.type` is `{other}`; text, json_object or json_schema is expected");
            return Err(Error::invalid("response_format.type", message));
        }
    };
    Ok(Some(Format { grammar, param }))
}

/// `name` and `description` are for the provider's own use; `strict` is the only way there is here.
fn json_schema(raw: Option<&RawValue>) -> Result<Grammar, Error> {
    let param = "response_format.json_schema";
    let raw = raw.ok_or_else(|| Error::invalid(param, format!("`{param}` is required")))?;
    let schema: RawSchema<'_> = serde_json::from_str(raw.get())
        .map_err(|_| Error::invalid(param, format!("`{param}` must be an object with a `name`")))?;
    let name: String = required("response_format.json_schema.name", schema.name)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_name) {
        let message = format!("a schema's name must be 1 to {NAME_CHARS_MAX} of a-z, A-Z, 0-9, _ and -");
        return Err(Error::invalid("response_format.json_schema.name", message));
    }
    optional::<bool>("response_format.json_schema.strict", schema.strict)?;
    optional::<String>("response_format.json_schema.description", schema.description)?;
    match optional("response_format.json_schema.schema", schema.schema)? {
        None => Ok(Grammar::JsonObject),
        Some(schema @ Value::Object(_)) => Ok(Grammar::JsonSchema(schema)),
        Some(_) => {
            let param = "response_format.json_schema.schema";
            Err(Error::invalid(param, format!("`{param}` must be a JSON schema object")))
        }
    }
}

fn structured_outputs_of(raw: &RawValue) -> Result<Format, Error> {
    let param = "structured_outputs";
    let one =
        "`structured_outputs` must be an object with one of json, json_object, regex, choice and grammar";
    let fields: RawStructured<'_> =
        serde_json::from_str(raw.get()).map_err(|_| Error::invalid(param, one))?;
    let json_object: Option<bool> = optional("structured_outputs.json_object", fields.json_object)?;
    let mut grammars = [
        fields.json.map(embedded_schema).transpose()?,
        json_object.filter(|wanted| *wanted).map(|_| Grammar::JsonObject),
        optional("structured_outputs.regex", fields.regex)?.map(Grammar::Regex),
        fields.choice.map(|raw| choice(required("structured_outputs.choice", Some(raw))?)).transpose()?,
        optional("structured_outputs.grammar", fields.grammar)?.map(Grammar::Lark),
    ]
    .into_iter()
    .flatten();
    match (grammars.next(), grammars.next()) {
        (Some(grammar), None) => Ok(Format { grammar, param }),
        _ => Err(Error::invalid(param, one)),
    }
}

/// A schema, or its text.
fn embedded_schema(raw: &RawValue) -> Result<Grammar, Error> {
    let param = "structured_outputs.json";
    let schema = match required(param, Some(raw))? {
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|error| Error::invalid(param, format!("`{param}` is not JSON: {error}")))?,
        schema => schema,
    };
    match schema {
        Value::Object(_) => Ok(Grammar::JsonSchema(schema)),
        _ => Err(Error::invalid(param, format!("`{param}` must be a JSON schema object"))),
    }
}

fn choice(texts: Vec<String>) -> Result<Grammar, Error> {
    if texts.is_empty() || texts.len() > CHOICES_MAX || texts.iter().any(String::is_empty) {
        let message =
            format!("`structured_outputs.choice` takes 1 to {CHOICES_MAX} texts, none of them empty");
        return Err(Error::invalid("structured_outputs.choice", message));
    }
    // A JSON string is a string of the grammar's language as well.
    let texts: Vec<String> = texts.into_iter().map(|text| Value::from(text).to_string()).collect();
    Ok(Grammar::Lark(format!("start: {}", texts.join(" | "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(response_format: &str, structured: &str) -> Result<Option<Format>, Error> {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        format(Some(&raw(response_format)), Some(&raw(structured)))
    }

    #[test]
    fn forms_are_read() {
        let grammar = |response_format, structured| {
            parse(response_format, structured).unwrap().map(|format| format.grammar)
        };
        assert_eq!(grammar("null", "null"), None);
        assert_eq!(grammar(r#"{"type":"text"}"#, "null"), None);
        assert_eq!(grammar(r#"{"type":"json_object"}"#, "null"), Some(Grammar::JsonObject));
        let schema =
            r#"{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"null"}}}"#;
        let expected = Grammar::JsonSchema(serde_json::json!({"type": "null"}));
        assert_eq!(grammar(schema, "null"), Some(expected.clone()));
        assert_eq!(grammar("null", r#"{"json":{"type":"null"}}"#), Some(expected.clone()));
        assert_eq!(grammar("null", r#"{"json":"{\"type\":\"null\"}"}"#), Some(expected));
        assert_eq!(grammar("null", r#"{"regex":"a+"}"#), Some(Grammar::Regex("a+".into())));
        let choice = Grammar::Lark(r#"start: "a\"b" | "ß""#.into());
        assert_eq!(grammar("null", r#"{"choice":["a\"b","ß"]}"#), Some(choice));
        assert_eq!(
            grammar("null", r#"{"grammar":"start: \"a\""}"#),
            Some(Grammar::Lark("start: \"a\"".into()))
        );
    }

    #[test]
    fn faults_name_the_field() {
        let none = "null";
        for (response_format, structured, param) in [
            ("5", none, "response_format"),
            (r#"{"type":"xml"}"#, none, "response_format.type"),
            (r#"{"type":"json_schema"}"#, none, "response_format.json_schema"),
            (r#"{"type":"json_schema","json_schema":{}}"#, none, "response_format.json_schema.name"),
            (
                r#"{"type":"json_schema","json_schema":{"name":"a b"}}"#,
                none,
                "response_format.json_schema.name",
            ),
            (
                r#"{"type":"json_schema","json_schema":{"name":"a","strict":1}}"#,
                none,
                "response_format.json_schema.strict",
            ),
            (
                r#"{"type":"json_schema","json_schema":{"name":"a","schema":[]}}"#,
                none,
                "response_format.json_schema.schema",
            ),
            (none, "[]", "structured_outputs"),
            (none, "{}", "structured_outputs"),
            (none, r#"{"regex":"a","json":{}}"#, "structured_outputs"),
            (none, r#"{"regex":5}"#, "structured_outputs.regex"),
            (none, r#"{"choice":[]}"#, "structured_outputs.choice"),
            (none, r#"{"choice":"a"}"#, "structured_outputs.choice"),
            (none, r#"{"json":"{"}"#, "structured_outputs.json"),
            (r#"{"type":"json_object"}"#, r#"{"regex":"a"}"#, "structured_outputs"),
        ] {
            match parse(response_format, structured) {
                Err(Error::Invalid { param: named, .. }) => {
                    assert_eq!(named.as_deref(), Some(param), "{response_format} {structured}");
                }
                other => panic!("{response_format} {structured}: {other:?}"),
            }
        }
    }
}
