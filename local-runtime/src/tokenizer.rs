//! Text to token ids and back, and conversations to prompts.
//!
//! The invariant that matters: **text from outside never becomes a control token.** Texts are
//! encoded by a tokenizer that knows no added tokens at all; added tokens are found only in what the
//! chat template itself wrote (see [`guard`]). Decoding goes through a table of each token's bytes, because
//! tokens are pieces of UTF-8 and the caller decides when a character is whole.
//!
//! Tokenizer files come from outside too: sizes are checked before anything is built from them ([`limits`]).
//!
//! Left out: `single_word` and `normalized` of added tokens, which none of the supported families needs.

mod confine;
mod guard;
mod jinja;
mod limits;
mod template;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use crate::chat::tools::{self, TOOL_MARKS};
use crate::chat::{ChatPrompt, Role, ToolFormat};
use crate::error::{Error, Result};
use guard::{ControlTokens, Guard};
use template::ChatTemplates;

/// A model's tokenizer and chat template. Thread-safe.
#[derive(Debug)]
pub(crate) struct TextCodec {
    /// Knows no added tokens.
    plain: Tokenizer,
    /// For texts behind the beginning, where the first word's prefix is put before that word only.
    inner: Option<Tokenizer>,
    added: AhoCorasick,
    added_tokens: Vec<AddedToken>,
    control: ControlTokens,
    /// The bytes of each id; empty for control tokens, those around tool calls excepted.
    pieces: Vec<Box<[u8]>>,
    templates: Option<ChatTemplates>,
    tool_format: Option<ToolFormat>,
}

impl TextCodec {
    /// Reads `tokenizer.json`, `tokenizer_config.json`, and `chat_template.jinja` of a model directory.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("tokenizer.json");
        let corrupt = |reason: String| Error::CorruptModel { path: path.clone(), reason };
        let bytes = template::read_bounded(&path, limits::TOKENIZER_BYTES_MAX)?
            .ok_or_else(|| corrupt("the file is missing".to_owned()))?;
        let mut json: Json = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        drop(bytes);
        limits::check(&json).map_err(corrupt)?;
        let decoder = PieceDecoder::of(&json);
        let added =
            take_added_tokens(&mut json).ok_or_else(|| corrupt("added_tokens is malformed".to_owned()))?;
        let build = |json: &Json| -> Result<Tokenizer> {
            let bytes = serde_json::to_vec(json).map_err(|error| corrupt(error.to_string()))?;
            Tokenizer::from_bytes(&bytes).map_err(|error| corrupt(error.to_string()))
        };
        let plain = build(&json)?;
        let inner = if without_first_prefix(&mut json) { Some(build(&json)?) } else { None };
        drop(json);
        limits::probe(&plain).map_err(corrupt)?;
        let pieces = pieces(&plain.get_vocab(false), &added, &decoder).map_err(corrupt)?;
        let texts: Vec<&str> = added.iter().map(|token| token.content.as_str()).collect();
        let matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts);
        let templates = ChatTemplates::load(directory)?;
        let sources = templates.as_ref().map(ChatTemplates::sources).unwrap_or_default();
        Ok(Self {
            plain,
            inner,
            added: matcher.map_err(|error| corrupt(error.to_string()))?,
            control: ControlTokens::new(&texts, &sources).map_err(corrupt)?,
            added_tokens: added,
            pieces,
            tool_format: templates
                .as_ref()
                .and_then(ChatTemplates::source_for_tools)
                .and_then(ToolFormat::detect),
            templates,
        })
    }

    /// One more than the highest id that the tokenizer knows.
    pub(crate) fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn has_template(&self) -> bool {
        self.templates.is_some()
    }

    /// How the model writes tool calls, `None` if it writes none.
    pub(crate) fn tool_format(&self) -> Option<ToolFormat> {
        self.tool_format
    }

    /// Ids of a text, all of it plain.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        encode(&self.plain, text)
    }

    /// Number of tokens of a text; its bytes, which is an upper bound, if it cannot be tokenised.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.plain.encode_fast(text, false).map_or(text.len(), |encoding| encoding.len())
    }

    /// Ids of a conversation, ending where the assistant begins or goes on.
    pub(crate) fn render(&self, prompt: &ChatPrompt) -> Result<Vec<u32>> {
        let (text, guard) = self.render_marked(prompt)?;
        let mut ids = Vec::new();
        let mut position = 0;
        for found in self.added.find_iter(&text) {
            let token = &self.added_tokens[found.pattern().as_usize()];
            // A token of one character has no place inside for a mark; one behind it says the same.
            let is_plain = token.content.chars().nth(1).is_none() && guard.is_marked(&text[found.end()..]);
            if is_plain || found.start() < position {
                continue;
            }
            let before = &text[position..found.start()];
            self.encode_part(
                if token.lstrip { before.trim_end() } else { before },
                position,
                &guard,
                &mut ids,
            )?;
            ids.push(token.id);
            let rest = &text[found.end()..];
            position = if token.rstrip { text.len() - rest.trim_start().len() } else { found.end() };
        }
        self.encode_part(&text[position..], position, &guard, &mut ids)?;
        Ok(ids)
    }

    fn render_marked(&self, prompt: &ChatPrompt) -> Result<(String, Guard<'_>)> {
        prompt.validate()?;
        let Some(templates) = &self.templates else {
            return Err(Error::Template {
                reason: "the model has none; it is not made for conversations".to_owned(),
            });
        };
        let uses_tools = !prompt.tools.is_empty()
            || prompt
                .messages
                .iter()
                .any(|message| message.role == Role::Tool || !message.tool_calls.is_empty());
        if self.tool_format == Some(ToolFormat::Described) && uses_tools {
            return templates.render(&tools::described(prompt), &self.control);
        }
        templates.render(prompt, &self.control)
    }

    fn encode_part(&self, text: &str, position: usize, guard: &Guard<'_>, ids: &mut Vec<u32>) -> Result<()> {
        let text = guard.strip(text);
        if !text.is_empty() {
            let tokenizer =
                if position == 0 { &self.plain } else { self.inner.as_ref().unwrap_or(&self.plain) };
            ids.extend(encode(tokenizer, &text)?);
        }
        Ok(())
    }

    /// The text of some tokens; bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.piece(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that a token stands for; none for control tokens and ids beyond the vocabulary.
    pub(crate) fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], |piece| piece)
    }
}

