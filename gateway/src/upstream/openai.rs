//! What the gateway reads out of an OpenAI-protocol answer.

use std::borrow::Cow;

use policies::Usage;
use serde::Deserialize;

/// Usage as the protocol writes it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct WireUsage {
    /// Input, cached included.
    #[serde(default)]
    prompt_tokens: Option<u64>,
    /// Output, reasoning included.
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    /// In the gateway's terms; `None` when neither input nor output was reported.
    #[must_use]
    pub fn read(&self) -> Option<Usage> {
        if self.prompt_tokens.is_none() && self.completion_tokens.is_none() {
            return None;
        }
        let prompt = self.prompt_tokens_details.unwrap_or_default();
        let completion = self.completion_tokens_details.unwrap_or_default();
        Some(Usage {
            input_tokens: self.prompt_tokens.unwrap_or(0),
            cached_tokens: prompt.cached_tokens.unwrap_or(0),
            cache_write_tokens: prompt.cache_write_tokens.unwrap_or(0),
            output_tokens: self.completion_tokens.unwrap_or(0),
            reasoning_tokens: completion.reasoning_tokens.unwrap_or(0),
        })
    }
}

/// A whole answer, as far as accounting needs it.
#[derive(Debug, Default, Deserialize)]
pub struct WireAnswer {
    /// Usage.
    #[serde(default)]
    pub usage: Option<WireUsage>,
    /// Model that really answered.
    #[serde(default)]
    pub model: Option<String>,
}

/// One chunk of a stream, as far as accounting needs it.
#[derive(Debug, Default, Deserialize)]
pub struct WireChunk<'a> {
    /// Usage, on the last chunk or, from some servers, on every one (cumulative).
    #[serde(default)]
    pub usage: Option<WireUsage>,
    /// Choices.
    #[serde(default, borrow)]
    pub choices: Vec<WireChoice<'a>>,
    /// An error in mid-stream.
    #[serde(default)]
    pub error: Option<serde::de::IgnoredAny>,
}

/// One choice of a chunk.
#[derive(Debug, Default, Deserialize)]
pub struct WireChoice<'a> {
    /// What is new.
    #[serde(default, borrow)]
    pub delta: WireDelta<'a>,
}

/// What is new in a choice.
#[derive(Debug, Default, Deserialize)]
pub struct WireDelta<'a> {
    /// Text.
    #[serde(default, borrow)]
    pub content: Option<Cow<'a, str>>,
    /// Reasoning text of some servers.
    #[serde(default, borrow)]
    pub reasoning_content: Option<Cow<'a, str>>,
    /// Parts of tool calls.
    #[serde(default, borrow)]
    pub tool_calls: Option<Vec<WireToolCall<'a>>>,
}

/// Part of a tool call.
#[derive(Debug, Default, Deserialize)]
pub struct WireToolCall<'a> {
    /// Function part.
    #[serde(default, borrow)]
    pub function: WireFunction<'a>,
}

/// Part of a function call.
#[derive(Debug, Default, Deserialize)]
pub struct WireFunction<'a> {
    /// Part of the arguments.
    #[serde(default, borrow)]
    pub arguments: Option<Cow<'a, str>>,
}

impl WireChunk<'_> {
    /// Is this the extra chunk that carries only usage?
    #[must_use]
    pub fn is_usage_only(&self) -> bool {
        self.usage.is_some() && self.choices.is_empty()
    }

    /// Characters that the model wrote in this chunk.
    #[must_use]
    pub fn written_chars(&self) -> usize {
        let deltas = self.choices.iter().map(|choice| &choice.delta);
        deltas
            .map(|delta| {
                let calls = delta.tool_calls.iter().flatten();
                let arguments = calls.filter_map(|call| call.function.arguments.as_deref());
                let texts = [delta.content.as_deref(), delta.reasoning_content.as_deref()];
                texts.into_iter().flatten().chain(arguments).map(|text| text.chars().count()).sum::<usize>()
            })
            .sum()
    }
}

/// Tokens estimated from characters: four characters a token, as providers suggest for English text.
#[must_use]
pub fn estimate_tokens(chars: usize) -> u64 {
    chars.div_ceil(4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_with_its_details() {
        let answer: WireAnswer = serde_json::from_str(
            r#"{"model":"gpt-4o-2024-08-06","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,
            "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":3}}}"#,
        )
        .unwrap();
        let usage = answer.usage.unwrap().read().unwrap();
        assert_eq!((usage.input_tokens, usage.cached_tokens), (10, 4));
        assert_eq!((usage.output_tokens, usage.reasoning_tokens), (5, 3));
    }

    #[test]
    fn usage_may_stand_on_a_chunk_with_choices() {
        let chunk: WireChunk<'_> = serde_json::from_str(
            r#"{"choices":[{"delta":{"content":"h\u00e9","tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},
            "finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        )
        .unwrap();
        assert!(!chunk.is_usage_only());
        assert_eq!((chunk.written_chars(), chunk.usage.unwrap().read().unwrap().output_tokens), (4, 2));
        let other: WireChunk<'_> = serde_json::from_str(r#"{"choices":[],"usage":null}"#).unwrap();
        assert!(!other.is_usage_only());
    }
}
