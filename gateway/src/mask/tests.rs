//! Values out, values back.

use std::sync::Arc;

use bytes::Bytes;
use policies::{
    Availability, CallerFacts, Capabilities, Clearance, EntityKind, Finding, FindingSource, Label, Location,
    MaskOffer, PolicySet, Profile, RawPrice, RequestFacts, Rung, Sensitivity, Situation, Target, Task,
};
use proptest::prelude::*;
use router_model::{Classifier, ClassifierConfig, Prompt};
use serde_json::{Value, json};

use super::passage::{Form, Passage};
use super::replace::{Replaced, Unmaskable, Wanted, replace};
use super::vault::{Conversation, Vaults};
use super::words::{REACH, Words};
use super::*;
use crate::http::texts::located;

const VALUES: &[(EntityKind, &str)] = &[
    (EntityKind::Person, "Ann Lee"),
    (EntityKind::Email, "ann@example.org"),
    (EntityKind::CreditCard, "4539 1488 0343 6467"),
    (EntityKind::Address, "1 \"Rue\"\nD\\E"),
    (EntityKind::Person, "陳小明"),
    (EntityKind::Phone, "+49 30 901820"),
];

fn policy(mask: &str) -> PolicySet {
    let text = format!(
        "name = 't'\n[labels]\nPERSON = 'confidential'\nEMAIL = 'confidential'\nCREDIT_CARD = 'confidential'\n\
         ADDRESS = 'confidential'\nPHONE = 'confidential'\nSECRET = 'confidential'\n[actions]\nconfidential = 'mask'\n\
         [mask]\n{mask}\n[[rule]]\nname = 'r'\nroute = 'cloud'\n"
    );
    PolicySet::parse("p", &text).unwrap()
}

fn target(id: &str, location: Location, clearance: Label) -> Arc<Target> {
    Arc::new(Target {
        id: id.into(),
        location,
        upstream: id.into(),
        model: id.into(),
        clearance: Clearance(clearance),
        capabilities: Capabilities::ALL,
        price: RawPrice { input: 0.0, output: 0.0, cached: None, cache_write: None }.check(),
        strength: 1.0,
        availability: Availability::Ready,
    })
}

fn profile(findings: Vec<Finding>) -> Profile {
    Profile {
        sensitivity: Sensitivity { findings, ..Sensitivity::default() },
        complexity: 0.5,
        confidence: 1.0,
        task: Task::OpenQa,
        language: "en".into(),
        input_tokens: 10,
        output_tokens: 0,
        rung: Rung::Features,
    }
}

fn offer(policy: &PolicySet, findings: &[Finding]) -> MaskOffer {
    let targets = [
        target("local", Location::Local, Label::Restricted),
        target("cloud", Location::Cloud, Label::Public),
    ];
    let (request, caller) = (RequestFacts::default(), CallerFacts::default());
    let situation = Situation { request: &request, caller: &caller, targets: &targets };
    policy
        .decide(&profile(findings.to_vec()), &situation)
        .mask
        .expect("the label is above the cloud's clearance")
}

