//! Every text in a request body.
//!
//! What leaves is the whole body, so what is classified is the whole body: every string and every long number
//! anywhere in it, known field or not, values and keys. The walk reads the same bytes that would be forwarded
//! and sees every entry of an object, duplicates included, so that no second reader of the body can find a
//! text that the classifier did not.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A text with its place in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'a> {
    /// `messages[2].content`.
    pub path: String,
    /// Decoded text.
    pub text: Cow<'a, str>,
}

/// Where a text stands in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its JSON token, quotes included.
    pub at: Range<usize>,
    /// Is it an object's key?
    pub is_key: bool,
    /// The key whose words the text has in front, with how many bytes of the text it takes.
    pub lead: Option<(Range<usize>, usize)>,
}

/// Nesting beyond which a body is refused.
pub const DEPTH_MAX: usize = 64;
/// Texts beyond which a body is refused: each is classified, so their number bounds the work.
pub const TEXTS_MAX: usize = 20_000;
/// Characters of a key that a path repeats; the whole key is a text of its own.
const PATH_KEY_CHARS_MAX: usize = 64;

/// Numbers from this size on are scanned: shorter ones identify nobody.
const NUMBER_MIN: u64 = 1_000_000;

/// Integers that a body may hold and that 64 bits do not; larger ones are bounds of schemas.
const INEXACT: Range<f64> = 18_446_744_073_709_551_616.0..1e40;

/// Words of the protocols, which say nothing about the data.
const PROTOCOL_WORDS: &[&str] = &[
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "text",
    "image_url",
    "input_audio",
    "file",
    "json_object",
    "json_schema",
    "auto",
    "none",
    "required",
    "object",
    "string",
    "number",
    "integer",
    "boolean",
    "array",
    "low",
    "medium",
    "high",
    "minimal",
    "default",
    "",
];

/// Keys of the protocols.
const PROTOCOL_KEYS: &[&str] = &[
    "model",
    "messages",
    "role",
    "content",
    "name",
    "type",
    "text",
    "stream",
    "stream_options",
    "include_usage",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "structured_outputs",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "seed",
    "tools",
    "tool_choice",
    "tool_calls",
    "tool_call_id",
    "function",
    "description",
    "parameters",
    "properties",
    "required",
    "arguments",
    "id",
    "index",
    "response_format",
    "json_schema",
    "schema",
    "strict",
    "metadata",
    "store",
    "parallel_tool_calls",
    "reasoning_effort",
    "service_tier",
    "modalities",
    "audio",
    "prediction",
    "image_url",
    "url",
    "detail",
    "input_audio",
    "data",
    "format",
    "file",
    "file_id",
    "file_data",
    "filename",
    "enum",
    "items",
    "additionalProperties",
    "title",
    "default",
    "minimum",
    "maximum",
    "$schema",
    "refusal",
    "safety_identifier",
    "prompt_cache_key",
    "verbosity",
    "web_search_options",
    "input",
    "encoding_format",
    "dimensions",
];

/// Collects the texts of a JSON document in order.
///
/// # Errors
/// What `serde_json` says about a document that is not JSON, or that is nested too deeply.
pub fn texts(body: &[u8]) -> Result<Vec<Text<'_>>, serde_json::Error> {
    let mut walk = Walk::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    Node { walk: &mut walk }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(walk.texts)
}

/// The same texts, each with its place. Reads each level of the document anew, so it costs more: for bodies that are to be
/// changed.
///
/// # Errors
/// As [`texts`].
pub fn located(body: &[u8]) -> Result<Vec<(Text<'_>, Place)>, serde_json::Error> {
    let mut walk = Walk::new(Some(body.as_ptr().addr()));
    walk.enter(serde_json::from_slice::<&RawValue>(body)?)?;
    Ok(walk.texts.into_iter().zip(walk.places).collect())
}

struct Walk<'a> {
    path: String,
    depth: usize,
    /// The key that the value at hand stands under, unless it is the protocol's; and whether a text has it in front.
    key: Option<(Cow<'a, str>, bool)>,
    texts: Vec<Text<'a>>,
    /// Address of the document, where places are wanted.
    base: Option<usize>,
    /// The token of the value at hand, and that of the key.
    at: Range<usize>,
    key_at: Range<usize>,
    places: Vec<Place>,
}

