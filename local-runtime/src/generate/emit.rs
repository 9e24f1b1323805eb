//! From token bytes to text that may be shown.
//!
//! Two things are held back: bytes until their character is whole, and text that may turn out to begin a stop
//! sequence. What is returned is final, and all of it together with [`TextEmitter::finish`] is the answer.

/// Holds back what is not certain yet.
#[derive(Debug)]
pub(crate) struct TextEmitter {
    stops: Vec<String>,
    bytes: Vec<u8>,
    text: String,
}

/// What a token made certain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) text: String,
    /// The stop sequence that was completed; nothing may follow.
    pub(crate) stop: Option<String>,
}

impl TextEmitter {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, bytes: Vec::new(), text: String::new() }
    }

    /// Takes a token's bytes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Emitted {
        self.bytes.extend_from_slice(piece);
        let whole = whole_prefix(&self.bytes);
        self.text.push_str(&String::from_utf8_lossy(&self.bytes[..whole]));
        self.bytes.drain(..whole);
        self.release()
    }

    /// What is still held back when the answer ends for another reason than a stop sequence.
    pub(crate) fn finish(&mut self) -> Emitted {
        // Cut off inside a character: show the replacement character, as lossy decoding of the whole would.
        self.text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        let mut emitted = self.release();
        if emitted.stop.is_none() {
            emitted.text.push_str(&std::mem::take(&mut self.text));
        }
        emitted
    }

    fn release(&mut self) -> Emitted {
        let found = self.stops.iter().filter_map(|stop| self.text.find(stop).map(|at| (at, stop)));
        if let Some((at, stop)) = found.min_by_key(|&(at, stop)| (at, std::cmp::Reverse(stop.len()))) {
            let stop = Some(stop.clone());
            self.text.truncate(at);
            return Emitted { text: std::mem::take(&mut self.text), stop };
        }
        let held = self.stops.iter().map(|stop| overlap(&self.text, stop)).max().unwrap_or(0);
        let rest = self.text.split_off(self.text.len() - held);
        Emitted { text: std::mem::replace(&mut self.text, rest), stop: None }
    }
}

/// Length of the longest end of `text` that begins `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    let lengths = (1..=longest).rev().filter(|&length| stop.is_char_boundary(length));
    lengths.into_iter().find(|&length| text.as_bytes().ends_with(&stop.as_bytes()[..length])).unwrap_or(0)
}

/// Length of the bytes up to an incomplete character at the end.
fn whole_prefix(bytes: &[u8]) -> usize {
    let mut position = 0;
    loop {
        match std::str::from_utf8(&bytes[position..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                Some(bad) => position += error.valid_up_to() + bad,
                None => return position + error.valid_up_to(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, Option<String>, String) {
        let mut emitter = TextEmitter::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut texts = Vec::new();
        for piece in pieces {
            let emitted = emitter.push(piece);
            texts.push(emitted.text);
            if emitted.stop.is_some() {
                return (texts, emitted.stop, String::new());
            }
        }
        let rest = emitter.finish();
        (texts, rest.stop, rest.text)
    }

    #[test]
    fn characters_are_emitted_whole() {
        let euro = "€".as_bytes();
        let (texts, _, rest) = run(&[], &[&euro[..1], &euro[1..2], &euro[2..], b"!"]);
        assert_eq!((texts, rest), (vec!["".into(), "".into(), "€".into(), "!".into()], String::new()));
    }

    #[test]
    fn bytes_that_are_never_text_are_replaced() {
        let (texts, _, rest) = run(&[], &[b"a\xff", b"b", b"\xe2\x82"]);
        assert_eq!((texts.concat(), rest), ("a\u{fffd}b".into(), "\u{fffd}".into()));
    }

    #[test]
    fn a_stop_across_tokens_is_never_emitted() {
        let (texts, stop, _) = run(&["END"], &[b"one E", b"N", b"D two"]);
        assert_eq!((texts.concat(), stop), ("one ".into(), Some("END".into())));
    }

    #[test]
    fn held_text_comes_once_it_cannot_be_a_stop() {
        let (texts, stop, rest) = run(&["END"], &[b"E", b"N", b"x", b"EN"]);
        assert_eq!(
            (texts, stop, rest),
            (vec!["".into(), "".into(), "ENx".into(), "".into()], None, "EN".into())
        );
    }

    #[test]
    fn the_earliest_stop_wins() {
        let (texts, stop, _) = run(&["b", "ab"], &[b"xab"]);
        assert_eq!((texts.concat(), stop), ("x".into(), Some("ab".into())));
    }

    #[test]
    fn stops_of_several_bytes_a_character_are_held_at_boundaries() {
        let (texts, stop, _) = run(&["é€"], &["né".as_bytes(), "€".as_bytes()]);
        assert_eq!((texts.concat(), stop), ("n".into(), Some("é€".into())));
    }
}
