//! Conversations of an OpenAI client with canaries in every field that the two endpoints have.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{Canary, DISGUISES, Disguise, KINDS};

/// Where a canary stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The system message.
    System,
    /// The last user message.
    User,
    /// A user message before the last.
    EarlierUser,
    /// An answer before the last message.
    Assistant,
    /// The result of a tool.
    ToolResult,
    /// What a tool was called with.
    ToolArguments,
    /// A tool's description.
    ToolDescription,
    /// A parameter's description.
    ParameterDescription,
    /// A parameter's allowed values.
    ParameterEnum,
    /// A parameter's default.
    ParameterDefault,
    /// A metadata value.
    Metadata,
    /// A metadata key.
    MetadataKey,
    /// The end user.
    EndUser,
    /// A stop sequence.
    Stop,
    /// The predicted answer.
    Prediction,
    /// A description in the schema of the answer.
    SchemaDescription,
    /// The title of the schema of the answer.
    SchemaTitle,
    /// A field that no protocol has.
    UnknownField,
    /// The key of such a field.
    UnknownKey,
    /// Deep within such a field.
    NestedUnknown,
    /// A field of a message that no protocol has.
    MessageExtra,
    /// The refusal of an earlier answer.
    Refusal,
    /// The URL of an image.
    ImageUrl,
    /// A data URL with text in it.
    DataUrl,
    /// The name of a file.
    FileName,
    /// The data of audio.
    Audio,
    /// A header that travels.
    Header,
    /// The model's name.
    Model,
    /// What is to be embedded.
    EmbeddingInput,
    /// One of several texts to be embedded.
    EmbeddingInputs,
    /// The end user of an embedding.
    EmbeddingUser,
}

/// Every place.
pub const PLACES: &[Place] = &[
    Place::System,
    Place::User,
    Place::EarlierUser,
    Place::Assistant,
    Place::ToolResult,
    Place::ToolArguments,
    Place::ToolDescription,
    Place::ParameterDescription,
    Place::ParameterEnum,
    Place::ParameterDefault,
    Place::Metadata,
    Place::MetadataKey,
    Place::EndUser,
    Place::Stop,
    Place::Prediction,
    Place::SchemaDescription,
    Place::SchemaTitle,
    Place::UnknownField,
    Place::UnknownKey,
    Place::NestedUnknown,
    Place::MessageExtra,
    Place::Refusal,
    Place::ImageUrl,
    Place::DataUrl,
    Place::FileName,
    Place::Audio,
    Place::Header,
    Place::Model,
    Place::EmbeddingInput,
    Place::EmbeddingInputs,
    Place::EmbeddingUser,
];

impl Place {
    const fn is_embedding(self) -> bool {
        matches!(self, Self::EmbeddingInput | Self::EmbeddingInputs | Self::EmbeddingUser)
    }

    /// Whether a phrase may be cut into two parts there.
    const fn has_parts(self) -> bool {
        matches!(self, Self::System | Self::User | Self::EarlierUser)
    }
}

/// A canary in a conversation.
#[derive(Debug, Clone)]
pub struct Planted {
    /// Its kind.
    pub kind: &'static str,
    /// Where it stands.
    pub place: Place,
    /// How it is written.
    pub disguise: Disguise,
    /// Every form that gives it away.
    pub forms: Vec<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Path.
    pub path: &'static str,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: String,
}

/// Requests of one session, in order.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The requests.
    pub turns: Vec<Turn>,
    /// What they carry.
    pub planted: Vec<Planted>,
}

const QUESTIONS: &[&str] = &[
    "What is the boiling point of water at sea level?",
    "Prove that there are infinitely many primes, and say where each step needs what.",
    "Translate \"good morning\" into German.",
    "Write a haiku about autumn rain.",
    "Compare quicksort with mergesort on nearly sorted data, step by step, with a proof of the bounds.",
];
const MODELS: &[&str] = &["auto", "auto", "gpt-4o", "open/gpt-4o", "trusted/gpt-4o", "house/gpt-4o"];

/// Parts that a value is cut into at most.
const PARTS_MAX: usize = 5;

impl Conversation {
    /// The conversation of a number: all of it follows from the generator's state.
    #[must_use]
    pub fn new(number: usize, rng: &mut Rng) -> Self {
        let place = PLACES[rng.usize(..PLACES.len())];
        let kind = KINDS[rng.usize(..KINDS.len())];
        let mut disguise = DISGUISES[rng.usize(..DISGUISES.len())];
        if disguise == Disguise::SplitParts && !place.has_parts()
            || matches!(place, Place::Header | Place::Model)
        {
            disguise = Disguise::Plain;
        }
        Self::with(number, place, kind, disguise, rng)
    }

