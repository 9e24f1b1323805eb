//! `POST /v1/embeddings` as it comes in: checked, and forwarded as it came but for the model's name.
//!
//! Vectors of different models cannot be compared, so a name means one model and no other. `auto` is the embedded encoder;
//! a request for an upstream's model is never answered by the encoder instead, however sensitive it is: it is
//! refused. Token ids say nothing without the vocabulary that they come from. They cannot be classified, which is
//! doubt, and the encoder refuses them, since they would become vectors of some other text.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use policies::{Doubt, Plan, Refusal, RequestFacts, Target, Wants};
use router_model::{Prompt, Role};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat::{model_name, not_json, optional, whole};
use crate::ask::Ask;
use crate::error::Error;
use crate::execute::{self, Attempt, Call};
use crate::gateway::Gateway;
use crate::portfolio::Portfolio;
use crate::upstream::Endpoint;

/// Inputs of one request at most (OpenAI's limit).
pub const INPUTS_MAX: usize = 2048;
/// Values of a vector at most; no model has more.
const DIMENSIONS_MAX: u64 = 65_536;

/// A checked request.
#[derive(Debug, Clone)]
pub struct EmbeddingRequest {
    body: Bytes,
    /// Model name.
    pub model: String,
    model_at: Range<usize>,
    /// The texts; empty when token ids were sent.
    pub inputs: Vec<String>,
    /// Token ids were sent.
    pub has_ids: bool,
    /// Vectors are wanted as base64 of little-endian 32-bit floats.
    pub base64: bool,
    /// Values to keep of each vector.
    pub dimensions: Option<usize>,
    user: String,
}

#[derive(Deserialize)]
struct RawEmbeddings<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding_format: Option<&'a RawValue>,
    #[serde(borrow)]
    dimensions: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

/// What `input` held.
enum Inputs {
    Texts(Vec<String>),
    Ids,
}

impl EmbeddingRequest {
    fn read(body: Bytes) -> Result<Self, Error> {
        let raw: RawEmbeddings<'_> =
            serde_json::from_slice(&body).map_err(|error| not_json(&body, &error))?;
        let model = model_name(raw.model)?;
        let at = |raw: &RawValue| {
            let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
            start..start + raw.get().len()
        };
        let (inputs, has_ids) = match inputs(raw.input)? {
            Inputs::Texts(texts) => (texts, false),
            Inputs::Ids => (Vec::new(), true),
        };
        let dimensions = whole("dimensions", raw.dimensions, 1, DIMENSIONS_MAX)?;
        let format: Option<String> = optional("encoding_format", raw.encoding_format)?;
        let base64 = match format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                return Err(Error::invalid("encoding_format", "`encoding_format` must be float or base64"));
            }
        };
        Ok(Self {
            model_at: raw.model.map(at).unwrap_or_default(),
            model,
            inputs,
            has_ids,
            base64,
            dimensions: dimensions.and_then(|n| usize::try_from(n).ok()),
            user: optional("user", raw.user)?.unwrap_or_default(),
            body,
        })
    }
}

fn inputs(raw: Option<&RawValue>) -> Result<Inputs, Error> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Err(Error::invalid("input", "`input` is required"));
    };
    if raw.get().starts_with('"') {
        return Ok(Inputs::Texts(vec![text("input", raw)?]));
    }
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| {
        Error::invalid("input", "`input` must be a string, an array of strings, or token ids")
    })?;
    let Some(first) = list.first() else {
        return Err(Error::invalid("input", "`input` must have at least one text"));
    };
    match first.get().as_bytes().first() {
        Some(b'"') => {
            check_count(list.len())?;
            let texts =
                list.into_iter().enumerate().map(|(index, raw)| text(&format!("input[{index}]"), raw));
            Ok(Inputs::Texts(texts.collect::<Result<_, _>>()?))
        }
        Some(b'[') => {
            check_count(list.len())?;
            list.into_iter().enumerate().try_for_each(|(index, raw)| ids(&format!("input[{index}]"), raw))?;
            Ok(Inputs::Ids)
        }
        _ => ids("input", raw).map(|()| Inputs::Ids),
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if count > INPUTS_MAX {
        let message = format!("`input` has {count} entries, at most {INPUTS_MAX} are taken in one request");
        return Err(Error::invalid("input", message));
    }
    Ok(())
}

fn text(field: &str, raw: &RawValue) -> Result<String, Error> {
    let text: String = serde_json::from_str(raw.get())
        .map_err(|_| Error::invalid(field, format!("`{field}` must be a string like the others")))?;
    if text.is_empty() {
        return Err(Error::invalid(field, format!("`{field}` must not be empty")));
    }
    Ok(text)
}

fn ids(field: &str, raw: &RawValue) -> Result<(), Error> {
    let ids: Vec<u32> = serde_json::from_str(raw.get()).map_err(|_| {
        Error::invalid(field, format!("`{field}` must be a string, or token ids: whole numbers from 0"))
    })?;
    if ids.is_empty() {
        return Err(Error::invalid(field, format!("`{field}` must have at least one token id")));
    }
    Ok(())
}

impl Ask for EmbeddingRequest {
    const OPERATION: &'static str = "embeddings";
    const ENDPOINT: Endpoint = Endpoint::Embeddings;
    const ROUTED: bool = false;
    // The vectors would be those of the words, and mean something else.
    const MASKABLE: bool = false;

    fn parse(body: Bytes) -> Result<Self, Error> {
        Self::read(body)
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
        let doubt = if self.has_ids { vec![Doubt::UnknownPart] } else { Vec::new() };
        Prompt { segments: Vec::with_capacity(self.inputs.len() + 4), turns: 1, doubt, ..Prompt::default() }
    }

