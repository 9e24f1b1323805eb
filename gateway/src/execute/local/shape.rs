//! Answers of the embedded model in OpenAI's shapes.

use std::sync::Arc;

use bytes::Bytes;
use local_runtime::Token;
use policies::Usage;
use serde_json::{Value, json};

/// What every chunk of one answer has in common.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: Arc<str>,
    pub(super) logprobs: bool,
    pub(super) include_usage: bool,
}

impl Shape {
    fn head(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": &*self.model})
    }

    /// A chunk of one choice.
    pub(super) fn chunk(&self, index: u32, delta: &Value, finish: Option<&str>, logprobs: Value) -> Bytes {
        let mut chunk = self.head("chat.completion.chunk");
        let mut choice = json!({"index": index, "delta": delta, "finish_reason": finish});
        if self.logprobs {
            choice["logprobs"] = logprobs;
        }
        chunk["choices"] = json!([choice]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    /// The chunk that ends a stream whose client asked for usage.
    pub(super) fn usage_chunk(&self, usage: &Usage) -> Bytes {
        let mut chunk = self.head("chat.completion.chunk");
        chunk["choices"] = json!([]);
        chunk["usage"] = usage_object(usage);
        event(&chunk)
    }

    /// A whole answer.
    pub(super) fn whole(&self, choices: &[Choice], usage: &Usage) -> Bytes {
        let mut body = self.head("chat.completion");
        body["choices"] = (0_u32..).zip(choices).map(|(index, choice)| self.choice(index, choice)).collect();
        body["usage"] = usage_object(usage);
        Bytes::from(body.to_string())
    }

    fn choice(&self, index: u32, choice: &Choice) -> Value {
        let logprobs = if self.logprobs { logprobs(&choice.logprobs) } else { Value::Null };
        let mut message = json!({"role": "assistant", "content": choice.text, "refusal": null});
        if !choice.calls.is_empty() {
            message["tool_calls"] = choice.calls.iter().cloned().collect();
            if choice.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": choice.finish,
        })
    }
}

/// One choice of a whole answer.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) text: String,
    pub(super) calls: Vec<Value>,
    pub(super) logprobs: Vec<Value>,
    pub(super) finish: &'static str,
}

fn event(chunk: &Value) -> Bytes {
    Bytes::from(format!("data: {chunk}\n\n"))
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}

pub(super) fn logprobs(tokens: &[Value]) -> Value {
    json!({"content": tokens, "refusal": null})
}

pub(super) fn token_logprob(token: &Token) -> Value {
    let alternatives: Vec<Value> = token
        .top
        .iter()
        .map(|top| json!({"token": top.text, "logprob": top.logprob, "bytes": top.bytes}))
        .collect();
    json!({
        "token": String::from_utf8_lossy(&token.bytes), "logprob": token.logprob, "bytes": token.bytes, "top_logprobs": alternatives,
    })
}
