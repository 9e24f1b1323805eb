//! Grammars that let a model write nothing but valid tool calls.
//!
//! Names are those of the declared tools, arguments are valid against the tool's schema (`%json`), and the frame is
//! written just as the family's template writes it. The language is llguidance's variant of Lark.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::ToolSpec;
use super::tools::ToolFormat;
use crate::error::{Error, Result};

/// The most calls in one constrained answer.
pub const TOOL_CALLS_MAX: u32 = 16;
/// The most tools of one grammar.
pub const TOOLS_MAX: usize = 128;
const SCHEMA_BYTES_MAX: usize = 64 * 1024;

impl ToolFormat {
    /// The Lark grammar of answers that are calls of these tools and nothing else: one call, or with `parallel` up to
    /// [`TOOL_CALLS_MAX`] where the format has room for several.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for no tools, too many, or parameters that are no JSON object or too long.
    pub fn grammar(self, tools: &[&ToolSpec], parallel: bool) -> Result<String> {
        let fault = |reason: String| Err(Error::InvalidRequest { reason });
        if tools.is_empty() || tools.len() > TOOLS_MAX {
            return fault(format!("{} tools to choose from; 1 to {TOOLS_MAX} are allowed", tools.len()));
        }
        let mut rules = String::new();
        for (index, tool) in tools.iter().enumerate() {
            let schema = tool.parameters.clone().filter(|schema| !schema.is_null());
            let schema = schema.unwrap_or_else(|| json!({"type": "object"}));
            if !schema.is_object() || schema.to_string().len() > SCHEMA_BYTES_MAX {
                let name = tool.name.escape_debug();
                return fault(format!(
                    "the parameters of tool `{name}` are no JSON object of at most {SCHEMA_BYTES_MAX} bytes"
                ));
            }
            let head =
                format!("{{\"name\": {}, \"{}\": ", Json::from(tool.name.as_str()), self.marks().arguments);
            let _ = writeln!(rules, "call{index}: {} arguments{index} \"}}\"", literal(&head));
            let _ = writeln!(rules, "arguments{index}: %json {}", of_objects(schema));
        }
        let any: Vec<String> = (0..tools.len()).map(|index| format!("call{index}")).collect();
        let more = if parallel && self.is_parallel() { TOOL_CALLS_MAX - 1 } else { 0 };
        Ok(format!("{}call: {}\n{rules}", self.frame(more), any.join(" | ")))
    }

    /// The rule `start`, over `call`.
    fn frame(self, more: u32) -> String {
        let marks = self.marks();
        if marks.is_list {
            let (open, close) = (literal(&format!("{}[", marks.open)), literal(&format!("]{}", marks.close)));
            return format!("start: {open} call{} {close}\n", repeated("\", \" call", more));
        }
        if marks.open.is_empty() {
            return "start: call\n".to_owned();
        }
        let (open, close) = (literal(&format!("{}\n", marks.open)), literal(&format!("\n{}", marks.close)));
        format!("start: marked{}\nmarked: {open} call {close}\n", repeated("\"\\n\" marked", more))
    }
}

fn repeated(part: &str, most: u32) -> String {
    if most == 0 { String::new() } else { format!(" ({part}){{0,{most}}}") }
}

/// A Lark string, which is written as in JSON.
fn literal(text: &str) -> String {
    Json::from(text).to_string()
}

/// Arguments are objects, whether or not the schema says so.
fn of_objects(mut schema: Json) -> Json {
    if let Some(members) = schema.as_object_mut()
        && !members.contains_key("type")
        && !members.keys().any(|key| matches!(key.as_str(), "$ref" | "anyOf" | "oneOf" | "allOf"))
    {
        members.insert("type".to_owned(), Json::from("object"));
    }
    schema
}
