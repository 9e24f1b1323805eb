//! Takes known frames off a question, so that the same question scores the same in any of them.
//!
//! Benchmarks and templates put the same question between `Question:` and `Answer:`, after an instruction on how
//! to answer, or behind worked examples. None of that makes it harder. Only the borders of a text are
//! touched, and a text that is nothing but frame stays as it is.

/// Beginnings that announce a question; ASCII letters match in either case.
const OPENINGS: &[&str] = &[
    "question:",
    "question :",
    "q:",
    "problem:",
    "prompt:",
    "task:",
    "input:",
    "user:",
    "human:",
    "query:",
    "### instruction:",
    "### question:",
    "### problem:",
    "### input:",
    "[inst]",
    "<s>",
    "**question:**",
    "**question**:",
    "# question",
    "please answer with the letter of the correct answer.",
    "please answer the following question:",
    "please answer the following question.",
    "answer the following question:",
    "answer the following question.",
    "answer the following multiple choice question.",
    "answer the following multiple-choice question.",
    "answer the multiple choice question below.",
    "choose the correct answer.",
    "choose the best answer.",
    "select the correct answer.",
    "solve the following problem:",
    "solve the following problem.",
    "solve this problem:",
    "solve the following math problem.",
    "solve the following math problem:",
    "here is a question:",
    "here is the question:",
    "please solve the following problem step by step.",
    "below is an instruction that describes a task.",
    "write a response that appropriately completes the request.",
    "please think step by step.",
    "let's think step by step.",
    "think step by step.",
    "you are a helpful assistant.",
    "i have a question:",
    "i have a question.",
    "answer this:",
    "answer this question:",
    "please help me with this:",
    "can you help me with this?",
    "please answer:",
    "问题：",
    "问题:",
    "题目：",
    "题目:",
    "请回答下列问题：",
    "frage:",
    "pregunta:",
    "domanda:",
    "pergunta:",
    "вопрос:",
    "質問：",
];

/// Endings that ask for the answer.
const CLOSINGS: &[&str] = &[
    "answer:",
    "answer :",
    "a:",
    "the answer is",
    "the answer is:",
    "your answer:",
    "response:",
    "### response:",
    "### answer:",
    "[/inst]",
    "**answer:**",
    "let's think step by step.",
    "let's think step by step",
    "think step by step.",
    "think step by step",
    "please think step by step.",
    "please reason step by step.",
    "explain your reasoning.",
    "show your work.",
    "assistant:",
    "output:",
    "答案：",
    "答案:",
    "回答：",
    "请选择正确答案。",
    "antwort:",
    "respuesta:",
    "réponse :",
    "réponse:",
    "risposta:",
    "ответ:",
    "回答:",
    "thanks!",
    "thank you!",
    "thanks.",
    "thank you.",
    "thanks",
    "please.",
];

/// First words of whole lines, at either border, that only say how to answer.
const INSTRUCTION_LINES: &[&str] = &[
    "print only a single choice",
    "answer with only",
    "answer only with",
    "respond with only",
    "respond only with",
    "only answer with",
    "reply with only",
    "reply only with",
    "give only the letter",
    "answer with the letter",
    "respond with the letter",
    "please answer with the letter",
    "the following are multiple choice questions",
    "the following is a multiple choice question",
    "the following is a multiple-choice question",
    "put your final answer",
    "please reason step by step",
    "your final answer should",
    "end your answer with",
    "the last line of your response",
    "choose one of the following",
    "please choose the correct",
    "format your answer",
    "answer the following question",
    "answer the question below",
    "read the following question",
    "please provide the answer",
    "state your final answer",
    "以下是",
    "请直接给出",
];

/// Openings of a question and of an answer in worked examples, at the start of a line.
const FEW_SHOT: &[(&str, &str)] =
    &[("question:", "answer:"), ("q:", "a:"), ("problem:", "solution:"), ("input:", "output:")];

/// Bound on how many frames are taken off one text.
const LAYERS_MAX: usize = 8;

/// The question inside its frames; a slice of `text`.
pub(super) fn strip(text: &str) -> &str {
    let whole = text.trim();
    let mut inner = last_example(whole);
    for _ in 0..LAYERS_MAX {
        let next = strip_end(strip_start(inner));
        if next.len() == inner.len() {
            break;
        }
        inner = next;
    }
    if inner.is_empty() { whole } else { inner }
}

fn strip_start(text: &str) -> &str {
    if let Some(opening) = OPENINGS.iter().find(|opening| starts_with(text, opening)) {
        return text[opening.len()..].trim_start();
    }
    match text.split_once('\n') {
        Some((line, rest)) if is_instruction(line) => rest.trim_start(),
        _ => text,
    }
}

fn strip_end(text: &str) -> &str {
    if let Some(closing) = CLOSINGS.iter().find(|closing| ends_with(text, closing)) {
        let rest = text[..text.len() - closing.len()].trim_end();
        // A word that merely ends like a frame ("visa:") is not one.
        if rest.is_empty()
            || text.len() - rest.len() > closing.len()
            || !rest.ends_with(char::is_alphanumeric)
        {
            return rest;
        }
        return text;
    }
    match text.rsplit_once('\n') {
        Some((rest, line)) if is_instruction(line) => rest.trim_end(),
        _ => text,
    }
}

fn is_instruction(line: &str) -> bool {
    let line = line.trim_start_matches(|c: char| !c.is_alphanumeric());
    INSTRUCTION_LINES.iter().any(|start| starts_with(line, start))
}

/// What follows the last worked example, where there is more than one question and at least one has an answer.
fn last_example(text: &str) -> &str {
    for (question, answer) in FEW_SHOT {
        let mut starts = 0_usize;
        let mut answered = false;
        let mut last = 0;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if starts_with(line, question) {
                starts += 1;
                last = at;
            } else if starts > 0 && starts_with(line, answer) && line.trim_end().len() > answer.len() {
                answered = true;
            }
            at += line.len();
        }
        if starts >= 2 && answered {
            return text[last..].trim();
        }
    }
    text
}

fn starts_with(text: &str, start: &str) -> bool {
    text.as_bytes().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

fn ends_with(text: &str, end: &str) -> bool {
    let from = text.len().wrapping_sub(end.len());
    text.as_bytes().get(from..).is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_off() {
        let bare = "How many legs has a spider?";
        for framed in [
            "Question: How many legs has a spider?\nAnswer:",
            "Q: How many legs has a spider?\nA:",
            "Please answer the following question: How many legs has a spider?\nThink step by step.",
            "The following are multiple choice questions (with answers) about biology.\n\nHow many legs has a spider?\nAnswer:",
            "Q: How many legs has a dog?\nA: four\n\nQ: How many legs has a spider?\nA:",
            "  How many legs has a spider?\nRespond with only the letter.\n",
        ] {
            assert_eq!(strip(framed), bare, "{framed:?}");
        }
    }

    #[test]
    fn content_stays() {
        for text in ["Answer:", "Explain the visa:", "thanks", "", "Q: x"] {
            assert!(!strip(text).is_empty() || text.is_empty());
        }
        assert_eq!(strip("Explain what is a visa:"), "Explain what is a visa:");
    }
}
