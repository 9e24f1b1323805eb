//! Conversations as a caller states them, and tool calls as models write them.
//!
//! [`ChatPrompt`] is what [`crate::Runtime::render`] turns into token ids: turns, tools, documents, and the switches
//! that chat templates know. Everything in it is outside text: none of it can become a control token (see
//! `tokenizer::guard`). Left out: images and sound, which no supported family takes.

mod calls;
mod grammar;
#[cfg(test)]
mod tests;
pub(crate) mod tools;

use std::time::SystemTime;

use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};

pub use calls::{AnswerPart, ToolCallParser};
pub use grammar::{TOOL_CALLS_MAX, TOOLS_MAX};
pub use tools::ToolFormat;

/// The most template variables in [`ChatPrompt::variables`].
pub const TEMPLATE_VARIABLES_MAX: usize = 32;
/// The most bytes of [`ChatPrompt::variables`], as JSON.
pub const TEMPLATE_VARIABLE_BYTES_MAX: usize = 16 * 1024;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    /// The name that chat templates compare against.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One call of a tool by the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Joins the call to its result.
    pub id: String,
    /// The tool.
    pub name: String,
    /// An object, as templates expect; a text is passed on as it is.
    pub arguments: Json,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments, an object.
    pub parameters: Option<Json>,
}

impl ToolSpec {
    /// The form in which templates read tools, with keys in transformers' order.
    pub(crate) fn to_json(&self) -> Json {
        let mut function = Map::new();
        function.insert("name".to_owned(), Json::from(self.name.as_str()));
        if let Some(description) = &self.description {
            function.insert("description".to_owned(), Json::from(description.as_str()));
        }
        if let Some(parameters) = &self.parameters {
            function.insert("parameters".to_owned(), parameters.clone());
        }
        Json::Object(function)
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    /// Who said it.
    pub role: Role,
    /// What was said; `None` for a turn that only calls tools.
    pub content: Option<String>,
    /// Who spoke, where a role has several speakers; for [`Role::Tool`], the tool.
    pub name: Option<String>,
    /// What the assistant thought before it answered.
    pub reasoning: Option<String>,
    /// What the assistant called.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a [`Role::Tool`] turn answers.
    pub tool_call_id: Option<String>,
}

impl ChatMessage {
    /// A message with text and nothing else.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(content.into()),
            name: None,
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }
}

/// A document for models that answer from documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// A conversation and how it is to be put before the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatPrompt {
    /// The turns, oldest first. Not empty.
    pub messages: Vec<ChatMessage>,
    /// Tools that the model may call. Models whose template knows no tools are not told of them.
    pub tools: Vec<ToolSpec>,
    /// Documents to answer from.
    pub documents: Vec<Document>,
    /// The model continues the last message, which must be the assistant's, instead of beginning a new one
    /// (transformers' `continue_final_message`).
    pub assistant_prefix: bool,
    /// Whether the model thinks aloud first, where its template has a switch for it; `None` leaves its default.
    pub thinking: Option<bool>,
    /// Further template variables (`chat_template_kwargs`), at most 32 and 16 KiB.
    pub variables: Map<String, Json>,
    /// What templates that ask for the date are told, in UTC; `None` asks the system's clock.
    pub now: Option<SystemTime>,
}

/// Names that are not the caller's to set.
const RESERVED: [&str; 7] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "raise_exception",
    "strftime_now",
];

impl ChatPrompt {
    /// A conversation without tools, with every switch at the template's default.
    #[must_use]
    pub fn new(messages: Vec<ChatMessage>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Checks what does not depend on the model.
    pub(crate) fn validate(&self) -> Result<()> {
        let fault = |reason: String| Err(Error::InvalidRequest { reason });
        let Some(last) = self.messages.last() else {
            return fault("the conversation has no messages".to_owned());
        };
        if self.assistant_prefix && (last.role != Role::Assistant || last.content.is_none()) {
            return fault(
                "to be continued, the last message must be the assistant's and have text".to_owned(),
            );
        }
        if self.variables.len() > TEMPLATE_VARIABLES_MAX {
            let count = self.variables.len();
            return fault(format!("{count} template variables; {TEMPLATE_VARIABLES_MAX} are allowed"));
        }
        let bytes = serde_json::to_vec(&self.variables).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > TEMPLATE_VARIABLE_BYTES_MAX {
            return fault(format!(
                "the template variables have {bytes} bytes; {TEMPLATE_VARIABLE_BYTES_MAX} are allowed"
            ));
        }
        let is_name = |name: &&String| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(allowed)
                && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        };
        if let Some(name) = self.variables.keys().find(|name| !is_name(name)) {
            return fault(format!("`{}` is no name of a template variable", name.escape_debug()));
        }
        let reserved = |name: &&String| RESERVED.contains(&name.as_str()) || name.ends_with("_token");
        if let Some(name) = self.variables.keys().find(reserved) {
            return fault(format!("the template variable `{}` is reserved", name.escape_debug()));
        }
        Ok(())
    }
}

impl From<&[ChatMessage]> for ChatPrompt {
    fn from(messages: &[ChatMessage]) -> Self {
        Self::new(messages.to_vec())
    }
}
