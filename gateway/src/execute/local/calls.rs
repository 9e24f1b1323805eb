//! Tool calls of the embedded model, in OpenAI's shapes.
//!
//! A call that must be made is certain, since nothing but calls can be generated. Where the model may choose, what it writes is
//! read as it comes; with a form demanded besides (`response_format`), the answer has that form and calls nothing.

use local_runtime::{
    AnswerPart, ChatPrompt, Constraint, FinishReason, Grammar, Runtime, ToolCallParser, ToolSpec,
};
use serde_json::{Value, json};

use crate::http::chat::ChatRequest;
use crate::http::tools::ToolChoice;

/// A prompt's ids, and how its answer is bound and read.
pub(super) struct Prepared {
    pub(super) input: Vec<u32>,
    pub(super) constraint: Option<Constraint>,
    pub(super) reader: Reader,
}

/// Must the answer call something?
pub(super) fn is_forced(request: &ChatRequest) -> bool {
    request.tools > 0 && matches!(request.tool_options.choice, ToolChoice::Required | ToolChoice::Function(_))
}

/// Renders the prompt and compiles what the answer must be. Blocks for milliseconds.
pub(super) fn prepare(runtime: &Runtime, request: &ChatRequest) -> Result<Prepared, local_runtime::Error> {
    let format = runtime.info().tool_format;
    let mut prompt = ChatPrompt::new(request.local_messages(format.is_some()));
    let mut grammar = request.format.as_ref().map(|format| format.grammar.clone());
    let mut reader = Reader::default();
    if let Some(format) = format.filter(|_| request.tools > 0) {
        let tools = &request.tool_options;
        prompt.tools.clone_from(&tools.functions);
        let is_chosen = |tool: &&ToolSpec| match &tools.choice {
            ToolChoice::Function(name) => tool.name == *name,
            _ => true,
        };
        if is_forced(request) {
            let chosen: Vec<&ToolSpec> = tools.functions.iter().filter(is_chosen).collect();
            let parallel = tools.parallel && tools.choice == ToolChoice::Required;
            grammar = Some(Grammar::Lark(format.grammar(&chosen, parallel)?));
        }
        if grammar.is_none() || is_forced(request) {
            reader.parser = Some(ToolCallParser::new(format, &tools.functions, is_forced(request)));
            reader.only_first = !tools.parallel;
        }
    }
    let constraint = grammar.map(|grammar| runtime.constrain(&grammar)).transpose()?;
    Ok(Prepared { input: runtime.render(&prompt)?, constraint, reader })
}

/// Reads one answer as it is generated.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    /// None if the answer is text and nothing else.
    parser: Option<ToolCallParser>,
    /// Calls after the first are dropped.
    only_first: bool,
    calls: Vec<Value>,
}

impl Reader {
    /// Is the answer text, whatever it says?
    pub(super) const fn is_text(&self) -> bool {
        self.parser.is_none()
    }

    /// More of the answer, as streaming deltas.
    pub(super) fn push(&mut self, text: &str) -> Vec<Value> {
        let parts = match &mut self.parser {
            Some(parser) => parser.push(text),
            None if text.is_empty() => Vec::new(),
            None => vec![AnswerPart::Text(text.to_owned())],
        };
        parts.into_iter().filter_map(|part| self.delta(part)).collect()
    }

    /// The end of the answer, and what was still held back, as streaming deltas.
    pub(super) fn finish(&mut self, text: &str) -> Vec<Value> {
        let mut deltas = self.push(text);
        let rest = self.parser.as_mut().map(ToolCallParser::finish).unwrap_or_default();
        deltas.extend(rest.into_iter().filter_map(|part| self.delta(part)));
        deltas
    }

    /// Why the answer ended.
    pub(super) fn finish_word(&self, reason: FinishReason) -> &'static str {
        match reason {
            FinishReason::Length => "length",
            FinishReason::Stop if !self.calls.is_empty() => "tool_calls",
            // Cancelled ends in an error before this word is asked for.
            FinishReason::Stop | FinishReason::Cancelled => "stop",
        }
    }

    /// Text and calls of a whole answer, and why it ended.
    pub(super) fn whole(mut self, answer: &str, reason: FinishReason) -> (String, Vec<Value>, &'static str) {
        let deltas = self.finish(answer);
        let text = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
        let word = self.finish_word(reason);
        (text, self.calls, word)
    }

    fn delta(&mut self, part: AnswerPart) -> Option<Value> {
        match part {
            AnswerPart::Text(text) => Some(json!({"content": text})),
            AnswerPart::CallStart { index, .. } | AnswerPart::CallArguments { index, .. }
                if self.only_first && index > 0 =>
            {
                None
            }
            AnswerPart::CallStart { index, name } => {
                // Nine letters and digits: what Mistral's templates take back.
                let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(9).collect();
                let function = json!({"name": name, "arguments": ""});
                self.calls.push(json!({"id": id, "type": "function", "function": function}));
                Some(
                    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
                )
            }
            AnswerPart::CallArguments { index, fragment } => {
                if let Some(Value::String(arguments)) =
                    self.calls.get_mut(index).and_then(|call| call.pointer_mut("/function/arguments"))
                {
                    arguments.push_str(&fragment);
                }
                Some(json!({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}))
            }
            AnswerPart::CallEnd { .. } => None,
        }
    }
}
