//! How families write tool calls.
//!
//! A family's format is read off its chat template, since that is what the model was trained with. ChatML models
//! whose template knows no tools are told of them in the system message, in the Hermes format, which most later ChatML
//! models share ([`ToolFormat::Described`]); how well they follow is up to them. Families without either are not offered tools.
//!
//! Left out: calls in Python syntax (SmolLM3's `<code>`, Llama's `<|python_tag|>f(x)`), and Mistral's later
//! `[TOOL_CALLS]name[ARGS]{...}`.

use serde_json::Value as Json;

use super::{ChatMessage, ChatPrompt, Role, ToolCall, ToolSpec};

/// The marks of all formats. As tokens they count as text: they are what answers with calls consist of.
pub(crate) const TOOL_MARKS: [&str; 6] =
    ["<tool_call>", "</tool_call>", "<|tool_call|>", "<|/tool_call|>", "[TOOL_CALLS]", "<|python_tag|>"];

/// How a model writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolFormat {
    /// `<tool_call>{"name": ..., "arguments": ...}</tool_call>`, one after the other (Qwen, SmolLM3, Falcon 3).
    Hermes,
    /// The same, with the tools described in the system message, since the template knows none (SmolLM2).
    Described,
    /// The answer is `{"name": ..., "parameters": ...}` and nothing else (Llama 3.x). One call at a time.
    Llama3,
    /// `[TOOL_CALLS][{"name": ..., "arguments": ...}, ...]` (Mistral, v3 tokenizers).
    Mistral,
    /// `<|tool_call|>[{"name": ..., "arguments": ...}, ...]<|/tool_call|>` (Phi-4-mini).
    Phi4Mini,
    /// `<|tool_call|>[{"name": ..., "arguments": ...}, ...]` (Granite 3.x).
    Granite,
}

/// The parts of a format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    /// Begins a call or a list of calls; empty where the answer as a whole is the call.
    pub(crate) open: &'static str,
    /// Ends it; empty where nothing does.
    pub(crate) close: &'static str,
    /// Whether calls stand in a list.
    pub(crate) is_list: bool,
    /// The member with the arguments.
    pub(crate) arguments: &'static str,
}

impl ToolFormat {
    /// From the template for conversations with tools.
    pub(crate) fn detect(template: &str) -> Option<Self> {
        let has = |text: &str| template.contains(text);
        let knows_tools = has("tools");
        if knows_tools && has("[TOOL_CALLS]") {
            // Without brackets the name follows the mark: a later format.
            (!has("[ARGS]")).then_some(Self::Mistral)
        } else if has("<|/tool|>") {
            Some(Self::Phi4Mini)
        } else if knows_tools && has("<|start_of_role|>") {
            Some(Self::Granite)
        } else if knows_tools && has("<tool_call>") {
            Some(Self::Hermes)
        } else if knows_tools && has("<|start_header_id|>") {
            Some(Self::Llama3)
        } else {
            (!knows_tools && has("<|im_start|>")).then_some(Self::Described)
        }
    }

    pub(crate) fn marks(self) -> Marks {
        let (open, close, is_list, arguments) = match self {
            Self::Hermes | Self::Described => ("<tool_call>", "</tool_call>", false, "arguments"),
            Self::Llama3 => ("", "", false, "parameters"),
            Self::Mistral => ("[TOOL_CALLS]", "", true, "arguments"),
            Self::Phi4Mini => ("<|tool_call|>", "<|/tool_call|>", true, "arguments"),
            Self::Granite => ("<|tool_call|>", "", true, "arguments"),
        };
        Marks { open, close, is_list, arguments }
    }

    /// Whether one answer may have several calls.
    #[must_use]
    pub fn is_parallel(self) -> bool {
        self != Self::Llama3
    }
}

