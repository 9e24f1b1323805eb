//! Tokenizer files that ask for too much, and templates in unusual places.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::super::TextCodec;
use crate::chat::{ChatMessage, ChatPrompt, Role, ToolSpec};
use crate::error::Error;

/// A byte-level tokenizer of a few letters.
fn tokenizer() -> Json {
    let vocabulary: Json = "abcdefghijklmnopqrstuvwxyz:0123456789<>ĠĊ"
        .chars()
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), Json::from(id)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "version": "1.0",
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "added_tokens": [{"id": 60, "content": "<e>", "special": true, "rstrip": true}],
    })
}

fn load(directory: &Path, tokenizer: &Json) -> Result<TextCodec, Error> {
    std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    TextCodec::load(directory)
}

#[test]
fn tokenizers_that_ask_for_too_much_are_refused() {
    let place = tempfile::tempdir().expect("a directory");
    load(place.path(), &tokenizer()).expect("the honest one loads");
    let splitting = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let cases: [(&str, Json); 7] = [
        ("/model/vocab/a", json!(4_000_000_000_u64)),
        ("/model/vocab/a", json!(-1)),
        ("/added_tokens/0/id", json!(1_u64 << 40)),
        ("/added_tokens/0/content", json!("x".repeat(1000))),
        ("/pre_tokenizer", splitting(&format!("a{}", "|a".repeat(20_000)))),
        ("/pre_tokenizer", splitting(&"(".repeat(2000))),
        ("/model/vocab", Json::Null),
    ];
    for (pointer, value) in cases {
        let mut hostile = tokenizer();
        *hostile.pointer_mut(pointer).expect("a member") = value;
        let error = load(place.path(), &hostile).expect_err(pointer);
        assert!(matches!(error, Error::CorruptModel { .. }), "{pointer}: {error}");
    }
}

/// The engine gives up after a million steps from each position, so that the time grows with the text.
#[test]
fn a_splitting_pattern_that_explodes_is_refused_or_harmless() {
    let place = tempfile::tempdir().expect("a directory");
    for pattern in ["(a|aa|a)+$", "(?:(?:a+)+)+b", "(?=(a+)+b)\\\\w|(\\\\s+)+x"] {
        let mut hostile = tokenizer();
        hostile["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let started = std::time::Instant::now();
        let outcome = load(place.path(), &hostile);
        assert!(started.elapsed().as_secs() < 60, "{pattern}: {:?}", started.elapsed());
        if let Ok(codec) = outcome {
            let _ = codec.encode(&"a".repeat(4000));
            assert!(started.elapsed().as_secs() < 60, "{pattern}: {:?}", started.elapsed());
        }
    }
}

#[test]
fn a_tokenizer_file_that_is_too_long_is_not_read() {
    let place = tempfile::tempdir().expect("a directory");
    let file = std::fs::File::create(place.path().join("tokenizer.json")).expect("created");
    file.set_len(1 << 40).expect("a sparse file");
    assert!(matches!(TextCodec::load(place.path()), Err(Error::CorruptModel { .. })));
}

fn text_of(codec: &TextCodec, prompt: &ChatPrompt) -> String {
    let ids = codec.render(prompt).expect("renders");
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| codec.piece(id)).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn the_template_for_tools_is_chosen_among_several() {
    let place = tempfile::tempdir().expect("a directory");
    let templates = json!([
        {"name": "default", "template": "plain{{ bos_token }}"},
        {"name": "tool_use", "template": "tools:{{ tools[0].function.name }}"},
        {"name": "rag", "template": "rag"},
    ]);
    let config = json!({"chat_template": templates, "bos_token": {"content": "bos"}});
    std::fs::write(place.path().join("tokenizer_config.json"), config.to_string()).expect("written");
    let codec = load(place.path(), &tokenizer()).expect("loads");
    let mut prompt = ChatPrompt::new(vec![ChatMessage::new(Role::User, "hi")]);
    assert_eq!(text_of(&codec, &prompt), "plainbos");
    prompt.tools.push(ToolSpec { name: "f".to_owned(), description: None, parameters: None });
    assert_eq!(text_of(&codec, &prompt), "tools:f");
    let more = place.path().join("additional_chat_templates");
    std::fs::create_dir(&more).expect("created");
    std::fs::write(place.path().join("chat_template.jinja"), "file").expect("written");
    std::fs::write(more.join("tool_use.jinja"), "tool file").expect("written");
    let codec = load(place.path(), &tokenizer()).expect("loads");
    assert_eq!(text_of(&codec, &prompt), "tool file");
    prompt.tools.clear();
    assert_eq!(text_of(&codec, &prompt), "file");
}

#[test]
fn white_space_behind_a_token_that_takes_it_is_gone() {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("chat_template.jinja"), "a<e>{{ messages[0].content }}<e>")
        .expect("written");
    let codec = load(place.path(), &tokenizer()).expect("loads");
    let ids =
        codec.render(&ChatPrompt::new(vec![ChatMessage::new(Role::User, " \n b <e>")])).expect("renders");
    assert_eq!(ids.iter().filter(|&&id| id == 60).count(), 2);
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| codec.piece(id)).copied().collect();
    assert_eq!(String::from_utf8_lossy(&bytes), "ab <e>");
}

#[test]
fn prompts_outside_their_bounds_are_refused() {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("chat_template.jinja"), "a").expect("written");
    let codec = load(place.path(), &tokenizer()).expect("loads");
    let hello = ChatPrompt::new(vec![ChatMessage::new(Role::User, "hi")]);
    let with = |name: &str, value: Json| {
        let variables = [(name.to_owned(), value)].into_iter().collect();
        ChatPrompt { variables, ..hello.clone() }
    };
    let many = (0..40).map(|index| (format!("v{index}"), Json::Null)).collect();
    for (prompt, word) in [
        (ChatPrompt::new(Vec::new()), "no messages"),
        (ChatPrompt { assistant_prefix: true, ..hello.clone() }, "assistant"),
        (with("messages", Json::Null), "`messages` is reserved"),
        (with("bos_token", Json::from("x")), "`bos_token` is reserved"),
        (with("v", Json::from("x".repeat(20_000))), "bytes"),
        (with("%check", Json::Null), "no name"),
        (ChatPrompt { variables: many, ..hello.clone() }, "40 template variables"),
    ] {
        let error = codec.render(&prompt).expect_err(word);
        assert!(
            matches!(&error, Error::InvalidRequest { reason } if reason.contains(word)),
            "{word}: {error}"
        );
    }
}
