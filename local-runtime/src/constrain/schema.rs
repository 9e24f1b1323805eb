//! What of JSON Schema is let through to the grammar engine.
//!
//! The engine refuses keywords that it does not know how to enforce. Refused here, before it runs, is what it would take too
//! long or too much stack for, what it would enforce wrongly, and schemas that no finite value satisfies, on which
//! an answer would run until its length ended it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json, json};

use super::{GRAMMAR_BYTES_MAX, refused};
use crate::error::Result;

/// Arrays and objects inside each other.
const DEPTH_MAX: usize = 64;
/// Objects, arrays and scalars together.
const NODES_MAX: usize = 20_000;
/// Objects: an upper bound of how long a chain of references can be.
const OBJECTS_MAX: usize = 4_000;
/// The most that `minItems` and the like may ask for.
const COUNT_MAX: u64 = 20_000;
/// The engine's own options, which a caller could use to switch its checks off.
const ENGINE_OPTIONS: &str = "x-guidance";

/// Whitespace between the parts of a JSON answer: enough for indentation, and no room for an endless blank.
const WHITESPACE: &str = r"[ \n\t]{1,32}";
/// Without `\u`, since a key could be spelt in two ways, and half of a surrogate pair is no character.
const ESCAPES: &str = "nrbtf\\\"";

/// The schema with the engine's options; any object for `null`.
pub(super) fn prepared(schema: &Json) -> Json {
    let mut object = match schema {
        Json::Object(object) => object.clone(),
        Json::Bool(true) => Map::new(),
        _ => Map::from_iter([("type".to_owned(), json!("object"))]),
    };
    let options = json!({"whitespace_pattern": WHITESPACE, "json_allowed_escapes": ESCAPES});
    object.insert(ENGINE_OPTIONS.to_owned(), options);
    Json::Object(object)
}

/// Checks a schema from outside.
pub(super) fn check(schema: &Json) -> Result<()> {
    match schema {
        Json::Object(_) | Json::Bool(true) => {}
        Json::Bool(false) => return Err(refused("the schema `false` allows nothing")),
        _ => return Err(refused("a JSON schema must be an object or a boolean")),
    }
    Size::default().measure(schema, 0)?;
    check_keywords(schema)?;
    if Inhabited::new(schema).root() { Ok(()) } else { Err(refused("no finite value satisfies the schema")) }
}