/// Rewrites a conversation with tools as one without, for templates that know none.
pub(crate) fn described(prompt: &ChatPrompt) -> ChatPrompt {
    let mut messages: Vec<ChatMessage> = Vec::with_capacity(prompt.messages.len() + 1);
    for message in &prompt.messages {
        let last = messages.last_mut().filter(|last| is_results(last) && message.role == Role::Tool);
        match (last, message.role) {
            (Some(last), _) => {
                let content = last.content.get_or_insert_default();
                content.push('\n');
                content.push_str(&result_text(message));
            }
            (None, Role::Tool) => messages.push(ChatMessage::new(Role::User, result_text(message))),
            (None, Role::Assistant) if !message.tool_calls.is_empty() => {
                let texts = message.content.iter().filter(|text| !text.is_empty()).cloned();
                let all: Vec<String> = texts.chain(message.tool_calls.iter().map(call_text)).collect();
                messages.push(ChatMessage::new(Role::Assistant, all.join("\n")));
            }
            (None, _) => messages.push(message.clone()),
        }
    }
    if !prompt.tools.is_empty() {
        let description = description(&prompt.tools);
        match messages.first_mut().filter(|first| first.role == Role::System) {
            Some(first) => {
                let content = first.content.get_or_insert_default();
                content.push_str("\n\n");
                content.push_str(&description);
            }
            None => messages.insert(0, ChatMessage::new(Role::System, description)),
        }
    }
    ChatPrompt { messages, tools: Vec::new(), ..prompt.clone() }
}

const RESULT_OPEN: &str = "<tool_response>\n";

fn is_results(message: &ChatMessage) -> bool {
    message.role == Role::User
        && message.content.as_deref().is_some_and(|content| content.starts_with(RESULT_OPEN))
}

fn result_text(message: &ChatMessage) -> String {
    format!("{RESULT_OPEN}{}\n</tool_response>", message.content.as_deref().unwrap_or_default())
}

fn call_text(call: &ToolCall) -> String {
    let name = Json::from(call.name.as_str());
    format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {}}}\n</tool_call>", call.arguments)
}

fn description(tools: &[ToolSpec]) -> String {
    let mut text = String::from("You can call these functions:\n<tools>\n");
    for tool in tools {
        text.push_str(&tool.to_json().to_string());
        text.push('\n');
    }
    text.push_str(
        "</tools>\nTo call one, answer with its name and arguments as JSON between tags:\n<tool_call>\n\
         {\"name\": \"NAME\", \"arguments\": {}}\n</tool_call>",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_off_the_templates() {
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat");
        for (family, expected) in [
            ("smollm2", Some(ToolFormat::Described)),
            ("qwen2.5", Some(ToolFormat::Hermes)),
            ("qwen3", Some(ToolFormat::Hermes)),
            ("llama3", Some(ToolFormat::Llama3)),
            ("phi3", None),
            ("phi4-mini", Some(ToolFormat::Phi4Mini)),
            ("gemma3", None),
            ("mistral", Some(ToolFormat::Mistral)),
            ("granite", Some(ToolFormat::Granite)),
            ("smollm3", Some(ToolFormat::Hermes)),
            ("falcon3", Some(ToolFormat::Hermes)),
        ] {
            let template =
                std::fs::read_to_string(fixtures.join(format!("{family}.jinja"))).expect("a template");
            assert_eq!(ToolFormat::detect(&template), expected, "{family}");
        }
    }

    #[test]
    fn tools_calls_and_results_are_put_in_words() {
        let call =
            ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments: serde_json::json!({"a": 1}) };
        let prompt = ChatPrompt {
            messages: vec![
                ChatMessage::new(Role::User, "go"),
                ChatMessage {
                    content: None,
                    tool_calls: vec![call],
                    ..ChatMessage::new(Role::Assistant, "")
                },
                ChatMessage::new(Role::Tool, "one"),
                ChatMessage::new(Role::Tool, "two"),
            ],
            tools: vec![ToolSpec { name: "f".to_owned(), description: None, parameters: None }],
            ..ChatPrompt::default()
        };
        let out = described(&prompt);
        let texts: Vec<_> =
            out.messages.iter().map(|m| (m.role, m.content.as_deref().unwrap_or("-"))).collect();
        assert!(out.tools.is_empty() && texts.len() == 4);
        assert!(texts[0].0 == Role::System && texts[0].1.contains("{\"name\":\"f\"}"), "{:?}", texts[0]);
        assert_eq!(texts[2].1, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\":1}}\n</tool_call>");
        let results = "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>";
        assert_eq!(texts[3], (Role::User, results));
    }
}
