//! The data contract: one question a line, checked before anything is computed.
//!
//! A line is read into a raw twin that refuses unknown fields, then into an [`Item`] whose [`Task`] holds what its
//! kind needs and nothing else. A field that the kind has no use for is a fault, so that a typing mistake
//! cannot make a question easier. Left out: what an answer is worth, see `score`.

use std::collections::HashSet;
use std::io::BufRead;

use local_runtime::{ChatMessage, ChatPrompt, Role};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::score::numbers;

/// Alternatives of a multiple-choice question: the letters A to J.
pub(super) const CHOICES_MAX: usize = 10;
/// Longest line, so that a file of another kind cannot fill the memory.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Faults that are kept word for word; the rest are only counted.
const FAULTS_MAX: usize = 100;

/// A question.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) line: usize,
    pub(super) id: String,
    pub(super) category: String,
    pub(super) language: String,
    pub(super) prompt: ChatPrompt,
    pub(super) max_tokens: Option<u32>,
    pub(super) task: Task,
}

/// What a right answer is.
#[derive(Debug)]
pub(super) enum Task {
    /// One of these, after normalisation.
    Exact { accepted: Vec<String> },
    /// The last number of the answer.
    Number { value: f64, tolerance: f64 },
    /// The letter with the highest probability.
    Choice { choices: usize, answer: usize },
    /// JSON, valid against the schema, that says what `answer` says.
    Json { schema: Option<Box<jsonschema::Validator>>, answer: Option<Value> },
    /// Texts that must or must not be there, and how long it may be.
    Rules { contains_only: bool, rules: Rules },
    /// Python that passes these tests.
    Code { tests: String },
}

/// Constraints that can be checked without judgement.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) contains: Vec<Vec<String>>,
    pub(super) absent: Vec<String>,
    pub(super) pattern: Option<Regex>,
    pub(super) words_min: usize,
    pub(super) words_max: Option<usize>,
}

impl Task {
    /// The kind's name in the data and in reports.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Exact { .. } => "exact",
            Self::Number { .. } => "number",
            Self::Choice { .. } => "choice",
            Self::Json { .. } => "json",
            Self::Rules { contains_only: true, .. } => "contains",
            Self::Rules { contains_only: false, .. } => "rules",
            Self::Code { .. } => "code",
        }
    }
}

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Fault {
    pub(super) line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) error: String,
}

/// What a file held.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pub(super) items: Vec<Item>,
    pub(super) faults: Vec<Fault>,
    pub(super) faults_beyond: usize,
}

impl Questions {
    pub(super) fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        } else {
            self.faults_beyond += 1;
        }
    }
}

