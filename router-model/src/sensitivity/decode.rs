//! Layers that hide a value from a plain search: percent-encoding, HTML character references, Unicode escapes, line
//! continuations, Base64 and hexadecimal.
//!
//! Inline encodings become a second view of the whole text, mapped back byte for byte. A Base64 or hexadecimal
//! blob is decoded alone; what is found inside is reported as one finding over the blob, because no part of the
//! blob can be masked by itself. Only blobs that decode to text are read: hashes and images are not.

use std::borrow::Cow;
use std::collections::BTreeSet;

use policies::EntityKind::{self, Age, Date, Encoded, Gender, Secret, Url};
use policies::FindingSource::User;

use super::Raw;
use super::doc::Sink;
use super::view::{Builder, View};

/// Shortest blobs that are tried, in characters.
const BASE64_MIN: usize = 20;
const HEX_MIN: usize = 24;

/// The text with its inline encodings undone; `None` when it holds none.
pub(crate) fn inline(text: &str) -> Option<View<'static>> {
    let b = text.as_bytes();
    memchr::memchr3(b'%', b'&', b'\\', b)?;
    let mut out = Builder::with_capacity(text.len());
    let (mut at, mut copied, mut changed) = (0, 0, false);
    let mut plain = String::new();
    while let Some(step) = memchr::memchr3(b'%', b'&', b'\\', &b[at..]) {
        at += step;
        plain.clear();
        let len = match b[at] {
            b'%' => percent(b, at, &mut plain),
            b'&' => entity(text, at, &mut plain),
            _ => escape(b, at, &mut plain),
        };
        if len == 0 {
            at += 1;
            continue;
        }
        out.copy(&text[copied..at], copied);
        out.replace(&plain, at, at + len);
        at += len;
        copied = at;
        changed = true;
    }
    out.copy(&text[copied..], copied);
    changed.then(|| out.finish())
}

fn hex(b: u8) -> Option<u32> {
    char::from(b).to_digit(16)
}

/// A row of `%XX` that is one valid character; the bytes that it takes.
fn percent(b: &[u8], at: usize, out: &mut String) -> usize {
    let mut bytes = [0_u8; 4];
    for n in 0..4 {
        let Some(&[b'%', h, l]) = b.get(at + 3 * n..at + 3 * n + 3) else { return 0 };
        let (Some(h), Some(l)) = (hex(h), hex(l)) else { return 0 };
        bytes[n] = (h * 16 + l) as u8;
        if let Ok(s) = std::str::from_utf8(&bytes[..=n]) {
            if s.chars().any(char::is_control) {
                return 0;
            }
            out.push_str(s);
            return 3 * (n + 1);
        }
    }
    0
}

/// `&#64;`, `&#x40;` and the named references that matter inside identifiers.
fn entity(text: &str, at: usize, out: &mut String) -> usize {
    let b = text.as_bytes();
    let Some(end) = b[at..].iter().take(12).position(|c| *c == b';') else { return 0 };
    let Some(name) = text.get(at + 1..at + end) else { return 0 };
    let c = match name {
        "commat" => Some('@'),
        "period" => Some('.'),
        "nbsp" => Some(' '),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "colon" => Some(':'),
        "lowbar" => Some('_'),
        "hyphen" | "dash" => Some('-'),
        "equals" => Some('='),
        "sol" => Some('/'),
        _ => name
            .strip_prefix('#')
            .and_then(|n| match n.strip_prefix(['x', 'X']) {
                Some(h) => u32::from_str_radix(h, 16).ok(),
                None => n.parse().ok(),
            })
            .and_then(char::from_u32)
            .filter(|c| !c.is_control()),
    };
    match c {
        Some(c) => {
            out.push(c);
            end + 1
        }
        None => 0,
    }
}

/// Backslashes before one escape: JSON in a string of JSON doubles them with each layer.
const BACKSLASHES_MAX: usize = 8;

/// `\u0040`, `\x40`, also where the backslash is escaped itself, and a backslash at the end of a line.
fn escape(b: &[u8], at: usize, out: &mut String) -> usize {
    let run = b[at..].iter().take(BACKSLASHES_MAX).take_while(|c| **c == b'\\').count();
    let sign = at + run;
    let (digits, len) = match b.get(sign) {
        Some(b'\n') if run == 1 => return 2,
        Some(b'u') => (b.get(sign + 1..sign + 5), run + 5),
        Some(b'x') => (b.get(sign + 1..sign + 3), run + 3),
        _ => return 0,
    };
    let value = digits.and_then(|d| d.iter().try_fold(0, |a, &c| Some(a * 16 + hex(c)?)));
    match value.and_then(char::from_u32).filter(|c| !c.is_control()) {
        Some(c) => {
            out.push(c);
            len
        }
        None => 0,
    }
}