#[derive(Debug)]
struct AddedToken {
    id: u32,
    content: String,
    special: bool,
    /// White space before the token belongs to it.
    lstrip: bool,
    /// White space behind the token belongs to it.
    rstrip: bool,
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(|error| Error::Tokenizer { action: "encode a text", reason: error.to_string() })?;
    Ok(encoding.get_ids().to_vec())
}

/// Turns off a prefix that is meant for the first word of a whole text; false if there is none.
fn without_first_prefix(json: &mut Json) -> bool {
    let Some(splitter) = json.get_mut("pre_tokenizer") else { return false };
    let steps: Vec<&mut Json> = match splitter.get_mut("pretokenizers").and_then(Json::as_array_mut) {
        Some(_) => splitter["pretokenizers"].as_array_mut().into_iter().flatten().collect(),
        None => vec![splitter],
    };
    let mut changed = false;
    for step in steps {
        if step.get("prepend_scheme").and_then(Json::as_str) == Some("first") {
            step["prepend_scheme"] = Json::from("never");
            changed = true;
        }
    }
    changed
}

/// Removes the added tokens, and post-processing that would add some, from a `tokenizer.json`.
fn take_added_tokens(json: &mut Json) -> Option<Vec<AddedToken>> {
    let object = json.as_object_mut()?;
    object.insert("post_processor".to_owned(), Json::Null);
    object.insert("truncation".to_owned(), Json::Null);
    object.insert("padding".to_owned(), Json::Null);
    let added =
        object.insert("added_tokens".to_owned(), Json::Array(Vec::new())).unwrap_or(Json::Array(Vec::new()));
    let read = |token: &Json| {
        let content = token.get("content")?.as_str().filter(|content| !content.is_empty())?.to_owned();
        Some(AddedToken {
            id: u32::try_from(token.get("id")?.as_u64()?).ok()?,
            content,
            special: token.get("special")?.as_bool()?,
            lstrip: token.get("lstrip").and_then(Json::as_bool).unwrap_or(false),
            rstrip: token.get("rstrip").and_then(Json::as_bool).unwrap_or(false),
        })
    };
    added.as_array()?.iter().map(read).collect()
}

/// How a vocabulary spells bytes.
enum PieceDecoder {
    /// Each byte is one printable character (GPT-2, `bytes_to_unicode`).
    ByteLevel(HashMap<char, u8>),
    /// A space is `▁`, and bytes without a character of their own are `<0xNN>` (SentencePiece).
    SentencePiece,
}

impl PieceDecoder {
    fn of(json: &Json) -> Self {
        let decoder = json.get("decoder").map(Json::to_string).unwrap_or_default();
        if decoder.contains("ByteLevel") {
            Self::ByteLevel(byte_level_alphabet())
        } else {
            Self::SentencePiece
        }
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            // A character outside the alphabet stands for itself, as in the reference decoder.
            Self::ByteLevel(alphabet) => {
                let mut bytes = Vec::with_capacity(token.len());
                for character in token.chars() {
                    match alphabet.get(&character) {
                        Some(byte) => bytes.push(*byte),
                        None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
                bytes
            }
            Self::SentencePiece => {
                let hexadecimal = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => token.replace('\u{2581}', " ").into_bytes(),
                }
            }
        }
    }
}

/// GPT-2's `bytes_to_unicode`: printable Latin-1 bytes are themselves, the others follow from U+0100.
fn byte_level_alphabet() -> HashMap<char, u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..=u8::MAX)
        .map(|byte| {
            let code = if is_printable(byte) { u32::from(byte) } else { next };
            next += u32::from(!is_printable(byte));
            (char::from_u32(code).expect("below the surrogates"), byte)
        })
        .collect()
}

fn pieces(
    vocabulary: &HashMap<String, u32>,
    added: &[AddedToken],
    decoder: &PieceDecoder,
) -> Result<Vec<Box<[u8]>>, String> {
    let ids = vocabulary.values().copied().chain(added.iter().map(|token| token.id));
    let highest = ids.max().ok_or("the vocabulary is empty")?;
    if highest >= limits::VOCABULARY_MAX {
        return Err(format!("token id {highest} is too high"));
    }
    let mut pieces = vec![Box::default(); highest as usize + 1];
    for (token, &id) in vocabulary {
        pieces[id as usize] = decoder.bytes(token).into_boxed_slice();
    }
    for token in added {
        let is_text = !token.special || TOOL_MARKS.contains(&token.content.as_str());
        let bytes = if is_text { token.content.as_bytes() } else { &[] };
        pieces[token.id as usize] = bytes.into();
    }
    Ok(pieces)
}
