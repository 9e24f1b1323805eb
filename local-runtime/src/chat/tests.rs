//! Calls in answers, cut into pieces in every way.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn tools() -> Vec<ToolSpec> {
    ["get_weather", "now"]
        .map(|name| ToolSpec { name: name.to_owned(), description: None, parameters: None })
        .to_vec()
}

/// The whole of an answer: its text, and its calls with their arguments.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whole {
    text: String,
    calls: Vec<(String, String)>,
    ended: usize,
}

impl Whole {
    fn take(&mut self, parts: Vec<AnswerPart>) {
        for part in parts {
            match part {
                AnswerPart::Text(text) => self.text.push_str(&text),
                AnswerPart::CallStart { index, name } => {
                    assert_eq!(index, self.calls.len());
                    self.calls.push((name, String::new()));
                }
                AnswerPart::CallArguments { index, fragment } => self.calls[index].1.push_str(&fragment),
                AnswerPart::CallEnd { index } => {
                    assert_eq!(index + 1, self.calls.len());
                    self.ended += 1;
                }
            }
        }
    }
}

fn parse(format: ToolFormat, is_constrained: bool, pieces: &[&str]) -> Whole {
    let mut parser = ToolCallParser::new(format, &tools(), is_constrained);
    let mut whole = Whole::default();
    for piece in pieces {
        whole.take(parser.push(piece));
    }
    whole.take(parser.finish());
    whole
}

/// Cut behind every character.
fn in_letters(text: &str) -> Vec<&str> {
    text.char_indices().map(|(at, letter)| &text[at..at + letter.len_utf8()]).collect()
}

fn check(format: ToolFormat, answer: &str, text: &str, calls: &[(&str, &str)]) {
    for pieces in [vec![answer], in_letters(answer)] {
        let whole = parse(format, false, &pieces);
        let expected: Vec<_> = calls.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect();
        assert_eq!((whole.text.as_str(), &whole.calls), (text, &expected), "{format:?}: {answer}");
        assert_eq!(whole.ended, calls.len());
    }
}

#[test]
fn every_familys_calls_are_found() {
    use ToolFormat::{Described, Granite, Hermes, Llama3, Mistral, Phi4Mini};
    let call = r#"{"name": "get_weather", "arguments": {"town": "Z}ü\"rich"}}"#;
    let town = ("get_weather", r#"{"town": "Z}ü\"rich"}"#);
    for format in [Hermes, Described] {
        check(format, &format!("<tool_call>\n{call}\n</tool_call>"), "", &[town]);
        check(
            format,
            &format!(
                "Let me see.\n<tool_call>{call}</tool_call>\n<tool_call>\n{{\"name\":\"now\"}}\n</tool_call>"
            ),
            "Let me see.\n",
            &[town, ("now", "{}")],
        );
        check(format, &format!("<tool_call>[{call}, {call}]</tool_call> Done."), " Done.", &[town, town]);
    }
    check(Mistral, &format!("[TOOL_CALLS][{call}, {call}]"), "", &[town, town]);
    check(
        Mistral,
        &format!("[TOOL_CALLS] [{}]", call.replace("}}", "}, \"id\": \"123456789\"}")),
        "",
        &[town],
    );
    check(Phi4Mini, &format!("<|tool_call|>[{call}]<|/tool_call|>"), "", &[town]);
    check(Granite, &format!("<|tool_call|>[{call}]"), "", &[town]);
    let bare = call.replace("arguments", "parameters");
    check(Llama3, &bare, "", &[town]);
    check(Llama3, &format!("<|python_tag|>{bare}; {bare}"), "", &[town, town]);
    check(Llama3, &format!(" \n{bare}"), "", &[town]);
    check(
        Hermes,
        "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
        "",
        &[("now", "{\"a\": 1}")],
    );
}

#[test]
fn what_is_no_call_stays_text() {
    use ToolFormat::{Hermes, Llama3, Mistral};
    for answer in [
        "Hello <tool_c and <tool_call without end",
        "<tool_call>not json</tool_call>",
        "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"a\": }}</tool_call>",
        "<tool_call>{\"name\": \"undeclared\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": 5}</tool_call> <",
        "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"cut\": \"off",
        "<tool_call>[]</tool_call>",
        "<tool_call><tool_call>",
        "",
    ] {
        check(Hermes, answer, answer, &[]);
    }
    for answer in [
        "{\"a\": 1}",
        "{ not json",
        "Sure: {\"name\": \"now\", \"parameters\": {}}",
        "{\"name\": \"x\"} {",
        "<|pyth",
    ] {
        check(Llama3, answer, answer, &[]);
    }
    check(Mistral, "[TOOL_CALLS] none [1]", "[TOOL_CALLS] none [1]", &[]);
    // A mark inside what was taken back is still looked at.
    let answer = "<tool_call>oops <tool_call>{\"name\": \"now\"}</tool_call>";
    check(Hermes, answer, "<tool_call>oops ", &[("now", "{}")]);
}

#[test]
fn text_is_held_back_only_while_it_may_be_a_mark() {
    let mut parser = ToolCallParser::new(ToolFormat::Hermes, &tools(), false);
    let mut text = |piece: &str| {
        let mut whole = Whole::default();
        whole.take(parser.push(piece));
        whole.text
    };
    assert_eq!(text("a <"), "a ");
    assert_eq!(text("tool"), "");
    assert_eq!(text("box> <b"), "<toolbox> <b");
    assert_eq!(text("<tool_call"), "");
    assert_eq!(text("s>"), "<tool_calls>");
}