/// Every place of the values in the texts of a body, as a detector would report it.
fn found(body: &[u8], values: &[(EntityKind, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (segment, (text, _)) in located(body).unwrap().iter().enumerate() {
        for (kind, value) in values {
            for (at, _) in text.text.match_indices(value) {
                let start = text.text[..at].chars().count();
                let end = start + value.chars().count();
                let (kind, source) = (*kind, FindingSource::Pattern);
                findings.push(Finding { segment, start, end, kind, subtype: None, score: 1.0, source });
            }
        }
    }
    findings
}

fn masked(
    body: &[u8],
    values: &[(EntityKind, &str)],
    mask: &str,
    conversation: &Mutex<Conversation>,
) -> Result<Replaced, Unmaskable> {
    let (policy, findings) = (policy(mask), found(body, values));
    let offer = offer(&policy, &findings);
    let wanted = Wanted { findings: &findings, offer: &offer, settings: policy.mask() };
    let texts = located(body).unwrap();
    replace(body, &texts, wanted, &mut conversation.lock().unwrap())
}

fn conversation() -> Arc<Mutex<Conversation>> {
    Vaults::default().conversation(&Identity::default(), "first")
}

fn words(conversation: &Mutex<Conversation>) -> Words {
    conversation.lock().unwrap().words()
}

/// The text after it passed in pieces, and how many characters were held back at most.
fn passed(words: &Words, form: Form, pieces: &[&str]) -> (String, usize, u64) {
    let (mut passage, mut out, mut held) = (Passage::new(form), String::new(), 0);
    for piece in pieces {
        passage.push(words, piece, &mut out);
        held = held.max(passage.held_chars());
    }
    passage.finish(words, &mut out);
    (out, held, passage.take_unrestored())
}

fn chat(content: &str) -> Vec<u8> {
    json!({"model": "auto", "messages": [{"role": "user", "content": content}]}).to_string().into_bytes()
}

fn content(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["messages"][0]["content"].as_str().unwrap().to_owned()
}

/// One value behind one word: the conversation and the word.
fn one(kind: EntityKind, value: &str) -> (Words, String) {
    let conversation = conversation();
    let replaced = masked(&chat(&format!("It is {value}.")), &[(kind, value)], "", &conversation).unwrap();
    let text = content(&replaced.body);
    let word = text.strip_prefix("It is ").unwrap().strip_suffix('.').unwrap().to_owned();
    assert!(!text.contains(value));
    (words(&conversation), word)
}

#[test]
fn only_the_tokens_that_hold_values_change() {
    let body = r#"{ "model":"auto" ,"messages":[{"role":"user","name":"ann@example.org","content":"Hi Ann Lee\u002c ok"},
      {"role":"user","content":"caf\u00e9 [4539 1488 0343 6467]"}],"metadata":{"ann@example.org":"x"},"seed":12345678}"#;
    let conversation = conversation();
    let replaced = masked(body.as_bytes(), VALUES, "", &conversation).unwrap();
    let text = String::from_utf8(replaced.body).unwrap();
    let words = conversation.lock().unwrap();
    let word = |index, is_name| words.word(index, is_name);
    // What is no part of the conversation is numbered first: the key of the metadata and the name are one value.
    let expected = body
        .replace("\"name\":\"ann@example.org\"", &format!("\"name\":\"{}\"", word(0, true)))
        .replace("\"Hi Ann Lee\\u002c ok\"", &format!("\"Hi {}, ok\"", word(1, false)))
        .replace("\"caf\\u00e9 [4539 1488 0343 6467]\"", &format!("\"café [{}]\"", word(2, false)))
        .replace("{\"ann@example.org\":\"x\"}", &format!("{{\"{}\":\"x\"}}", word(0, true)));
    let kinds: Vec<_> = replaced.counts.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(kinds, [("PERSON", 1), ("EMAIL", 2), ("CREDIT_CARD", 1)]);
    assert_eq!(text, expected);
}

#[test]
fn a_value_is_replaced_wherever_it_stands() {
    let body = chat("Ann Lee wrote. Then Ann Lee left; not Ann Leeds.");
    let conversation = conversation();
    let (policy, mut findings) = (policy(""), found(&body, VALUES));
    findings.truncate(1);
    let offer = offer(&policy, &findings);
    let wanted = Wanted { findings: &findings, offer: &offer, settings: policy.mask() };
    let texts = located(&body).unwrap();
    let replaced = replace(&body, &texts, wanted, &mut conversation.lock().unwrap()).unwrap();
    let word = conversation.lock().unwrap().word(0, false);
    assert_eq!(content(&replaced.body), format!("{word} wrote. Then {word} left; not Ann Leeds."));
}

