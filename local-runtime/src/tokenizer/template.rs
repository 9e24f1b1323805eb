//! Conversations to prompt text, by the model's own Jinja template.
//!
//! Templates come with model files, so they are run with bounds: instructions, output, recursion.
//! (A template that doubles a string in a loop can still ask for much memory within those; templates from the
//! catalogue are pinned, others are as trusted as the weights beside them.)
//!
//! [`Guard`] is how contents stay plain. A *mark*, a Unicode noncharacter that no content contains, is put inside
//! everything in a content that looks like an added token, and at both ends of the content, so that neither
//! the content nor content and template together can spell one. The template runs on the marked contents; added
//! tokens are looked for in its output; then the marks are removed. Trimming and searching inside
//! templates work as usual, because marks go inside the surrounding white space.
//! (Control tokens in contents: "special token injection", e.g. OWASP LLM01.)

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use aho_corasick::AhoCorasick;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::generate::ChatMessage;

/// Template instructions; a conversation of a thousand turns takes some 50,000.
const FUEL: u64 = 5_000_000;
/// Output beyond the contents' own length, times [`CONTENT_COPIES`].
const OUTPUT_BYTES_EXTRA: usize = 1 << 20;
/// How often a template may repeat the contents.
const CONTENT_COPIES: usize = 4;
const TEMPLATE_BYTES_MAX: usize = 1 << 18;
const RECURSION_MAX: usize = 64;
const NAME: &str = "chat";
const GENERATION_TAGS: [&str; 4] =
    ["{% generation %}", "{% endgeneration %}", "{%- generation %}", "{%- endgeneration %}"];

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// From `chat_template.jinja`, else from `tokenizer_config.json`; `None` if neither has one.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>> {
        let config: Json = std::fs::read(directory.join("tokenizer_config.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Json::Null);
        // Tokens are written as a text, or as an object with the text in it.
        let token = |key: &str| {
            let token = config.get(key)?;
            token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
        };
        let beside = std::fs::read_to_string(directory.join("chat_template.jinja")).ok();
        let Some(source) = beside.or_else(|| config.get("chat_template")?.as_str().map(str::to_owned)) else {
            return Ok(None);
        };
        Self::compile(source, token("bos_token"), token("eos_token")).map(Some)
    }

    pub(crate) fn compile(source: String, bos: Option<String>, eos: Option<String>) -> Result<Self> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(Error::Template {
                reason: format!("it has {} bytes; {TEMPLATE_BYTES_MAX} are allowed", source.len()),
            });
        }
        // Marks for training data; without meaning here and unknown to the engine.
        let source = GENERATION_TAGS.iter().fold(source, |source, tag| source.replace(tag, ""));
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| refused(&error))?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source).map_err(|error| refused(&error))?;
        Ok(Self { environment, bos, eos })
    }

    /// The prompt text, with the guard's marks still in it.
    pub(crate) fn render(&self, messages: &[ChatMessage], guard: &Guard<'_>) -> Result<String> {
        let content_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let marked: Vec<Value> = messages
            .iter()
            .map(|message| {
                let content = guard.mark(&message.content);
                context! { role => message.role.as_str(), content => content.as_ref() }
            })
            .collect();
        let context = context! {
            messages => marked,
            add_generation_prompt => true,
            bos_token => self.bos.as_deref().unwrap_or_default(),
            eos_token => self.eos.as_deref().unwrap_or_default(),
        };
        let limit = OUTPUT_BYTES_EXTRA + CONTENT_COPIES * content_bytes;
        let mut output = Bounded { bytes: Vec::new(), limit };
        let template = self.environment.get_template(NAME).map_err(|error| refused(&error))?;
        template.render_captured_to(context, &mut output).map_err(|error| refused(&error))?;
        String::from_utf8(output.bytes).map_err(|error| Error::Template { reason: error.to_string() })
    }
}

/// The engine's message, which may hold the template's text but no content.
fn refused(error: &minijinja::Error) -> Error {
    let mut reason = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        let _ = write!(reason, ": {cause}");
    }
    Error::Template { reason }
}

/// Output that refuses to grow beyond a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(std::io::Error::other("its output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(
        ErrorKind::InvalidOperation,
        format!("the template refuses the conversation: {message}"),
    ))
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC))
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, which is what templates were made with; the
/// engine's own filter escapes for HTML.
fn to_json(value: Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut out = Vec::new();
    let outcome = match indent {
        Some(width) => {
            let spaces = vec![b' '; width.min(16)];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    outcome.map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    String::from_utf8(out)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// `{"a": 1, "b": 2}`, with spaces after colons and commas.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Keeps contents from spelling added tokens. Lives as long as one rendering.
pub(crate) struct Guard<'a> {
    added: &'a AhoCorasick,
    mark: char,
}

/// The noncharacters of the Arabic block; Unicode reserves them for internal use such as this (section 23.7).
const MARKS: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

impl<'a> Guard<'a> {
    pub(crate) fn new(messages: &[ChatMessage], added: &'a AhoCorasick) -> Self {
        let is_free = |mark: &char| messages.iter().all(|message| !message.content.contains(*mark));
        // Where every one is taken, the last is removed from the contents: see `mark`.
        Self { added, mark: MARKS.clone().find(is_free).unwrap_or(*MARKS.end()) }
    }

    /// The content with marks.
    fn mark<'c>(&self, content: &'c str) -> Cow<'c, str> {
        let inner = content.trim();
        if inner.is_empty() {
            return Cow::Borrowed(content);
        }
        let start = content.len() - content.trim_start().len();
        let mut marked = String::with_capacity(content.len() + 16);
        marked.push_str(&content[..start]);
        marked.push(self.mark);
        let clean = self.strip(inner);
        let mut position = 0;
        // Every place where an added token begins gets a mark after its first character, overlaps included.
        while let Some(found) = self.added.find(&clean[position..]) {
            let first = clean[position + found.start()..].chars().next().map_or(1, char::len_utf8);
            let cut = position + found.start() + first;
            marked.push_str(&clean[position..cut]);
            marked.push(self.mark);
            position = cut;
        }
        marked.push_str(&clean[position..]);
        marked.push(self.mark);
        marked.push_str(&content[start + inner.len()..]);
        Cow::Owned(marked)
    }

    /// Text without marks.
    pub(crate) fn strip<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.contains(self.mark) { Cow::Owned(text.replace(self.mark, "")) } else { Cow::Borrowed(text) }
    }
}
