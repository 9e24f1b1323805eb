//! What the pipeline needs to know of a request, whatever its protocol asks for.
//!
//! The stages are written once, over [`Ask`]; chat completions and embeddings differ in how a body is read, which targets a
//! model name can mean, and how the embedded model answers. Nothing here touches labels or clearances: those are the
//! stages' own.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use policies::{Plan, RequestFacts, Target, Wants};
use router_model::{Prompt, Role};

use crate::error::Error;
use crate::execute::{self, Attempt, Call};
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::portfolio::Portfolio;
use crate::upstream::Endpoint;

/// A checked request of one kind.
pub trait Ask: std::fmt::Debug + Send + Sync + Sized + 'static {
    /// The operation, as OpenTelemetry's `gen_ai.operation.name` has it.
    const OPERATION: &'static str;
    /// Where an upstream takes it.
    const ENDPOINT: Endpoint;
    /// Does it matter how hard it is? Then it counts for drift, and is decided more strictly while traffic has drifted.
    const ROUTED: bool;
    /// Does the answer to a request in which values were replaced answer the request?
    const MASKABLE: bool;

    /// Reads and checks a body.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    fn parse(body: Bytes) -> Result<Self, Error>;

    /// The client's bytes.
    fn body(&self) -> &Bytes;

    /// The model's name as the client wrote it.
    fn model(&self) -> &str;

    /// End user; empty when none is named.
    fn user(&self) -> &str;

    /// Replaces the end user, where the name itself is sensitive.
    fn withhold_user(&mut self);

    /// What the classifier is told besides the texts.
    fn prompt(&self) -> Prompt<'static>;

    /// Who says the text at a path of the body.
    fn role_of(&self, path: &str) -> Role;

    /// Checks what only the portfolio can tell.
    ///
    /// # Errors
    /// [`Error::Refused`] for a model that there is not, [`Error::Invalid`] for what its target cannot read.
    fn check(&self, _portfolio: &Portfolio) -> Result<(), Error> {
        Ok(())
    }

    /// What the model's name means, and every target that the request could go to.
    fn targets(&self, portfolio: &Portfolio) -> (Wants, Vec<Arc<Target>>);

    /// What is asked for, as the policy sees it.
    fn facts(&self, wants: Wants) -> RequestFacts;

    /// Is what a strong chat model would have cost a measure of what was saved?
    fn has_baseline(&self) -> bool;

    /// Limit on the output tokens of one choice, if there is one.
    fn output_tokens_max(&self) -> Option<u32>;

    /// Choices.
    fn choices(&self) -> u64;

    /// The client wants to see the usage of a stream.
    fn shows_usage(&self) -> bool;

    /// The body for an upstream that knows the model by this name.
    fn outgoing(&self, model: &str) -> Bytes;

    /// The same question for a second answer that is compared with the first, where such answers can be compared.
    fn for_shadow(&self) -> Option<ChatRequest> {
        None
    }

    /// Asks the embedded model.
    fn answer_locally(
        gateway: &Gateway,
        call: &Call<'_, Self>,
        plan: &Plan,
        target: &Target,
        request_id: &Arc<str>,
    ) -> impl Future<Output = Result<Attempt, Error>> + Send;
}

impl Ask for ChatRequest {
    const OPERATION: &'static str = "chat";
    const ENDPOINT: Endpoint = Endpoint::Chat;
    const ROUTED: bool = true;
    const MASKABLE: bool = true;

    fn parse(body: Bytes) -> Result<Self, Error> {
        Self::parse(body)
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn user(&self) -> &str {
        &self.user
    }

    fn withhold_user(&mut self) {
        self.user = String::from("(withheld)");
    }

    fn prompt(&self) -> Prompt<'static> {
        Prompt {
            segments: Vec::with_capacity(self.messages.len() + 4),
            turns: self.turns(),
            tools: self.tools,
            wants_schema: self.format.is_some(),
            doubt: self.doubt.clone(),
            max_output_tokens: self.output_tokens_max,
        }
    }

    /// The role of the message that a path (`messages[3].content[0].text`) lies in. Only what is said counts as the
    /// message's own text; names, ids and arguments beside it are other text.
    fn role_of(&self, path: &str) -> Role {
        let index = path
            .strip_prefix("messages[")
            .and_then(|rest| rest.split_once(']'))
            .filter(|(_, field)| field.starts_with(".content"))
            .and_then(|(index, _)| index.parse::<usize>().ok());
        index.and_then(|index| self.messages.get(index)).map_or(Role::Other, |message| message.role)
    }

    fn targets(&self, portfolio: &Portfolio) -> (Wants, Vec<Arc<Target>>) {
        portfolio.targets(&self.model)
    }

    fn facts(&self, wants: Wants) -> RequestFacts {
        RequestFacts {
            model: self.model.clone(),
            wants,
            stream: self.stream,
            tools: self.tools > 0,
            schema: self.format.is_some(),
            images: self.has_media() || self.exotic,
            choices: self.choices > 1,
            output_tokens_max: self.output_tokens_max,
            turns: self.turns(),
        }
    }

    fn has_baseline(&self) -> bool {
        true
    }

    fn output_tokens_max(&self) -> Option<u32> {
        self.output_tokens_max
    }

    fn choices(&self) -> u64 {
        u64::from(self.choices)
    }

    fn shows_usage(&self) -> bool {
        self.include_usage
    }

    fn outgoing(&self, model: &str) -> Bytes {
        self.outgoing(model)
    }

    fn for_shadow(&self) -> Option<ChatRequest> {
        self.alone()
    }

    async fn answer_locally(
        gateway: &Gateway,
        call: &Call<'_, Self>,
        plan: &Plan,
        target: &Target,
        request_id: &Arc<str>,
    ) -> Result<Attempt, Error> {
        execute::chat_locally(gateway, call, plan, target, request_id).await
    }
}
