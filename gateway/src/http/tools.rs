//! Tools of a chat request: what may be called, what must be, and what was.
//!
//! Only what the embedded model needs is read, and only what is certainly wrong is refused: kinds of tools that this
//! gateway does not know go through to an upstream untouched and keep the request away from the embedded model.

use local_runtime::{ToolCall, ToolSpec};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::chat::optional;
use crate::error::Error;

/// Tools of one request at most (OpenAI's limit).
pub const TOOLS_MAX: usize = local_runtime::TOOLS_MAX;
/// Characters of a function's name at most (OpenAI's limit).
const NAME_CHARS_MAX: usize = 64;

/// Whether tools are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool.
    None,
    /// At least one.
    Required,
    /// This function.
    Function(String),
    /// A kind of choice that the gateway does not know.
    Other,
}

/// The tools of a request.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// The functions that may be called.
    pub functions: Vec<ToolSpec>,
    /// Whether one is called.
    pub choice: ToolChoice,
    /// Whether one answer may have several calls.
    pub parallel: bool,
    /// Something among them is beyond the embedded model.
    pub exotic: bool,
}

#[derive(Deserialize)]
struct RawTool<'a> {
    #[serde(rename = "type")]
    kind: Option<Json>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawFunction {
    name: Option<Json>,
    description: Option<Json>,
    parameters: Option<Json>,
}

impl Tools {
    /// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn parse(
        tools: Option<&RawValue>,
        choice: Option<&RawValue>,
        parallel: Option<&RawValue>,
    ) -> Result<Self, Error> {
        let list: Vec<&RawValue> = match tools.filter(|raw| raw.get() != "null") {
            None => Vec::new(),
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|_| Error::invalid("tools", "`tools` must be an array of tools"))?,
        };
        if list.len() > TOOLS_MAX {
            let message = format!("`tools` has {} tools, at most {TOOLS_MAX} are allowed", list.len());
            return Err(Error::invalid("tools", message));
        }
        let parallel = optional("parallel_tool_calls", parallel)?.unwrap_or(true);
        let mut read = Self { parallel, ..Self::default() };
        for (index, raw) in list.iter().enumerate() {
            match tool(&format!("tools[{index}]"), raw)? {
                Some(function) if read.functions.iter().any(|other| other.name == function.name) => {
                    let field = format!("tools[{index}].function.name");
                    return Err(Error::invalid(
                        &*field,
                        format!("`{field}` is the name of an earlier function"),
                    ));
                }
                Some(function) => read.functions.push(function),
                None => read.exotic = true,
            }
        }
        read.choice = tool_choice(choice, !list.is_empty())?;
        if let ToolChoice::Function(name) = &read.choice
            && !read.exotic
            && !read.functions.iter().any(|function| function.name == *name)
        {
            let field = "tool_choice.function.name";
            return Err(Error::invalid(field, format!("`{field}` is not among `tools`")));
        }
        read.exotic |= read.choice == ToolChoice::Other;
        Ok(read)
    }
}

/// A function; `None` for another kind of tool.
fn tool(at: &str, raw: &RawValue) -> Result<Option<ToolSpec>, Error> {
    let wrong = |field: &str, what: &str| {
        let field = format!("{at}{field}");
        Err(Error::invalid(&*field, format!("`{field}` must be {what}")))
    };
    let Ok(tool) = serde_json::from_str::<RawTool<'_>>(raw.get()) else { return wrong("", "an object") };
    match tool.kind.as_ref().map(Json::as_str) {
        Some(Some("function")) => {}
        Some(Some(_)) => return Ok(None),
        _ => return wrong(".type", "a string such as `function`"),
    }
    let function = tool.function.and_then(|raw| serde_json::from_str::<RawFunction>(raw.get()).ok());
    let Some(function) = function else { return wrong(".function", "an object with a `name`") };
    let is_name = |name: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed)
    };
    let Some(name) = function.name.as_ref().and_then(Json::as_str).filter(is_name) else {
        return wrong(".function.name", "1 to 64 letters, digits, `_`, `-` or `.`");
    };
    let description = match function.description {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(text),
        Some(_) => return wrong(".function.description", "a string"),
    };
    let parameters = match function.parameters {
        None | Some(Json::Null) => None,
        Some(schema @ Json::Object(_)) => Some(schema),
        Some(_) => return wrong(".function.parameters", "a JSON schema, an object"),
    };
    Ok(Some(ToolSpec { name: name.to_owned(), description, parameters }))
}

