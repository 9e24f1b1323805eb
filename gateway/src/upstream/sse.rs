//! Server-sent events, as far as a gateway needs them: where one ends, and what its data is.
//!
//! Follows the event stream format of the HTML standard (section 9.2): events end at an empty line, lines end
//! in LF, CR LF or CR; a comment starts with a colon; several `data` lines are joined by a line feed.

use bytes::{Bytes, BytesMut};

/// An event longer than this is passed on unread.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Cuts a byte stream into whole events.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    scanned: usize,
}

impl Splitter {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, its closing empty line included.
    pub fn next_event(&mut self) -> Option<Bytes> {
        let end = event_end(&self.buffer, self.scanned);
        match end {
            Some(end) => {
                self.scanned = 0;
                Some(self.buffer.split_to(end).freeze())
            }
            None if self.buffer.len() > EVENT_BYTES_MAX => {
                self.scanned = 0;
                Some(self.buffer.split().freeze())
            }
            None => {
                self.scanned = self.buffer.len().saturating_sub(3);
                None
            }
        }
    }

    /// What is left at the end of the stream.
    pub fn rest(&mut self) -> Option<Bytes> {
        self.scanned = 0;
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }
}

fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < bytes.len() {
        let rest = &bytes[at..];
        for (ending, length) in [(&b"\n\n"[..], 2), (b"\r\n\r\n", 4), (b"\n\r\n", 3), (b"\r\r", 2)] {
            if rest.starts_with(ending) {
                return Some(at + length);
            }
        }
        at += 1;
    }
    None
}

/// The data of an event; `None` for a comment or an event without data.
#[must_use]
pub fn data(event: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let mut found: Option<std::borrow::Cow<'_, [u8]>> = None;
    for line in event.split(|b| *b == b'\n' || *b == b'\r') {
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        found = Some(match found {
            None => value.into(),
            Some(before) => {
                let mut joined = before.into_owned();
                joined.push(b'\n');
                joined.extend_from_slice(value);
                joined.into()
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_the_same_wherever_the_bytes_are_split() {
        let stream = b": ping\n\ndata: a\n\ndata: b\r\n\r\ndata: c1\ndata: c2\n\ndata: [DONE]\n\n";
        let whole = {
            let mut splitter = Splitter::default();
            splitter.push(stream);
            std::iter::from_fn(|| splitter.next_event()).collect::<Vec<_>>()
        };
        let texts: Vec<_> =
            whole.iter().map(|e| data(e).map(|d| String::from_utf8_lossy(&d).into_owned())).collect();
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(texts, [None, text("a"), text("b"), text("c1\nc2"), text("[DONE]")]);
        for size in 1..stream.len() {
            let mut splitter = Splitter::default();
            let mut events = Vec::new();
            for piece in stream.chunks(size) {
                splitter.push(piece);
                while let Some(event) = splitter.next_event() {
                    events.push(event);
                }
            }
            assert_eq!(events.concat(), stream, "pieces of {size}");
            assert_eq!(events, whole, "pieces of {size}");
            assert_eq!(splitter.rest(), None);
        }
    }
}