/// Reads every line; those that are no question become faults.
pub(super) fn read(mut input: impl BufRead) -> std::io::Result<Questions> {
    let mut questions = Questions::default();
    let mut seen = HashSet::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(line, &bytes) {
            Ok(item) if seen.insert(item.id.clone()) => questions.items.push(item),
            Ok(item) => {
                let error = String::from("id: another line has it already");
                questions.fault(Fault { line, id: Some(item.id), error });
            }
            Err(error) => questions.fault(Fault { line, id: id_of(&bytes), error }),
        }
    }
    Ok(questions)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    kind: Kind,
    prompt: Option<String>,
    messages: Option<Vec<RawMessage>>,
    category: Option<String>,
    language: Option<String>,
    max_tokens: Option<u32>,
    answer: Option<Value>,
    tolerance: Option<f64>,
    choices: Option<Vec<String>>,
    schema: Option<Value>,
    rules: Option<RawRules>,
    tests: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Exact,
    Number,
    Choice,
    Json,
    Contains,
    Rules,
    Code,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMessage {
    role: String,
    content: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawRules {
    contains: Vec<OneOrMore>,
    absent: Vec<String>,
    pattern: Option<String>,
    words_min: usize,
    words_max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

fn id_of(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

fn parse(line: usize, bytes: &[u8]) -> Result<Item, String> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    let mut raw: Raw = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if raw.id.is_empty() {
        return Err(String::from("id: is empty"));
    }
    if raw.max_tokens == Some(0) {
        return Err(String::from("max_tokens: must be at least 1"));
    }
    let mut turns = turns(raw.prompt.take(), raw.messages.take())?;
    let task = task(&mut raw)?;
    if let (Task::Choice { .. }, Some(choices), Some((_, last))) = (&task, &raw.choices, turns.last_mut()) {
        last.push_str(&options(choices));
    }
    let messages = turns.into_iter().map(|(role, content)| ChatMessage::new(role, content)).collect();
    let named = |name: Option<String>, default: &str| name.unwrap_or_else(|| default.to_owned());
    Ok(Item {
        line,
        id: raw.id,
        category: named(raw.category, "(none)"),
        language: named(raw.language, "(none)"),
        prompt: ChatPrompt::new(messages),
        max_tokens: raw.max_tokens,
        task,
    })
}

fn turns(prompt: Option<String>, messages: Option<Vec<RawMessage>>) -> Result<Vec<(Role, String)>, String> {
    let turns: Vec<_> = match (prompt, messages) {
        (Some(prompt), None) => vec![(Role::User, prompt)],
        (None, Some(messages)) => messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| {
                let role = [Role::System, Role::User, Role::Assistant]
                    .into_iter()
                    .find(|role| role.as_str() == message.role)
                    .ok_or_else(|| {
                        format!("messages[{index}].role: must be `system`, `user` or `assistant`")
                    })?;
                Ok((role, message.content))
            })
            .collect::<Result<_, String>>()?,
        _ => return Err(String::from("a line has either `prompt` or `messages`")),
    };
    match turns.last() {
        Some((Role::User, content)) if !content.trim().is_empty() => Ok(turns),
        _ => Err(String::from("the last message must be the user's and say something")),
    }
}

/// The alternatives as the model sees them.
fn options(choices: &[String]) -> String {
    let lines = choices.iter().zip('A'..).map(|(choice, letter)| format!("{letter}) {choice}\n"));
    format!("\n\n{}\nAnswer with the letter only.", lines.collect::<String>())
}

fn task(raw: &mut Raw) -> Result<Task, String> {
    refuse_strangers(raw)?;
    let missing = |field: &str| format!("{field}: is missing");
    let answer = raw.answer.take();
    Ok(match raw.kind {
        Kind::Exact => Task::Exact { accepted: strings("answer", answer.ok_or_else(|| missing("answer"))?)? },
        Kind::Number => number(answer.ok_or_else(|| missing("answer"))?, raw.tolerance)?,
        Kind::Choice => {
            choice(raw.choices.as_deref().unwrap_or_default(), &answer.ok_or_else(|| missing("answer"))?)?
        }
        Kind::Json => {
            let schema = raw.schema.take().map(|schema| {
                jsonschema::validator_for(&schema).map(Box::new).map_err(|error| format!("schema: {error}"))
            });
            Task::Json { schema: schema.transpose()?, answer }
        }
        Kind::Contains => {
            let Some(Value::Array(parts)) = answer else {
                return Err(String::from("answer: must be a list of texts, or of lists of alternatives"));
            };
            let contains = parts.into_iter().map(|part| strings("answer", part));
            let contains = contains.collect::<Result<_, String>>()?;
            Task::Rules { contains_only: true, rules: Rules { contains, ..Rules::default() } }
        }
        Kind::Rules => rules(raw.rules.take().ok_or_else(|| missing("rules"))?)?,
        Kind::Code => Task::Code {
            tests: raw.tests.take().filter(|tests| !tests.is_empty()).ok_or_else(|| missing("tests"))?,
        },
    })
}

/// Refuses fields that the kind has no use for.
fn refuse_strangers(raw: &Raw) -> Result<(), String> {
    use Kind::{Choice, Code, Contains, Exact, Json, Number, Rules};
    let fields: [(&str, bool, &[Kind]); 6] = [
        ("answer", raw.answer.is_some(), &[Exact, Number, Choice, Json, Contains]),
        ("tolerance", raw.tolerance.is_some(), &[Number]),
        ("choices", raw.choices.is_some(), &[Choice]),
        ("schema", raw.schema.is_some(), &[Json]),
        ("rules", raw.rules.is_some(), &[Rules]),
        ("tests", raw.tests.is_some(), &[Code]),
    ];
    match fields.iter().find(|(_, there, kinds)| *there && !kinds.contains(&raw.kind)) {
        Some((field, ..)) => Err(format!("{field}: has no meaning for this kind")),
        None => Ok(()),
    }
}

/// A text or a list of texts, none of them blank.
fn strings(field: &str, value: Value) -> Result<Vec<String>, String> {
    let texts = serde_json::from_value::<OneOrMore>(value).map(OneOrMore::into_vec).ok();
    match texts {
        Some(texts) if !texts.is_empty() && texts.iter().all(|text| !text.trim().is_empty()) => Ok(texts),
        _ => Err(format!("{field}: must be a text or a list of texts, none of them blank")),
    }
}

fn number(answer: Value, tolerance: Option<f64>) -> Result<Task, String> {
    let value = match &answer {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => numbers(text).last().copied(),
        _ => None,
    };
    let value = value.ok_or_else(|| String::from("answer: must be a number"))?;
    let tolerance = tolerance.unwrap_or(0.0);
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        return Err(String::from("tolerance: must be 0 or more"));
    }
    Ok(Task::Number { value, tolerance })
}