#[test]
fn constrained_arguments_come_piece_by_piece() {
    let mut parser = ToolCallParser::new(ToolFormat::Hermes, &tools(), true);
    parser.push("<tool_call>\n{\"name\": \"get_weather\", ");
    let parts = parser.push("\"arguments\": {\"town\": \"Ber");
    let fragment = "{\"town\": \"Ber".to_owned();
    assert_eq!(
        parts,
        [
            AnswerPart::CallStart { index: 0, name: "get_weather".to_owned() },
            AnswerPart::CallArguments { index: 0, fragment }
        ]
    );
    assert_eq!(
        parser.push("n\"}}\n</tool_"),
        [
            AnswerPart::CallArguments { index: 0, fragment: "n\"}".to_owned() },
            AnswerPart::CallEnd { index: 0 }
        ]
    );
    assert_eq!((parser.push("call>"), parser.finish()), (Vec::new(), Vec::new()));
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["get_weather", "now"])
}

fn arguments() -> impl Strategy<Value = Json> {
    let text = "[ -~<>é\\n]{0,12}".prop_map(Json::from);
    let leaf =
        prop_oneof![text, any::<i32>().prop_map(Json::from), Just(json!(null)), Just(json!("</tool_call>{"))];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map("[a-z\"}]{1,4}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
        ]
    });
    proptest::collection::btree_map("[a-z]{1,4}", value, 0..4)
        .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into())
}

fn written(format: ToolFormat, calls: &[(&str, Json)]) -> String {
    let marks = format.marks();
    let key = marks.arguments;
    let call = |(name, arguments): &(&str, Json)| format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}");
    let calls: Vec<String> = calls.iter().map(call).collect();
    match (marks.is_list, marks.open.is_empty()) {
        (true, _) => format!("{}[{}]{}", marks.open, calls.join(", "), marks.close),
        (false, true) => calls.concat(),
        (false, false) => calls
            .iter()
            .map(|call| format!("{}\n{call}\n{}", marks.open, marks.close))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn format() -> impl Strategy<Value = ToolFormat> {
    use ToolFormat::{Described, Granite, Hermes, Llama3, Mistral, Phi4Mini};
    proptest::sample::select(vec![Hermes, Described, Llama3, Mistral, Phi4Mini, Granite])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever the answer is cut, and whether or not it was constrained, the calls are the same.
    #[test]
    fn calls_survive_any_cut(
        format in format(),
        calls in proptest::collection::vec((name(), arguments()), 1..4),
        cuts in proptest::collection::vec(0_usize..400, 0..12),
        is_constrained in any::<bool>(),
    ) {
        let calls = if format.is_parallel() { calls } else { calls[..1].to_vec() };
        let answer = written(format, &calls);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|&at| at < answer.len() && answer.is_char_boundary(at)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
        let whole = parse(format, is_constrained, &pieces);
        let expected: Vec<_> = calls.iter().map(|(name, json)| ((*name).to_owned(), json.to_string())).collect();
        prop_assert_eq!(whole, Whole { text: String::new(), ended: expected.len(), calls: expected });
    }

    /// Nothing panics, and text without a mark comes through whole.
    #[test]
    fn any_text_is_survived(format in format(), pieces in proptest::collection::vec(
        prop_oneof![
            proptest::sample::select(vec!["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|tool_call|>", "{\"name\": \"now\"",
                ", \"arguments\": {", "}", "]", "[", "\"", "\\", "<|python_tag|>", "é"]).prop_map(str::to_owned),
            "[a-z <\\[{]{0,6}",
        ], 0..12), is_constrained in any::<bool>()) {
        let texts: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let whole = parse(format, is_constrained, &texts);
        if !is_constrained && whole.calls.is_empty() {
            prop_assert_eq!(whole.text, texts.concat());
        }
    }
}

#[test]
fn grammars_name_the_tools_and_their_schemas() {
    let mut tools = tools();
    tools[0].parameters = Some(json!({"type": "object", "properties": {"town": {"type": "string"}}}));
    let all: Vec<&ToolSpec> = tools.iter().collect();
    let grammar = ToolFormat::Hermes.grammar(&all, true).expect("a grammar");
    let expected = r#"start: marked ("\n" marked){0,15}
marked: "<tool_call>\n" call "\n</tool_call>"
call: call0 | call1
call0: "{\"name\": \"get_weather\", \"arguments\": " arguments0 "}"
arguments0: %json {"type":"object","properties":{"town":{"type":"string"}}}
call1: "{\"name\": \"now\", \"arguments\": " arguments1 "}"
arguments1: %json {"type":"object"}
"#;
    assert_eq!(grammar, expected);
    let one = ToolFormat::Mistral.grammar(&all[1..], false).expect("a grammar");
    assert!(one.starts_with("start: \"[TOOL_CALLS][\" call \"]\"\n"), "{one}");
    let bare = ToolFormat::Llama3.grammar(&all[1..], true).expect("a grammar");
    assert!(
        bare.starts_with(
            "start: call\ncall: call0\ncall0: \"{\\\"name\\\": \\\"now\\\", \\\"parameters\\\": \""
        ),
        "{bare}"
    );
    assert!(matches!(ToolFormat::Hermes.grammar(&[], true), Err(Error::InvalidRequest { .. })));
    tools[0].parameters = Some(json!("text"));
    assert!(matches!(ToolFormat::Hermes.grammar(&[&tools[0]], true), Err(Error::InvalidRequest { .. })));
}