/// Checks the schemas inside a Lark grammar.
pub(super) fn check_embedded(source: &str) -> Result<()> {
    for (at, mark) in source.match_indices("%json") {
        let rest = &source[at + mark.len()..];
        // Where no JSON follows, the engine says what is wrong.
        if let Some(Ok(schema)) = serde_json::Deserializer::from_str(rest).into_iter::<Json>().next() {
            check(&schema)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Size {
    nodes: usize,
    objects: usize,
    bytes: usize,
}

impl Size {
    fn measure(&mut self, node: &Json, depth: usize) -> Result<()> {
        self.nodes += 1;
        self.refuse_above_limits(depth)?;
        match node {
            Json::String(text) => self.bytes += text.len(),
            Json::Array(items) => {
                for item in items {
                    self.measure(item, depth + 1)?;
                }
            }
            Json::Object(entries) => {
                self.objects += 1;
                for (key, value) in entries {
                    self.bytes += key.len();
                    self.measure(value, depth + 1)?;
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        self.refuse_above_limits(depth)
    }

    fn refuse_above_limits(&self, depth: usize) -> Result<()> {
        let limits = [
            (depth, DEPTH_MAX, "levels of nesting"),
            (self.nodes, NODES_MAX, "values"),
            (self.objects, OBJECTS_MAX, "objects"),
            (self.bytes, GRAMMAR_BYTES_MAX, "bytes of text"),
        ];
        match limits.into_iter().find(|(size, limit, _)| size > limit) {
            Some((_, limit, what)) => Err(refused(&format!("the schema has more than {limit} {what}"))),
            None => Ok(()),
        }
    }
}

/// Keywords whose value is one schema.
const ONE: [&str; 3] = ["items", "additionalProperties", "additionalItems"];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Keywords whose value names schemas.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

fn check_keywords(schema: &Json) -> Result<()> {
    let Json::Object(object) = schema else { return Ok(()) };
    if object.contains_key(ENGINE_OPTIONS) {
        return Err(refused(&format!("`{ENGINE_OPTIONS}` is not part of JSON Schema")));
    }
    for key in ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"] {
        let count = object.get(key).and_then(Json::as_u64).unwrap_or(0);
        if count > COUNT_MAX {
            return Err(refused(&format!("`{key}` is {count}, at most {COUNT_MAX} is supported")));
        }
    }
    // Keys are not compared with each other while they are written, so two free ones could be the same.
    let required = object.get("required").and_then(Json::as_array).map_or(0, Vec::len) as u64;
    if object.get("minProperties").and_then(Json::as_u64).unwrap_or(0) > required + 1 {
        return Err(refused(
            "`minProperties` above the number of `required` properties and one is not supported",
        ));
    }
    for inner in children(object) {
        check_keywords(inner)?;
    }
    Ok(())
}

fn children(object: &Map<String, Json>) -> impl Iterator<Item = &Json> {
    let one = ONE.iter().filter_map(|key| object.get(*key)).filter(|value| !value.is_array());
    let list = LIST.iter().filter_map(|key| object.get(*key)?.as_array()).flatten();
    let named = NAMED.iter().filter_map(|key| object.get(*key)?.as_object()).flat_map(Map::values);
    one.chain(list).chain(named)
}

/// Which schemas have a finite value: the least fixed point over `$ref`. Errs on the side of yes, except that everything
/// that this says no to has none.
struct Inhabited<'a> {
    root: &'a Json,
    /// Targets of `$ref` that are known to have one.
    known: HashMap<&'a str, bool>,
}

impl<'a> Inhabited<'a> {
    fn new(root: &'a Json) -> Self {
        let mut known = HashMap::new();
        collect_references(root, &mut known);
        Self { root, known }
    }

    fn root(mut self) -> bool {
        loop {
            let references: Vec<&str> =
                self.known.iter().filter(|(_, known)| !**known).map(|(name, _)| *name).collect();
            let found: HashSet<&str> =
                references.into_iter().filter(|name| self.target(name).is_none_or(|t| self.has(t))).collect();
            if found.is_empty() {
                return self.has(self.root);
            }
            for name in found {
                self.known.insert(name, true);
            }
        }
    }

    /// `None` for what the engine refuses with a better explanation.
    fn target(&self, reference: &str) -> Option<&'a Json> {
        self.root.pointer(reference.strip_prefix('#')?.trim_end_matches('/'))
    }

    fn has(&self, schema: &Json) -> bool {
        let Json::Object(object) = schema else { return schema != &Json::Bool(false) };
        let all = |key: &str| object.get(key).and_then(Json::as_array).into_iter().flatten();
        if let Some(name) = object.get("$ref").and_then(Json::as_str)
            && !self.known.get(name).copied().unwrap_or(true)
        {
            return false;
        }
        let one_of_each = ["anyOf", "oneOf"]
            .iter()
            .all(|key| all(key).next().is_none() || all(key).any(|option| self.has(option)));
        if !one_of_each || !all("allOf").all(|part| self.has(part)) {
            return false;
        }
        match object.get("type").and_then(Json::as_str) {
            Some("object") => self.has_object(object),
            Some("array") => self.has_array(object),
            _ => true,
        }
    }

    fn has_object(&self, object: &Map<String, Json>) -> bool {
        let names = object.get("required").and_then(Json::as_array).into_iter().flatten();
        names.filter_map(Json::as_str).all(|name| {
            let property = object.get("properties").and_then(|properties| properties.get(name));
            property.is_none_or(|property| self.has(property))
        })
    }

    fn has_array(&self, object: &Map<String, Json>) -> bool {
        let least = object.get("minItems").and_then(Json::as_u64).unwrap_or(0) as usize;
        let list = |key: &str| object.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let first = if object.contains_key("prefixItems") { list("prefixItems") } else { list("items") };
        let rest = object.get("items").filter(|items| !items.is_array());
        first.iter().take(least).all(|item| self.has(item))
            && (least <= first.len() || rest.is_none_or(|items| self.has(items)))
    }
}

fn collect_references<'a>(schema: &'a Json, known: &mut HashMap<&'a str, bool>) {
    let Json::Object(object) = schema else { return };
    if let Some(name) = object.get("$ref").and_then(Json::as_str) {
        known.insert(name, false);
    }
    for inner in children(object) {
        collect_references(inner, known);
    }
}