#[test]
fn what_cannot_be_replaced_keeps_the_request() {
    let phone = [(EntityKind::Phone, "4930901820"), (EntityKind::Person, "Ann")];
    let cases = [
        (r#"{"messages":[{"role":"user","content":"Ann"}],"seed":4930901820}"#, Unmaskable::Number),
        (r#"{"model":"Ann","messages":[]}"#, Unmaskable::Name),
        (r#"{"tools":[{"type":"function","function":{"name":"ask Ann"}}]}"#, Unmaskable::Name),
        (r#"{"messages":[{"tool_calls":[{"function":{"name":"Ann"}}]}]}"#, Unmaskable::Name),
    ];
    for (body, why) in cases {
        assert_eq!(masked(body.as_bytes(), &phone, "", &conversation()).unwrap_err(), why, "{body}");
    }
    // A value that was found in one place may stand in the other unfound.
    let body = r#"{"model":"Anna Lee","messages":[{"role":"user","content":"Anna Lee"}]}"#;
    let (policy, findings) = (policy(""), found(body.as_bytes(), &[(EntityKind::Person, "Anna Lee")]));
    let later = &findings[1..];
    let offer = offer(&policy, later);
    let wanted = Wanted { findings: later, offer: &offer, settings: policy.mask() };
    let texts = located(body.as_bytes()).unwrap();
    let replaced = replace(body.as_bytes(), &texts, wanted, &mut conversation().lock().unwrap());
    assert_eq!(replaced.unwrap_err(), Unmaskable::Name);
}

#[test]
fn json_in_a_text_stays_json() {
    let arguments = json!({"to": "ann@example.org", "card": 4_539_148_803_436_467_u64, "note": "1 \"Rue\"\nD\\E", "n": 1});
    let body = json!({"messages": [{"role": "assistant", "tool_calls": [{"function":
        {"name": "send", "arguments": arguments.to_string()}}]}, {"role": "user", "content": "1 \"Rue\"\nD\\E"}]});
    let escaped = "1 \\\"Rue\\\"\\nD\\\\E";
    let values =
        [VALUES[1], (EntityKind::CreditCard, "4539148803436467"), VALUES[3], (EntityKind::Address, escaped)];
    let conversation = conversation();
    let replaced = masked(body.to_string().as_bytes(), &values, "", &conversation).unwrap();
    let sent: Value = serde_json::from_slice(&replaced.body).unwrap();
    let masked = sent.pointer("/messages/0/tool_calls/0/function/arguments").unwrap().as_str().unwrap();
    let inner: Value = serde_json::from_str(masked).unwrap();
    for field in ["to", "card", "note"] {
        assert!(inner[field].as_str().unwrap().starts_with('['), "{inner}");
    }
    assert_eq!(inner["note"], sent["messages"][1]["content"], "one value, whichever way it is escaped");
    let (restored, _, unrestored) = passed(&words(&conversation), Form::Json, &[masked]);
    let restored: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!((&restored["to"], &restored["note"], unrestored), (&arguments["to"], &arguments["note"], 0));
    assert_eq!(restored["card"], "4539148803436467");
}

#[test]
fn a_further_turn_changes_no_word() {
    let vaults = Vaults::default();
    let who = Identity::default();
    let first = chat("I am Ann Lee");
    let longer = json!({"model": "auto", "messages": [{"role": "user", "content": "I am Ann Lee"},
        {"role": "assistant", "content": "Hello Ann Lee"}, {"role": "user", "content": "write to ann@example.org"}]});
    let one = masked(&first, VALUES, "", &vaults.conversation(&who, "I am Ann Lee")).unwrap();
    let conversation = vaults.conversation(&who, "I am Ann Lee");
    let two = masked(longer.to_string().as_bytes(), VALUES, "", &conversation).unwrap();
    assert_eq!(content(&one.body), content(&two.body));
    let again: Value = serde_json::from_slice(&two.body).unwrap();
    assert_eq!(again["messages"][1]["content"], content(&one.body).replace("I am", "Hello"));
}

#[test]
fn words_that_models_alter_are_recognised() {
    let (words, word) = one(EntityKind::CreditCard, "4539 1488 0343 6467");
    let core = word.trim_matches(['[', ']']);
    let escaped = core.replace('_', "\\_");
    let value = "4539 1488 0343 6467";
    let cases = [
        (word.clone(), value.to_owned()),
        (word.to_lowercase(), value.to_owned()),
        (word.to_uppercase(), value.to_owned()),
        (core.to_owned(), value.to_owned()),
        (format!("\\[{escaped}\\]"), value.to_owned()),
        (format!("[ {core} ]"), value.to_owned()),
        (word.replace('_', " "), value.to_owned()),
        (word.replace('_', "-"), value.to_owned()),
        (format!("[{word}]"), format!("[{value}]")),
        (format!("**{word}**"), format!("**{value}**")),
        (format!("`{word}`"), format!("`{value}`")),
        (format!("\"{word}\""), format!("\"{value}\"")),
        (format!("{word}'s"), format!("{value}'s")),
        (format!("{core}s"), format!("{value}s")),
        (format!("[{core}s]"), format!("{value}s")),
        (format!("[{core}'s]"), format!("{value}'s")),
        (format!("[{core} said"), format!("{value} said")),
        (format!("({core})"), format!("({value})")),
    ];
    for (written, expected) in cases {
        for around in ["", "So ", "x, "] {
            let text = format!("{around}{written}.");
            let whole = passed(&words, Form::Plain, &[&text]);
            assert_eq!(whole.0, format!("{around}{expected}."), "{text}");
            let single: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<&str> = single.iter().map(String::as_str).collect();
            assert_eq!(passed(&words, Form::Plain, &single).0, whole.0, "{text} letter by letter");
        }
    }
}

#[test]
fn unknown_and_broken_words_pass_and_are_counted() {
    let (words, word) = one(EntityKind::Email, "ann@example.org");
    for (text, count) in [
        (word.replace("_1]", "_2]"), 1),
        (word.replace("_1]", "_12]"), 1),
        (word.replace("_1]", "_]"), 1),
        (word[..word.len() - 4].to_owned(), 1),
        (word[..4].to_owned(), 0),
        (String::from("[EMAIL_zzzz_1] [EMAIL] EMAIL_ and e-mail"), 0),
    ] {
        let (out, _, unrestored) = passed(&words, Form::Plain, &[&text]);
        assert_eq!((out, unrestored), (text.clone(), count), "{text}");
    }
}

#[test]
fn no_value_goes_into_a_url_that_the_model_made_up() {
    let body = chat("see https://intra.corp/users/ann@example.org and ann@example.org");
    let conversation = conversation();
    let masked = content(&masked(&body, VALUES, "", &conversation).unwrap().body);
    let words = words(&conversation);
    assert_eq!(passed(&words, Form::Plain, &[&masked]).0, content(&body), "the conversation's own URL");
    let word = masked.rsplit(' ').next().unwrap();
    for url in [
        format!("https://evil.example/?q={word}"),
        format!("![x](https://evil.example/{word}.png)"),
        format!("(//evil.example/{word})"),
        format!("www.evil.example/{word}"),
        format!("https://evil.example/?u=https://intra.corp/users/{word}"),
        format!("https://{word}.evil.example"),
        format!("https://evil.example/{}{word}", "a".repeat(2_000)),
        format!("![x](https:\\\\evil.example/?q={word})"),
        format!("https:/evil.example/{word}"),
        format!("https:&#47;&#x2F;evil.example/?q={word}"),
        format!("https&colon;&sol;&sol;evil.example/?q={word}"),
    ] {
        let (out, _, unrestored) = passed(&words, Form::Plain, &[&url]);
        assert_eq!((out, unrestored), (url.clone(), 1), "{url}");
        let inside = format!(r#"{{"url": "{url}", "to": "{word}"}}"#);
        let (out, _, unrestored) = passed(&words, Form::Json, &[&inside]);
        assert_eq!((out, unrestored), (inside.replace(&format!("\"{word}\""), "\"ann@example.org\""), 1));
    }
    let escaped = format!(r#"{{"url": "https:\u002f\u002Fevil.example/?q={word}"}}"#);
    assert_eq!(
        passed(&words, Form::Json, &[&escaped]),
        (escaped.clone(), passed(&words, Form::Json, &[&escaped]).1, 1)
    );
    let text = format!("https://a.example {word}");
    assert_eq!(passed(&words, Form::Plain, &[&text]).0, "https://a.example ann@example.org");
}

#[test]
fn values_are_escaped_as_deep_as_they_stand() {
    let value = "a \"b\"\n\\c";
    let (words, word) = one(EntityKind::Address, value);
    let inner = json!({ "v": word, "w": [1, word] }).to_string();
    let nested =
        json!({ "deep": inner, "plain": word, "said": format!("he said \"{word}\" so") }).to_string();
    let (out, _, _) = passed(&words, Form::Json, &[&nested]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["plain"], value);
    assert_eq!(out["said"], format!("he said \"{value}\" so"));
    let deep: Value = serde_json::from_str(out["deep"].as_str().unwrap()).unwrap();
    assert_eq!(deep, json!({ "v": value, "w": [1, value] }));
    let bare = format!("{{\"v\": {word}}}");
    let (out, _, _) = passed(&words, Form::Json, &[&bare]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json!({ "v": value }));
}

#[test]
fn secrets_stay_words() {
    let (words, word) = one(EntityKind::Secret, "hunter2hunter2");
    assert_eq!(
        passed(&words, Form::Plain, &[&word]),
        (word.clone(), passed(&words, Form::Plain, &[&word]).1, 0)
    );
}

#[test]
fn a_url_that_was_masked_takes_no_other_value_along() {
    let values = [(EntityKind::Url, "https://intra.corp/x"), VALUES[1]];
    let conversation = conversation();
    let policy = PolicySet::parse(
        "p",
        "name = 't'\n[labels]\nURL = 'confidential'\nEMAIL = 'confidential'\n[actions]\nconfidential = 'mask'\n[[rule]]\nname = \
         'r'\nroute = 'cloud'\n",
    )
    .unwrap();
    let body = chat("see https://intra.corp/x for ann@example.org");
    let findings = found(&body, &values);
    let offer = offer(&policy, &findings);
    let wanted = Wanted { findings: &findings, offer: &offer, settings: policy.mask() };
    let texts = located(&body).unwrap();
    let masked = content(&replace(&body, &texts, wanted, &mut conversation.lock().unwrap()).unwrap().body);
    let parts: Vec<&str> = masked.split(' ').collect();
    let words = words(&conversation);
    let (out, _, unrestored) = passed(&words, Form::Plain, &[&format!("{}?d={}", parts[1], parts[3])]);
    assert_eq!((out, unrestored), (format!("https://intra.corp/x?d={}", parts[3]), 1));
    assert_eq!(passed(&words, Form::Plain, &[&masked]).0, content(&body));
}

#[test]
fn a_secret_stays_one_whatever_else_it_was_taken_for() {
    for order in [[EntityKind::Username, EntityKind::Secret], [EntityKind::Secret, EntityKind::Username]] {
        let conversation = conversation();
        let mut conversation = conversation.lock().unwrap();
        for kind in order {
            let entry = conversation.entry(kind, "hunter2", &MaskSettings::default(), |_| true).unwrap();
            if kind == order[1] {
                assert_eq!(conversation.get(entry).restored(), None, "{order:?}");
            }
        }
        assert_eq!(conversation.values().count(), 0);
    }
}

#[test]
fn a_text_that_has_every_short_tag_gets_a_longer_one() {
    let every: String = "bcdfghjkmnpqrstvwxz"
        .chars()
        .flat_map(|a| "23456789".chars().map(move |b| format!("{a}{b}")))
        .collect::<Vec<_>>()
        .iter()
        .flat_map(|one| {
            "bcdfghjkmnpqrstvwxz"
                .chars()
                .flat_map(move |a| "23456789".chars().map(move |b| format!("{one}{a}{b} ")))
        })
        .collect();
    let text = format!("{every} ann@example.org");
    let conversation = conversation();
    let masked = content(&masked(&chat(&text), VALUES, "", &conversation).unwrap().body);
    assert!(!masked.contains("ann@"));
    assert_eq!(passed(&words(&conversation), Form::Plain, &[&masked]).0, text);
}

#[test]
fn surrogates_come_back_too() {
    let text = "Mail Ann Lee at ann@example.org or +49 30 901820, card 4539 1488 0343 6467.";
    let conversation = conversation();
    let masked = content(&masked(&chat(text), VALUES, "style = 'surrogate'", &conversation).unwrap().body);
    assert!(VALUES.iter().all(|(_, value)| !masked.contains(value)), "{masked}");
    assert!(masked.contains("@example.com") && masked.replace(' ', "").contains("55501"), "{masked}");
    let words = words(&conversation);
    let single: Vec<String> = masked.chars().map(String::from).collect();
    let single: Vec<&str> = single.iter().map(String::as_str).collect();
    assert_eq!(passed(&words, Form::Plain, &single).0, text);
    assert_eq!(passed(&words, Form::Plain, &[&masked.to_uppercase()]).0.matches("Ann Lee").count(), 1);
}

/// Sentences around a word that make a detector expect a value of its kind.
const AROUND: &[&str] = &[
    "Dear {}, thank you.",
    "My password: {}",
    "export API_KEY={}",
    "name: {}\nssn: {}\nphone: {}",
    "\"token\": \"{}\"",
    "card {} exp 12/29 cvv",
    "Patient {} was admitted.",
    "IBAN {} BIC",
    "mail {} or call {}",
    "Mr. {} lives at {}.",
    "id={}&user={}",
];

#[test]
fn a_detector_finds_nothing_in_the_words_alone() {
    let classifier = Classifier::new(ClassifierConfig::default()).unwrap();
    let mut found = Vec::new();
    for kind in EntityKind::ALL {
        let conversation = conversation();
        let entry =
            conversation.lock().unwrap().entry(*kind, "x-1", &MaskSettings::default(), |_| true).unwrap();
        for (is_name, around) in AROUND.iter().flat_map(|around| [(false, around), (true, around)]) {
            let word = conversation.lock().unwrap().word(entry, is_name);
            let text = around.replace("{}", &word);
            let prompt = Prompt::from_text(&text);
            let mut findings = classifier.classify(&prompt).sensitivity.findings;
            discount(&mut findings, &prompt, &conversation);
            found.extend(
                findings.into_iter().filter(|found| found.score >= 0.5).map(|found| (text.clone(), found)),
            );
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_value_split_over_two_parts_goes_whole() {
    let body = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "my card is 4539 1488"},
        {"type": "text", "text": "0343 6467, thanks"}]}]});
    let classifier = Classifier::new(ClassifierConfig::default()).unwrap();
    let body = Bytes::from(body.to_string());
    let inbound = Inbound::<crate::http::chat::ChatRequest>::parse(
        Bytes::from(
            body.to_vec().strip_prefix(b"{").map(|rest| [b"{\"model\":\"auto\",", rest].concat()).unwrap(),
        ),
        &HeaderMap::new(),
    )
    .unwrap();
    let findings = classifier.classify(&inbound.prompt().unwrap()).sensitivity.findings;
    let policy = policy("");
    let offer = offer(&policy, &findings);
    let wanted = Wanted { findings: &findings, offer: &offer, settings: policy.mask() };
    let body = inbound.request.body.clone();
    let texts = located(&body).unwrap();
    let replaced = replace(&body, &texts, wanted, &mut conversation().lock().unwrap()).unwrap();
    let text = String::from_utf8(replaced.body).unwrap();
    assert!(["4539", "1488", "0343", "6467"].iter().all(|part| !text.contains(part)), "{text}");
    assert!(text.contains("my card is [") && text.contains("], thanks"), "{text}");
}

/// A stream of one choice: each piece of content, and each piece of one call's arguments.
fn events(content: &[&str], arguments: &[&str], finish: bool) -> Vec<Bytes> {
    let event = |delta: Value, finish: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let mut events = vec![event(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(content.iter().map(|piece| event(json!({ "content": piece }), Value::Null)));
    events.extend(arguments.iter().map(|piece| {
        event(
            json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": piece}}]}),
            Value::Null,
        )
    }));
    if finish {
        events.push(event(json!({}), "stop".into()));
    }
    events
}

/// Everything that a client would put together from a stream: content and arguments.
fn put_together(bytes: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(bytes).unwrap();
    let (mut content, mut arguments) = (String::new(), String::new());
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        let text = |path: &str| chunk.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        content += &text("/choices/0/delta/content");
        arguments += &text("/choices/0/delta/tool_calls/0/function/arguments");
    }
    (content, arguments)
}

fn streamed(words: Words, events: Vec<Bytes>) -> (Vec<Bytes>, Vec<u8>) {
    let mut unmasking = Unmasking::new(Arc::new(words), false);
    let out = events.into_iter().map(|event| unmasking.event(event)).collect();
    (out, unmasking.end())
}

#[test]
fn events_change_only_where_a_text_does() {
    let (words, word) = one(EntityKind::Email, "ann@example.org");
    let (head, tail) = word.split_at(5);
    let given = events(&["Hello ", "to ", head, tail, " there"], &["{\"to\":\"", head, tail, "\"}"], true);
    let (out, rest) = streamed(words, given.clone());
    assert_eq!(out.len(), given.len());
    assert!(rest.is_empty());
    let changed: Vec<usize> = (0..given.len()).filter(|at| given[*at] != out[*at]).collect();
    assert_eq!(changed, [3, 4, 7, 8]);
    let expected =
        (String::from("Hello to ann@example.org there"), String::from("{\"to\":\"ann@example.org\"}"));
    assert_eq!(put_together(&out.concat()), expected);
    assert!(!String::from_utf8_lossy(&out.concat()).contains("k7"), "{out:?}");
}

#[test]
fn what_is_held_goes_out_before_the_end() {
    for finish in [true, false] {
        let (words, word) = one(EntityKind::Email, "ann@example.org");
        let half = &word[..word.len() - 1];
        let (mut out, rest) = streamed(words, events(&["a ", half], &[], finish));
        assert_eq!(rest.is_empty(), finish);
        out.push(Bytes::from(rest));
        let all = out.concat();
        assert_eq!(put_together(&all).0, "a ann@example.org");
        let text = String::from_utf8(all).unwrap();
        let (last, stop) = (text.rfind("ann@example.org").unwrap(), text.find("\"stop\""));
        assert!(stop.is_none_or(|stop| last < stop), "{text}");
        assert!(text.contains("\"id\":\"c\""));
    }
}

#[test]
fn an_event_in_several_lines_is_read_as_one() {
    let (words, word) = one(EntityKind::Email, "ann@example.org");
    let event = format!(
        "event: m\nid: 7\ndata: {{\"choices\":[{{\"delta\":\ndata: {{\"content\":\"{word}.\"}}}}]}}\n\n"
    );
    let (out, _) = streamed(words, vec![Bytes::from(event)]);
    let out = String::from_utf8(out.concat()).unwrap();
    assert!(out.starts_with("event: m\nid: 7\ndata: {") && out.ends_with("\n\n"), "{out}");
    assert_eq!(put_together(out.as_bytes()).0, "ann@example.org.");
}

#[test]
fn a_whole_answer_is_restored_in_every_text_and_nowhere_else() {
    let (words, word) = one(EntityKind::Email, "ann@example.org");
    let body = format!(
        r#"{{"id": "x", "choices": [{{"index": 0, "message": {{"role":"assistant", "content": "To {word}", "refusal": null,
        "reasoning_content": "{word}", "tool_calls": [{{"id": "{word}", "function": {{"name": "{word}",
        "arguments": "{{\"to\":\"{word}\"}}"}}}}]}}, "logprobs": {{"content": [{{"token": "{word}"}}]}},
        "finish_reason":"stop"}}], "usage": {{ "prompt_tokens" : 3 }} }}"#
    );
    let mut unmasking = Unmasking::new(Arc::new(words), false);
    let out = String::from_utf8(unmasking.whole(Bytes::from(body.clone())).to_vec()).unwrap();
    let expected = body
        .replace(&format!("To {word}"), "To ann@example.org")
        .replace(&format!("content\": \"{word}"), "content\": \"ann@example.org")
        .replace(&format!("\\\"{word}\\\""), "\\\"ann@example.org\\\"");
    assert_eq!(out, expected);
    for odd in [
        "",
        "no json",
        "[]",
        "{\"choices\":5}",
        "{\"choices\":[{}]}",
        "{\"choices\":[{\"message\":{\"content\":null}}]}",
    ] {
        assert_eq!(unmasking.whole(Bytes::from_static(odd.as_bytes())), odd.as_bytes());
    }
}