    /// A conversation with one canary, for a given place and disguise.
    #[must_use]
    pub fn with(number: usize, place: Place, kind: &'static str, disguise: Disguise, rng: &mut Rng) -> Self {
        let canary = Canary::new(kind, rng);
        let phrase = disguise.apply(canary.before, &canary.value);
        let mut draft = Draft { place, phrase: &phrase, cuts: Vec::new(), rng };
        if disguise == Disguise::SplitParts && place.has_parts() {
            let (begin, parts) = (phrase.len() - canary.value.len(), draft.rng.usize(2..=PARTS_MAX));
            draft.cuts = (1..parts).map(|part| begin + canary.value.len() * part / parts).collect();
        }
        let mut turn = if place.is_embedding() { draft.embedding() } else { draft.chat() };
        let mut forms = vec![canary.value.clone(), phrase.clone()];
        let quoted = Value::from(phrase.as_str()).to_string();
        // Once in the request's JSON, and once more in arguments, which are JSON in a string of it.
        let twice = Value::from(&quoted[1..quoted.len() - 1]).to_string();
        forms.extend([quoted, twice].map(|form| form[1..form.len() - 1].to_owned()));
        if disguise == Disguise::JsonEscapes {
            let escaped: String =
                canary.value.chars().map(|sign| format!("\\u{:04x}", sign as u32)).collect();
            turn.body = turn.body.replace(&canary.value, &escaped);
            forms.push(escaped);
        }
        if !draft.cuts.is_empty() {
            let (mut start, mut end) = (None, 0);
            for piece in draft.pieces() {
                let at = end + turn.body[end..].find(piece).unwrap();
                start = start.or(Some(at));
                end = at + piece.len();
            }
            forms.push(turn.body[start.unwrap_or(end)..end].to_owned());
        }
        forms.sort_unstable();
        forms.dedup();
        let session = format!("session-{number}");
        let mut turns = vec![turn];
        turns[0].headers.push(("x-session-id", session.clone()));
        if rng.u8(..4) == 0 {
            let body = json!({"model": "auto", "max_tokens": 8, "stream": rng.bool(),
                "messages": [{"role": "user", "content": "ok, continue"}]});
            turns.push(Turn {
                path: "/v1/chat/completions",
                headers: vec![("x-session-id", session)],
                body: body.to_string(),
            });
        }
        Self { turns, planted: vec![Planted { kind, place, disguise, forms }] }
    }
}

/// A request in the making.
struct Draft<'a> {
    place: Place,
    phrase: &'a str,
    /// Where the phrase is cut.
    cuts: Vec<usize>,
    rng: &'a mut Rng,
}