    fn role_of(&self, path: &str) -> Role {
        if path == "input" || path.starts_with("input[") { Role::User } else { Role::Other }
    }

    fn check(&self, portfolio: &Portfolio) -> Result<(), Error> {
        let local =
            ["auto", "local/default"].contains(&self.model.as_str()) || self.model.starts_with("local/");
        if local && portfolio.encoder.is_none() {
            let text = format!(
                "`{}` is the embedded embedding model, and none is configured: set local.embedding.model, or name an \
                 upstream's model",
                self.model
            );
            return Err(Error::Refused { refusal: Refusal::UnknownModel, text });
        }
        let (wants, targets) = self.targets(portfolio);
        let at_home = |target: &Arc<Target>| match &wants {
            Wants::Forced(id) => target.id == *id && target.location == policies::Location::Local,
            Wants::Any | Wants::Named => false,
        };
        if self.has_ids && targets.iter().any(at_home) {
            let message = "`input` has token ids, which mean nothing without the vocabulary that they come from; send \
                           the embedded model text";
            return Err(Error::invalid("input", message));
        }
        Ok(())
    }

    fn targets(&self, portfolio: &Portfolio) -> (Wants, Vec<Arc<Target>>) {
        portfolio.embedding_targets(&self.model)
    }

    fn facts(&self, wants: Wants) -> RequestFacts {
        RequestFacts { model: self.model.clone(), wants, turns: 1, ..RequestFacts::default() }
    }

    /// Only against the model that the client named: what `auto` would have used elsewhere is nobody's guess.
    fn has_baseline(&self) -> bool {
        self.model != "auto" && !self.model.starts_with("local/")
    }

    fn output_tokens_max(&self) -> Option<u32> {
        Some(0)
    }

    fn choices(&self) -> u64 {
        1
    }

    fn shows_usage(&self) -> bool {
        true
    }

    fn outgoing(&self, model: &str) -> Bytes {
        if self.model == model {
            return self.body.clone();
        }
        let name = serde_json::Value::from(model).to_string();
        let (before, after) = (&self.body[..self.model_at.start], &self.body[self.model_at.end..]);
        Bytes::from([before, name.as_bytes(), after].concat())
    }

    async fn answer_locally(
        gateway: &Gateway,
        call: &Call<'_, Self>,
        plan: &Plan,
        target: &Target,
        _request_id: &Arc<str>,
    ) -> Result<Attempt, Error> {
        execute::embed_locally(gateway, call, plan, target).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<EmbeddingRequest, Error> {
        EmbeddingRequest::read(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn inputs_are_read_in_all_four_forms() {
        let request = parse(r#"{"model":"m","input":"a\u0062c"}"#).unwrap();
        assert_eq!((request.inputs.as_slice(), request.has_ids), (&[String::from("abc")][..], false));
        let request =
            parse(r#"{"model":"m","input":["a","b"],"encoding_format":"base64","dimensions":8}"#).unwrap();
        assert_eq!((request.inputs.len(), request.base64, request.dimensions), (2, true, Some(8)));
        for body in [r#"{"model":"m","input":[1,2]}"#, r#"{"model":"m","input":[[1],[2,3]]}"#] {
            let request = parse(body).unwrap();
            assert!(request.has_ids && request.inputs.is_empty());
            assert_eq!(request.prompt().doubt, [Doubt::UnknownPart], "ids cannot be read");
        }
    }

    #[test]
    fn faults_name_the_field() {
        let many = format!(r#"{{"model":"m","input":[{}"x"]}}"#, r#""x","#.repeat(INPUTS_MAX));
        for (body, param) in [
            ("", None),
            ("[]", None),
            (r#"{"input":"x"}"#, Some("model")),
            (r#"{"model":"m"}"#, Some("input")),
            (r#"{"model":"m","input":null}"#, Some("input")),
            (r#"{"model":"m","input":5}"#, Some("input")),
            (r#"{"model":"m","input":{}}"#, Some("input")),
            (r#"{"model":"m","input":[]}"#, Some("input")),
            (r#"{"model":"m","input":""}"#, Some("input")),
            (r#"{"model":"m","input":["a",""]}"#, Some("input[1]")),
            (r#"{"model":"m","input":["a",7]}"#, Some("input[1]")),
            (r#"{"model":"m","input":[7,"a"]}"#, Some("input")),
            (r#"{"model":"m","input":[-1]}"#, Some("input")),
            (r#"{"model":"m","input":[[1],[]]}"#, Some("input[1]")),
            (r#"{"model":"m","input":"x","encoding_format":"int8"}"#, Some("encoding_format")),
            (r#"{"model":"m","input":"x","encoding_format":5}"#, Some("encoding_format")),
            (r#"{"model":"m","input":"x","dimensions":0}"#, Some("dimensions")),
            (r#"{"model":"m","input":"x","dimensions":"8"}"#, Some("dimensions")),
            (r#"{"model":"m","input":"x","user":5}"#, Some("user")),
            (many.as_str(), Some("input")),
        ] {
            match parse(body).unwrap_err() {
                Error::Invalid { param: found, .. } => assert_eq!(found.as_deref(), param, "{body:.80}"),
                other => panic!("{body:.80}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_the_models_name_changes_on_the_way_out() {
        let body = r#"{ "x":[1, 2.50],"input" : ["a"],"model":"up/m" }"#;
        let request = parse(body).unwrap();
        assert_eq!(request.outgoing("up/m"), body.as_bytes());
        assert_eq!(request.outgoing("m"), body.replace("up/m", "m").as_bytes());
    }
}