/// Pieces of text in which values stand.
fn any_text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        " ",
        "\n",
        "[",
        "]",
        "[[",
        "\\",
        "\\[",
        "_",
        "'s",
        "\"",
        "Person",
        "PERSON_",
        "e-mail ",
        "EMAIL",
        "1",
        "é",
        "漢字",
        "。",
        "https://a.b/c?d=",
        " https://x.org/",
        "www.",
        "//",
        "{\"a\":",
        "`",
        "(",
        ")",
        "credit card ",
        "A",
        "😀",
    ]);
    let piece = prop_oneof![
        odd.prop_map(str::to_owned),
        "[a-zA-Z ]{1,6}",
        prop::sample::select(VALUES.to_vec()).prop_map(|(_, value)| value.to_owned()),
    ];
    prop::collection::vec(piece, 1..16).prop_map(|pieces| pieces.concat())
}

/// A text cut into pieces at these places.
fn cut<'t>(text: &'t str, places: &[prop::sample::Index]) -> Vec<&'t str> {
    let mut ends: Vec<usize> =
        places.iter().map(|place| text.floor_char_boundary(place.index(text.len() + 1))).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// What was masked and comes back unaltered is what it was, however it is cut, and little is held back.
    #[test]
    fn masked_and_restored_is_the_same(
        text in any_text(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        prop_assume!(VALUES.iter().any(|(_, value)| text.contains(value)));
        let conversation = conversation();
        let body = chat(&text);
        let masked = content(&masked(&body, VALUES, "", &conversation).unwrap().body);
        for (_, value) in VALUES {
            prop_assert!(!masked.contains(value), "{masked}");
        }
        let words = words(&conversation);
        let (whole, _, unrestored) = passed(&words, Form::Plain, &[&masked]);
        prop_assert_eq!(&whole, &text);
        prop_assert_eq!(unrestored, 0);
        let (pieced, held, _) = passed(&words, Form::Plain, &cut(&masked, &places));
        prop_assert_eq!(pieced, whole);
        prop_assert!(held <= REACH && words.reach() == REACH);
    }

    /// However an answer is altered and cut, it comes out the same as uncut, and nothing is lost.
    #[test]
    fn cutting_never_changes_what_comes_out(
        text in any_text(), noise in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(
            vec!["[", "]", "\\", "_", " ", "1", "s", "\"", "x", "'"])), 0..6),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20), json in any::<bool>(),
        upper in any::<bool>(),
    ) {
        prop_assume!(VALUES.iter().any(|(_, value)| text.contains(value)));
        let conversation = conversation();
        let mut answer = content(&masked(&chat(&text), VALUES, "", &conversation).unwrap().body);
        for (place, sign) in noise {
            answer.insert_str(answer.floor_char_boundary(place.index(answer.len() + 1)), sign);
        }
        if upper {
            answer = answer.to_uppercase();
        }
        let words = words(&conversation);
        let form = if json { Form::Json } else { Form::Plain };
        let (whole, _, counted) = passed(&words, form, &[&answer]);
        let (pieced, held, counted_in_pieces) = passed(&words, form, &cut(&answer, &places));
        prop_assert_eq!(pieced, whole);
        prop_assert_eq!(counted, counted_in_pieces);
        prop_assert!(held <= REACH);
    }

    /// Streams of events put together to the same texts as the answer would whole. What begins like JSON within the arguments is
    /// taken for JSON, and values in it are escaped once more.
    #[test]
    fn streams_put_together_alike(
        text in any_text(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..12), finish in any::<bool>(),
    ) {
        prop_assume!(VALUES.iter().any(|(_, value)| text.contains(value)));
        prop_assume!(!text.trim_start().starts_with(['{', '[']));
        let conversation = conversation();
        let masked_text = content(&masked(&chat(&text), VALUES, "", &conversation).unwrap().body);
        let arguments = json!({ "q": masked_text }).to_string();
        let given = events(&cut(&masked_text, &places), &cut(&arguments, &places), finish);
        let (mut out, rest) = streamed(words(&conversation), given);
        out.push(Bytes::from(rest));
        let (content, arguments) = put_together(&out.concat());
        prop_assert_eq!(&content, &text);
        let arguments: Value = serde_json::from_str(&arguments).unwrap();
        prop_assert_eq!(arguments["q"].as_str().unwrap(), text);
    }
}