fn tool_choice(raw: Option<&RawValue>, has_tools: bool) -> Result<ToolChoice, Error> {
    let Some(choice) = optional::<Json>("tool_choice", raw)? else { return Ok(ToolChoice::Auto) };
    let wrong = |field: &str, what: &str| Err(Error::invalid(field, format!("`{field}` {what}")));
    let choice = match &choice {
        Json::String(word) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => {
                return wrong(
                    "tool_choice",
                    "must be auto, none, required, or an object that names a function",
                );
            }
        },
        Json::Object(members) => match members.get("type").map(Json::as_str) {
            Some(Some("function")) => {
                let name =
                    members.get("function").and_then(|function| function.get("name")).and_then(Json::as_str);
                let Some(name) = name else { return wrong("tool_choice.function.name", "is required") };
                ToolChoice::Function(name.to_owned())
            }
            Some(Some(_)) => ToolChoice::Other,
            _ => return wrong("tool_choice.type", "is required"),
        },
        _ => return wrong("tool_choice", "must be a string or an object"),
    };
    if !has_tools && matches!(choice, ToolChoice::Required | ToolChoice::Function(_)) {
        return wrong("tool_choice", "needs `tools`");
    }
    Ok(choice)
}

#[derive(Deserialize)]
struct RawCall {
    id: Option<String>,
    function: Option<RawCalled>,
}

#[derive(Deserialize)]
struct RawCalled {
    name: Option<String>,
    arguments: Option<String>,
}

/// The calls of an assistant's message. Arguments that are no JSON object stay a text.
pub(super) fn calls(field: &str, raw: &RawValue) -> Result<Vec<ToolCall>, Error> {
    let list: Option<Vec<RawCall>> = optional(field, Some(raw))?;
    let functions = list.into_iter().flatten().filter_map(|call| Some((call.id, call.function?)));
    let call = |(id, function): (Option<String>, RawCalled)| {
        let arguments = function.arguments.unwrap_or_default();
        let object = serde_json::from_str::<serde_json::Map<String, Json>>(&arguments);
        ToolCall {
            id: id.unwrap_or_default(),
            name: function.name.unwrap_or_default(),
            arguments: object.map_or(Json::String(arguments), Json::Object),
        }
    };
    Ok(functions.map(call).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tools: &str, choice: &str, parallel: &str) -> Result<Tools, Error> {
        let raw = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        Tools::parse(Some(&raw(tools)), Some(&raw(choice)), Some(&raw(parallel)))
    }

    const F: &str = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;

    #[test]
    fn tools_are_read() {
        let tools = parse(F, r#"{"type":"function","function":{"name":"f"}}"#, "false").unwrap();
        assert_eq!((tools.functions[0].name.as_str(), tools.parallel), ("f", false));
        assert_eq!(tools.choice, ToolChoice::Function("f".to_owned()));
        assert!(!tools.exotic && parse("null", "null", "null").unwrap().functions.is_empty());
        assert!(parse(r#"[{"type":"web_search"}]"#, "\"auto\"", "null").unwrap().exotic);
        assert!(parse(F, r#"{"type":"allowed_tools"}"#, "null").unwrap().exotic);
    }

    #[test]
    fn bad_shapes_name_their_field() {
        let f = |function: &str| format!(r#"[{{"type":"function","function":{function}}}]"#);
        for (tools, choice, parallel, field) in [
            ("{}".to_owned(), "null", "null", "tools"),
            ("[1]".to_owned(), "null", "null", "tools[0]"),
            ("[{}]".to_owned(), "null", "null", "tools[0].type"),
            (r#"[{"type":5}]"#.to_owned(), "null", "null", "tools[0].type"),
            (r#"[{"type":"function"}]"#.to_owned(), "null", "null", "tools[0].function"),
            (f("{}"), "null", "null", "tools[0].function.name"),
            (f(r#"{"name":"a b"}"#), "null", "null", "tools[0].function.name"),
            (f(r#"{"name":"f","description":1}"#), "null", "null", "tools[0].function.description"),
            (f(r#"{"name":"f","parameters":[]}"#), "null", "null", "tools[0].function.parameters"),
            (F.replace("[{", "[{\"type\":\"x\"},{"), "1", "null", "tool_choice"),
            (format!("[{0},{0}]", &F[1..F.len() - 1]), "null", "null", "tools[1].function.name"),
            (format!("[{}]", vec![&F[1..F.len() - 1]; 129].join(",")), "null", "null", "tools"),
            (F.to_owned(), "\"sometimes\"", "null", "tool_choice"),
            (F.to_owned(), "{}", "null", "tool_choice.type"),
            (F.to_owned(), r#"{"type":"function"}"#, "null", "tool_choice.function.name"),
            (
                F.to_owned(),
                r#"{"type":"function","function":{"name":"g"}}"#,
                "null",
                "tool_choice.function.name",
            ),
            ("[]".to_owned(), "\"required\"", "null", "tool_choice"),
            (F.to_owned(), "null", "\"yes\"", "parallel_tool_calls"),
        ] {
            match parse(&tools, choice, parallel) {
                Err(Error::Invalid { param, .. }) => {
                    assert_eq!(param.as_deref(), Some(field), "{tools} {choice}")
                }
                other => panic!("{tools} {choice} {parallel}: {other:?}"),
            }
        }
    }
}