impl Draft<'_> {
    fn at(&self, place: Place, otherwise: &str) -> String {
        if self.place == place { self.phrase.to_owned() } else { otherwise.to_owned() }
    }

    /// The phrase, cut.
    fn pieces(&self) -> Vec<&str> {
        let begins = std::iter::once(0).chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([self.phrase.len()]);
        begins.zip(ends).map(|(begin, end)| &self.phrase[begin..end]).collect()
    }

    /// A message's content: the phrase in it, in parts where that is asked for.
    fn content(&self, place: Place, otherwise: &str) -> Value {
        if self.place != place {
            return json!(otherwise);
        }
        if self.cuts.is_empty() {
            return json!(format!("{otherwise} {}", self.phrase));
        }
        self.pieces().iter().map(|piece| json!({"type": "text", "text": piece})).collect()
    }

    fn question(&mut self) -> &'static str {
        QUESTIONS[self.rng.usize(..QUESTIONS.len())]
    }

    fn model(&mut self) -> String {
        let model = MODELS[self.rng.usize(..MODELS.len())];
        self.at(Place::Model, model)
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", String::from("application/json"))];
        if self.place == Place::Header {
            headers.push(("openai-organization", self.phrase.to_owned()));
        }
        headers
    }

    fn chat(&mut self) -> Turn {
        let (first, last) = (self.question(), self.question());
        let mut body = json!({
            "model": self.model(), "max_tokens": 8, "stream": self.rng.bool(),
            "messages": [
                {"role": "system", "content": self.content(Place::System, "You are terse.")},
                {"role": "user", "content": self.content(Place::EarlierUser, first)},
                {"role": "assistant", "content": self.at(Place::Assistant, "Certainly.")},
                {"role": "user", "content": self.content(Place::User, last)},
            ],
        });
        let fields = body.as_object_mut().unwrap();
        self.tools(fields);
        self.options(fields);
        self.media(fields);
        Turn { path: "/v1/chat/completions", headers: self.headers(), body: body.to_string() }
    }

    fn tools(&mut self, fields: &mut Map<String, Value>) {
        let messages = fields["messages"].as_array_mut().unwrap();
        if matches!(self.place, Place::ToolResult | Place::ToolArguments) {
            let arguments = json!({"query": self.at(Place::ToolArguments, "weather")}).to_string();
            messages.insert(2, json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": arguments}}]}));
            let result = self.at(Place::ToolResult, "sunny");
            messages.insert(3, json!({"role": "tool", "tool_call_id": "call_1", "content": result}));
        }
        let declared = matches!(
            self.place,
            Place::ToolDescription
                | Place::ParameterDescription
                | Place::ParameterEnum
                | Place::ParameterDefault
        );
        if declared {
            let parameters = json!({"type": "object", "properties": {"query": {
                "type": "string",
                "description": self.at(Place::ParameterDescription, "what to look for"),
                "enum": [self.at(Place::ParameterEnum, "weather"), "news"],
                "default": self.at(Place::ParameterDefault, "weather"),
            }}});
            fields.insert(
                "tools".into(),
                json!([{"type": "function", "function": {
                "name": "search", "description": self.at(Place::ToolDescription, "looks things up"),
                "parameters": parameters}}]),
            );
        }
    }

    fn options(&mut self, fields: &mut Map<String, Value>) {
        let phrase = self.phrase;
        let mut put = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        let schema = |title: &str, description: &str| {
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {
                "type": "object", "title": title,
                "properties": {"text": {"type": "string", "description": description}}}}})
        };
        match self.place {
            Place::Metadata => put("metadata", json!({"origin": phrase})),
            Place::MetadataKey => put("metadata", json!({phrase: "yes"})),
            Place::EndUser => put("user", json!(phrase)),
            Place::Stop => put("stop", json!([phrase])),
            Place::Prediction => put("prediction", json!({"type": "content", "content": phrase})),
            Place::SchemaDescription => put("response_format", schema("Answer", phrase)),
            Place::SchemaTitle => put("response_format", schema(phrase, "the answer")),
            Place::UnknownField => put("x_trace", json!(phrase)),
            Place::UnknownKey => put(phrase, json!(true)),
            Place::NestedUnknown => put("x_trace", json!({"a": [{"b": {"c": [1, phrase]}}]})),
            Place::MessageExtra => fields["messages"][1]["x_note"] = json!(phrase),
            Place::Refusal => fields["messages"][2]["refusal"] = json!(phrase),
            _ => {}
        }
    }

    fn media(&mut self, fields: &mut Map<String, Value>) {
        let phrase = self.phrase;
        let part = match self.place {
            Place::ImageUrl => {
                json!({"type": "image_url", "image_url": {"url": format!("https://example.com/a.png?for={phrase}")}})
            }
            Place::DataUrl => {
                json!({"type": "image_url", "image_url": {"url": format!("data:text/plain,{phrase}")}})
            }
            Place::FileName => json!({"type": "file", "file": {"filename": phrase, "file_id": "file-1"}}),
            Place::Audio => json!({"type": "input_audio", "input_audio": {"data": phrase, "format": "wav"}}),
            _ => return,
        };
        let question = fields["messages"][3]["content"].clone();
        fields["messages"][3]["content"] = json!([{"type": "text", "text": question}, part]);
    }

    fn embedding(&mut self) -> Turn {
        let question = self.question();
        let input = match self.place {
            Place::EmbeddingInputs => json!([question, self.phrase, "last"]),
            place => json!(
                self.at(Place::EmbeddingInput, if place == Place::EmbeddingUser { question } else { "" })
            ),
        };
        let mut body = json!({"model": "text-embedding-3-small", "input": input});
        if self.place == Place::EmbeddingUser {
            body["user"] = json!(self.phrase);
        }
        Turn { path: "/v1/embeddings", headers: self.headers(), body: body.to_string() }
    }
}
