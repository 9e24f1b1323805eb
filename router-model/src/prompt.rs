//! The request as classification sees it: its texts in order, and a few facts about its shape.
//!
//! The caller parses the wire protocol and hands over every text that a model would read, whatever its role.
//! What the caller could not read goes into [`Prompt::doubt`], so that nothing is lost without a trace.

use std::borrow::Cow;

use policies::Doubt;

/// Who speaks in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator's or application's instructions.
    System,
    /// The person (or program) that asks.
    User,
    /// An earlier answer.
    Assistant,
    /// The result of a tool call.
    Tool,
    /// Anything else that a model reads: tool descriptions, schemas, file names.
    Other,
}

/// One text of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who speaks.
    pub role: Role,
    /// Where the text was found, such as `messages[2].content`; shown to people, never parsed.
    pub path: Cow<'a, str>,
    /// The text itself.
    pub text: Cow<'a, str>,
}

/// Everything of one request that classification looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt<'a> {
    /// Every text of the request, oldest first.
    pub segments: Vec<Segment<'a>>,
    /// Number of user turns in the conversation so far; 0 counts as 1.
    pub turns: u32,
    /// Number of tools that the request declares.
    pub tools: u32,
    /// Whether the answer must follow a JSON schema.
    pub wants_schema: bool,
    /// What the caller could not read.
    pub doubt: Vec<Doubt>,
    /// The caller's limit on the answer, in tokens.
    pub max_output_tokens: Option<u32>,
}

impl<'a> Prompt<'a> {
    /// A single user turn and nothing else.
    #[must_use]
    pub fn from_text(text: &'a str) -> Self {
        let segment = Segment { role: Role::User, path: Cow::Borrowed("text"), text: Cow::Borrowed(text) };
        Self { segments: vec![segment], turns: 1, ..Self::default() }
    }
}