impl<'a> Walk<'a> {
    fn new(base: Option<usize>) -> Self {
        Self {
            path: String::new(),
            depth: 0,
            key: None,
            texts: Vec::with_capacity(16),
            base,
            at: 0..0,
            key_at: 0..0,
            places: Vec::new(),
        }
    }

    /// Adds a value, with its key in front where that may say what it is (`ssn: 078051120`).
    fn push<E: serde::de::Error>(&mut self, text: Cow<'a, str>) -> Result<(), E> {
        let place = Place { at: self.at.clone(), is_key: false, lead: None };
        match &mut self.key {
            Some((key, used)) => {
                *used = true;
                let lead = Some((self.key_at.clone(), key.len() + KEY_JOINT.len()));
                let text = format!("{key}{KEY_JOINT}{text}");
                self.add(Cow::Owned(text), Place { lead, ..place })
            }
            None if PROTOCOL_WORDS.contains(&&*text) => Ok(()),
            None => self.add(text, place),
        }
    }

    fn add<E: serde::de::Error>(&mut self, text: Cow<'a, str>, place: Place) -> Result<(), E> {
        if self.texts.len() >= TEXTS_MAX {
            return Err(E::custom(format!("has more than {TEXTS_MAX} texts")));
        }
        self.texts.push(Text { path: self.path.clone(), text });
        if self.base.is_some() {
            self.places.push(place);
        }
        Ok(())
    }

    /// Reads a value of which the place is known.
    fn enter(&mut self, raw: &'a RawValue) -> Result<(), serde_json::Error> {
        self.at = self.place(raw);
        Node { walk: self }.deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
    }

    fn place(&self, raw: &RawValue) -> Range<usize> {
        let start = raw.get().as_ptr().addr() - self.base.unwrap_or_default();
        start..start + raw.get().len()
    }
}

/// What stands between a key and its value in a text.
pub const KEY_JOINT: &str = ": ";

struct Node<'w, 'a> {
    walk: &'w mut Walk<'a>,
}

impl<'a> DeserializeSeed<'a> for Node<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A string that borrows from the document where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'a> Deserialize<'a> for Key<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'a> Visitor<'a> for KeyVisitor {
            type Value = Key<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object key")
            }
            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// A key with its token.
type PlacedKey<'a> = (Cow<'a, str>, Range<usize>);

/// The next key of an object, with its place where places are wanted.
fn next_key<'a, A: MapAccess<'a>>(
    entries: &mut A,
    walk: &Walk<'a>,
) -> Result<Option<PlacedKey<'a>>, A::Error> {
    if walk.base.is_none() {
        return Ok(entries.next_key::<Key<'a>>()?.map(|Key(key)| (key, 0..0)));
    }
    let Some(raw) = entries.next_key::<&'a RawValue>()? else { return Ok(None) };
    let Key(key) = serde_json::from_str(raw.get()).map_err(A::Error::custom)?;
    Ok(Some((key, walk.place(raw))))
}