fn choice(choices: &[String], answer: &Value) -> Result<Task, String> {
    if !(2..=CHOICES_MAX).contains(&choices.len()) || choices.iter().any(|choice| choice.trim().is_empty()) {
        return Err(format!("choices: must be a list of 2 to {CHOICES_MAX} texts, none of them blank"));
    }
    let letters = ('A'..).take(choices.len());
    let answer = letters.enumerate().find(|(_, letter)| answer.as_str() == Some(letter.to_string().as_str()));
    let (answer, _) = answer
        .ok_or_else(|| String::from("answer: must be the letter of one of the choices, `A` for the first"))?;
    Ok(Task::Choice { choices: choices.len(), answer })
}

fn rules(raw: RawRules) -> Result<Task, String> {
    let pattern = raw.pattern.map(|pattern| Regex::new(&pattern)).transpose();
    let pattern = pattern.map_err(|error| format!("rules.pattern: {error}"))?;
    let contains: Vec<_> = raw.contains.into_iter().map(OneOrMore::into_vec).collect();
    let blank = |text: &String| text.trim().is_empty();
    if contains.iter().any(Vec::is_empty) || contains.iter().flatten().chain(&raw.absent).any(blank) {
        return Err(String::from("rules: a text that is looked for is blank"));
    }
    let says_nothing = contains.is_empty() && raw.absent.is_empty() && pattern.is_none();
    if says_nothing && raw.words_min == 0 && raw.words_max.is_none() {
        return Err(String::from("rules: say nothing, so every answer would be right"));
    }
    if raw.words_max.is_some_and(|most| most < raw.words_min.max(1)) {
        return Err(String::from("rules.words_max: must be at least 1 and at least words_min"));
    }
    let rules =
        Rules { contains, absent: raw.absent, pattern, words_min: raw.words_min, words_max: raw.words_max };
    Ok(Task::Rules { contains_only: false, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Item, String> {
        parse(1, line.as_bytes())
    }

    #[test]
    fn the_shipped_questions_are_all_valid() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../local-runtime/eval/questions.jsonl");
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let questions = read(file).unwrap();
        assert_eq!(questions.faults, []);
        assert!(questions.items.len() >= 200, "{}", questions.items.len());
        assert!(questions.items.iter().all(|item| item.category != "(none)" && item.language != "(none)"));
    }

    #[test]
    fn a_choice_is_shown_with_its_letters() {
        let item =
            one(r#"{"id":"a","kind":"choice","prompt":"Which?","choices":["x","y"],"answer":"B"}"#).unwrap();
        assert!(matches!(item.task, Task::Choice { choices: 2, answer: 1 }));
        let shown = item.prompt.messages[0].content.as_deref();
        assert!(shown.is_some_and(|text| text.contains("A) x\nB) y\n")), "{shown:?}");
    }

    #[test]
    fn faults_name_their_field() {
        for (line, part) in [
            (r#"{"id":"","kind":"exact","prompt":"p","answer":"x"}"#, "id:"),
            (r#"{"id":"a","kind":"exact","answer":"x"}"#, "`prompt` or `messages`"),
            (
                r#"{"id":"a","kind":"exact","prompt":"p","messages":[],"answer":"x"}"#,
                "`prompt` or `messages`",
            ),
            (r#"{"id":"a","kind":"exact","messages":[],"answer":"x"}"#, "last message"),
            (
                r#"{"id":"a","kind":"exact","messages":[{"role":"x","content":""}],"answer":"x"}"#,
                "messages[0].role",
            ),
            (r#"{"id":"a","kind":"exact","prompt":"p"}"#, "answer: is missing"),
            (r#"{"id":"a","kind":"exact","prompt":"p","answer":[]}"#, "answer:"),
            (r#"{"id":"a","kind":"exact","prompt":"p","answer":"x","schema":{}}"#, "schema: has no meaning"),
            (r#"{"id":"a","kind":"exact","prompt":"p","answer":"x","anwser":1}"#, "unknown field"),
            (r#"{"id":"a","kind":"number","prompt":"p","answer":"none"}"#, "answer:"),
            (r#"{"id":"a","kind":"number","prompt":"p","answer":1,"tolerance":-1}"#, "tolerance:"),
            (r#"{"id":"a","kind":"choice","prompt":"p","choices":["x"],"answer":"A"}"#, "choices:"),
            (r#"{"id":"a","kind":"choice","prompt":"p","choices":["x","y"],"answer":"C"}"#, "answer:"),
            (r#"{"id":"a","kind":"json","prompt":"p","schema":{"type":"nothing"}}"#, "schema:"),
            (r#"{"id":"a","kind":"rules","prompt":"p","rules":{}}"#, "rules:"),
            (r#"{"id":"a","kind":"rules","prompt":"p","rules":{"pattern":"("}}"#, "rules.pattern"),
            (
                r#"{"id":"a","kind":"rules","prompt":"p","rules":{"words_min":5,"words_max":4}}"#,
                "rules.words_max",
            ),
            (r#"{"id":"a","kind":"code","prompt":"p"}"#, "tests: is missing"),
            (r#"{"id":"a","kind":"exact","prompt":"p","answer":"x","max_tokens":0}"#, "max_tokens"),
            (r#"{"id":"a","kind":"poem","prompt":"p"}"#, "unknown variant"),
        ] {
            let error = one(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn bad_lines_are_reported_with_their_number_and_the_rest_is_read() {
        let text =
            b"{\"id\":\"a\",\"kind\":\"exact\",\"prompt\":\"p\",\"answer\":\"x\"}\n\nnonsense\n\xff\xfe\n\
            {\"id\":\"a\",\"kind\":\"exact\",\"prompt\":\"p\",\"answer\":\"x\"}\n\
            {\"id\":\"b\",\"kind\":\"exact\",\"prompt\":\"p\",\"answer\":\"x\"}";
        let questions = read(&text[..]).unwrap();
        assert_eq!(questions.items.len(), 2);
        assert_eq!(questions.faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(questions.faults[2].id.as_deref(), Some("a"));
    }
}
