//! What the encoder reads of a text.
//!
//! Its time grows with the text, so a long one is read in three places: its beginning, its end, and, where neither asks
//! anything, the last question between them. Frames are taken off first, as for the features. Nothing else is cut:
//! how long the text is and what it is made of, the features see in full.

use std::borrow::Cow;

use super::wrappers;

/// Code points read at the beginning of a long text.
const HEAD: usize = 240;
/// Code points read at its end.
const TAIL: usize = 120;
/// Code points read of a question in between.
const QUESTION: usize = 90;
/// What stands for text that was left out.
const GAP: &str = " … ";
const ASKS: [char; 3] = ['?', '？', '؟'];

/// The part of a text that the encoder reads: at most `HEAD + TAIL + QUESTION` code points and two gaps.
#[must_use]
pub fn reading(text: &str) -> Cow<'_, str> {
    let text = wrappers::strip(text).trim();
    let Some((head, rest)) = split_front(text, HEAD) else { return Cow::Borrowed(text) };
    let Some((middle, tail)) = split_back(rest, TAIL) else { return Cow::Borrowed(text) };
    let asked = head.contains(ASKS) || tail.contains(ASKS);
    match question(middle).filter(|_| !asked) {
        Some(question) => Cow::Owned([head, question, tail].join(GAP)),
        None => Cow::Owned([head, tail].join(GAP)),
    }
}

/// The first `most` code points, ending between words where a space is near; `None` when that is everything.
fn split_front(text: &str, most: usize) -> Option<(&str, &str)> {
    let (end, _) = text.char_indices().nth(most)?;
    let near = text[..end].rfind(char::is_whitespace).filter(|&at| 2 * at > end);
    Some(text.split_at(near.unwrap_or(end)))
}

/// The last `most` code points likewise.
fn split_back(text: &str, most: usize) -> Option<(&str, &str)> {
    let (start, _) = text.char_indices().rev().nth(most.checked_sub(1)?).filter(|&(start, _)| start > 0)?;
    let near = text[start..].find(char::is_whitespace).filter(|&at| 2 * at < text.len() - start);
    Some(text.split_at(start + near.unwrap_or(0)))
}

/// The end of the last sentence that asks.
fn question(text: &str) -> Option<&str> {
    let mark = text.rfind(ASKS)?;
    let end = mark + text[mark..].chars().next().map_or(0, char::len_utf8);
    let sentence = text[..mark].rfind(['.', '!', '\n', '。']).map_or(0, |at| text.ceil_char_boundary(at + 1));
    let asked = text[sentence..end].trim();
    let start = asked.char_indices().rev().nth(QUESTION - 1).map_or(0, |(at, _)| at);
    Some(&asked[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_read_whole_without_its_frame() {
        assert_eq!(reading("Question: How far is the moon?\nAnswer:"), "How far is the moon?");
        assert_eq!(reading(""), "");
    }

    #[test]
    fn a_long_text_is_read_at_both_ends_and_where_it_asks() {
        let filler = "The report goes on and on about nothing in particular. ".repeat(40);
        let text =
            format!("Read this memo. {filler}Which of the two plans is cheaper? {filler}Sign it, Anna.");
        let read = reading(&text);
        assert!(read.starts_with("Read this memo.") && read.ends_with("Sign it, Anna."), "{read}");
        assert!(read.contains("Which of the two plans is cheaper?"), "{read}");
        assert!(read.chars().count() <= HEAD + TAIL + QUESTION + 2 * GAP.chars().count());
    }

    #[test]
    fn any_text_is_cut_between_characters() {
        for text in ["é".repeat(2000), "問題？".repeat(500), "a ".repeat(900), "?".repeat(900)] {
            assert!(reading(&text).chars().count() <= HEAD + TAIL + QUESTION + 2 * GAP.chars().count());
        }
    }
}