impl<'a> Visitor<'a> for Node<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<(), E> {
        self.walk.push(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.walk.push(Cow::Owned(text.to_owned()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        if number >= NUMBER_MIN || self.walk.key.is_some() {
            return self.walk.push(Cow::Owned(number.to_string()));
        }
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_u64(number.unsigned_abs())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        // Digits beyond 64 bits were rounded when they were read, so nobody could tell whether they identify somebody.
        if INEXACT.contains(&number.abs()) {
            return Err(E::custom("an integer has more than 64 bits; write it as a string"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a bound")]
        if number.abs() >= NUMBER_MIN as f64 || self.walk.key.is_some() {
            let is_whole = number.fract() == 0.0;
            return self.walk.push(Cow::Owned(if is_whole { number.abs() } else { number }.to_string()));
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let length = self.walk.path.len();
        self.walk.depth += 1;
        if self.walk.depth > DEPTH_MAX {
            return Err(A::Error::custom("nested too deeply"));
        }
        let mut index = 0usize;
        loop {
            let _ = write!(self.walk.path, "[{index}]");
            let more = if self.walk.base.is_none() {
                items.next_element_seed(Node { walk: self.walk })?
            } else {
                let raw = items.next_element::<&'a RawValue>()?;
                raw.map(|raw| self.walk.enter(raw)).transpose().map_err(A::Error::custom)?
            };
            self.walk.path.truncate(length);
            if more.is_none() {
                break;
            }
            index += 1;
        }
        self.walk.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        let length = self.walk.path.len();
        self.walk.depth += 1;
        if self.walk.depth > DEPTH_MAX {
            return Err(A::Error::custom("nested too deeply"));
        }
        let outer = self.walk.key.take();
        while let Some((key, key_at)) = next_key(&mut entries, self.walk)? {
            if length > 0 {
                self.walk.path.push('.');
            }
            self.walk.path.extend(key.chars().take(PATH_KEY_CHARS_MAX));
            self.walk.key = (!PROTOCOL_KEYS.contains(&&*key)).then_some((key, false));
            self.walk.key_at = key_at.clone();
            if self.walk.base.is_none() {
                entries.next_value_seed(Node { walk: self.walk })?;
            } else {
                let raw = entries.next_value::<&'a RawValue>()?;
                self.walk.enter(raw).map_err(A::Error::custom)?;
            }
            // A key that no value has in front is a text still.
            if let Some((key, false)) = self.walk.key.take() {
                self.walk.add(key, Place { at: key_at, is_key: true, lead: None })?;
            }
            self.walk.path.truncate(length);
        }
        self.walk.key = outer;
        self.walk.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(body: &str) -> Vec<(String, String)> {
        texts(body.as_bytes()).unwrap().into_iter().map(|t| (t.path, t.text.into_owned())).collect()
    }

    #[test]
    fn every_string_long_number_and_unknown_key_is_seen() {
        let body = r#"{"model":"auto","messages":[{"role":"user","content":"a\u0062c"}],
            "metadata":{"ssn":"x","n":4111111111111111,"f":-4.111111111111111e15,"s":5},"role":"odd"}"#;
        let expected = [
            ("messages[0].content", "abc"),
            ("metadata.ssn", "ssn: x"),
            ("metadata.n", "4111111111111111"),
            ("metadata.f", "f: 4111111111111111"),
            ("metadata.s", "s: 5"),
            ("role", "odd"),
        ];
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(pairs(body), expected);
    }

    #[test]
    fn numbers_are_seen_with_their_keys_and_never_rounded() {
        let seen = pairs(r#"{"x":{"lat":48.858844,"lon":-2.294351},"y":{"maximum":1.7e308}}"#);
        assert_eq!(seen[0], ("x.lat".to_owned(), "lat: 48.858844".to_owned()));
        assert_eq!(seen[1], ("x.lon".to_owned(), "lon: -2.294351".to_owned()));
        assert!(texts(br#"{"iccid":89490200001234567890}"#).is_err());
    }

    #[test]
    fn both_values_of_a_duplicate_key_are_seen() {
        let seen = pairs(r#"{"x":{"content":"one","content":"two"}}"#);
        assert_eq!(seen.iter().filter(|(path, _)| path == "x.content").count(), 2);
    }

    #[test]
    fn a_body_of_countless_texts_is_refused_and_long_keys_are_not_repeated() {
        let body = format!("[{}\"a b\"]", "\"a b\",".repeat(TEXTS_MAX));
        assert!(texts(body.as_bytes()).is_err());
        let body = format!(r#"{{"{}":["x y","z w"]}}"#, "k".repeat(10_000));
        assert!(pairs(&body).iter().all(|(path, _)| path.len() < 100));
    }

    #[test]
    fn the_same_texts_are_found_with_their_places() {
        let body = r#"{"model":"auto", "messages":[{"role":"user","content":[{"type":"text","text":"a\u0062c"}]}],
            "metadata":{"s\u0073n":"x", "many":["y", {"deep":"z"}], "n":4111111111111111, "e":{}}, "user" : "u"}"#;
        let found = located(body.as_bytes()).unwrap();
        let plain = texts(body.as_bytes()).unwrap();
        assert_eq!(found.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>(), plain);
        let tokens: Vec<_> = found.iter().map(|(_, place)| &body[place.at.clone()]).collect();
        let expected = ["\"a\\u0062c\"", "\"x\"", "\"y\"", "\"z\"", "4111111111111111", "\"e\"", "\"u\""];
        assert_eq!(tokens, expected);
        let leads: Vec<_> = found.iter().filter_map(|(_, place)| place.lead.clone()).collect();
        assert_eq!(&body[leads[0].0.clone()], "\"s\\u0073n\"");
        assert_eq!(leads[0].1, "ssn: ".len());
    }

    #[test]
    fn deep_nesting_is_refused() {
        let body = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert!(texts(body.as_bytes()).is_err());
    }
}