/// Calls `each` with the range and the text of every blob that decodes to text.
pub(crate) fn blobs(text: &str, mut each: impl FnMut(usize, usize, &str)) {
    let b = text.as_bytes();
    let part = |c: u8| c.is_ascii_alphanumeric() || b"+/_-".contains(&c);
    let mut at = 0;
    while at < b.len() {
        if !part(b[at]) {
            at += 1;
            continue;
        }
        let s = at;
        while at < b.len() && part(b[at]) {
            at += 1;
        }
        let body = at;
        while at < b.len() && b[at] == b'=' && at - body < 2 {
            at += 1;
        }
        let token = &b[s..body];
        // The three parts of a JSON web token are read by their own recogniser.
        let dotted = b.get(at) == Some(&b'.') || s > 0 && b[s - 1] == b'.';
        let bytes = if token.len() >= HEX_MIN
            && token.iter().all(u8::is_ascii_hexdigit)
            && token.len().is_multiple_of(2)
        {
            from_hex(token)
        } else if token.len() >= BASE64_MIN && !(dotted && token.starts_with(b"eyJ")) {
            from_base64(token)
        } else {
            None
        };
        if let Some(plain) = bytes.and_then(|v| String::from_utf8(v).ok()).filter(|t| printable(t)) {
            each(s, at, &plain);
        }
    }
}

fn printable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace())
}

/// Whether the first decoded bytes can begin a text.
fn begins_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|c| *c >= 0x20 && *c != 0x7F || b"\t\r\n".contains(c))
}

fn from_hex(b: &[u8]) -> Option<Vec<u8>> {
    let byte = |p: &[u8]| Some((hex(p[0])? * 16 + hex(p[1])?) as u8);
    let head: Option<Vec<u8>> = b[..8].chunks(2).map(byte).collect();
    begins_text(&head?).then(|| b.chunks_exact(2).map(byte).collect())?
}

/// Decodes Base64 in either alphabet (RFC 4648), padding not required.
pub(crate) fn from_base64(b: &[u8]) -> Option<Vec<u8>> {
    let b = b.strip_suffix(b"==").or_else(|| b.strip_suffix(b"=")).unwrap_or(b);
    let mut out = Vec::with_capacity(b.len() * 3 / 4);
    let (mut acc, mut bits) = (0_u32, 0);
    for &c in b {
        let v = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        acc = acc << 6 | u32::from(v);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((acc >> bits) as u8);
            acc &= (1 << bits) - 1;
            // Give up on binary data after a few bytes, so that images cost nothing.
            if out.len() == 9 && !begins_text(&out) {
                return None;
            }
        }
    }
    (b.len() % 4 != 1).then_some(out)
}

/// The finding over a blob, for what was found inside.
///
/// Its subtype names the kinds inside, joined by `+`: to a policy they mean no less than in the open.
pub(crate) fn cover(s: usize, e: usize, inner: &[Raw]) -> Sink {
    let soft = |k: EntityKind| matches!(k, Url | Date | Age | Gender | EntityKind::Username);
    let best = |f: &dyn Fn(&&Raw) -> bool| inner.iter().filter(f).map(|r| r.score).fold(0.0, f32::max);
    let secret = best(&|r| r.kind == Secret);
    let other = best(&|r| r.kind != Secret && (!soft(r.kind) || r.source == User));
    // A term of the policy keeps its name: the policy may know a label for it.
    let terms = inner.iter().filter(|r| r.source == User).map(|r| Raw { s, e, ..r.clone() });
    let mut out: Sink = terms.collect();
    if secret > 0.0 {
        out.push(Raw::secret(s, e, "encoded", secret));
    } else if other > 0.0 {
        out.push(Raw { sub: Some(inside(inner)), ..Raw::new(s, e, Encoded, other) });
    }
    out
}

fn inside(inner: &[Raw]) -> Cow<'static, str> {
    let words = inner.iter().flat_map(|raw| match &raw.sub {
        Some(deeper) if raw.kind == Encoded => deeper.split('+').collect(),
        _ => vec![raw.kind.as_str()],
    });
    Cow::Owned(words.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("+"))
}
