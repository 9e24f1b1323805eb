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
/// Narrowest lines that wrapped Base64 is looked for in, in characters.
const WIDTH_MIN: usize = 16;

/// The text with its inline encodings undone; `None` when it holds none.
pub(crate) fn inline(text: &str) -> Option<View<'static>> {
    let b = text.as_bytes();
    let next = |from: usize| {
        let three = memchr::memchr3(b'%', b'&', b'\\', &b[from..]).map(|p| from + p);
        let quoted = memchr::memchr(b'=', &b[from..]).map(|p| from + p);
        (three, quoted)
    };
    let (mut three, mut quoted) = next(0);
    three.or(quoted)?;
    let mut out: Option<Builder> = None;
    let (mut at, mut copied) = (0, 0);
    let mut plain = String::new();
    loop {
        // Each needle is looked for again only when the place where it was found is passed.
        if three.is_some_and(|p| p < at) {
            three = memchr::memchr3(b'%', b'&', b'\\', &b[at..]).map(|p| at + p);
        }
        if quoted.is_some_and(|p| p < at) {
            quoted = memchr::memchr(b'=', &b[at..]).map(|p| at + p);
        }
        let Some(here) = three.into_iter().chain(quoted).min() else { break };
        at = here;
        plain.clear();
        let len = match b[at] {
            b'%' => percent(b, at, &mut plain),
            b'&' => entity(text, at, &mut plain),
            b'=' => printable_quote(b, at, &mut plain),
            _ => escape(b, at, &mut plain),
        };
        if len == 0 {
            at += 1;
            continue;
        }
        let out = out.get_or_insert_with(|| Builder::with_capacity(text.len()));
        out.copy(&text[copied..at], copied);
        out.replace(&plain, at, at + len);
        at += len;
        copied = at;
    }
    let mut out = out?;
    out.copy(&text[copied..], copied);
    Some(out.finish())
}

/// `=40=41`: quoted-printable (RFC 2045), two in a row, since one alone is an assignment; and its soft line end.
fn printable_quote(b: &[u8], at: usize, out: &mut String) -> usize {
    let value = |at: usize| match b.get(at..at + 3) {
        Some(&[b'=', h, l]) if !h.is_ascii_lowercase() && !l.is_ascii_lowercase() => {
            Some(hex(h)? * 16 + hex(l)?)
        }
        _ => None,
    };
    let beside = || value(at + 3).is_some() || at >= 3 && value(at - 3).is_some();
    match value(at).filter(|v| (0x20..0x7F).contains(v) && beside()).and_then(char::from_u32) {
        Some(c) => {
            out.push(c);
            3
        }
        None => 0,
    }
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
    let Some(end) = b[at..].iter().take(12).position(|c| *c == b';') else {
        return unended(b, at, out);
    };
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
        None => unended(b, at, out),
    }
}

/// A numeric reference without its semicolon, which browsers read all the same.
fn unended(b: &[u8], at: usize, out: &mut String) -> usize {
    let Some((b'#', rest)) = b.get(at + 1..).and_then(<[u8]>::split_first).map(|(c, rest)| (*c, rest)) else {
        return 0;
    };
    let (radix, skip) = if matches!(rest.first(), Some(b'x' | b'X')) { (16, 1) } else { (10, 0) };
    let digits = rest[skip..].iter().take(7).take_while(|c| char::from(**c).is_digit(radix)).count();
    let value = rest[skip..skip + digits]
        .iter()
        .try_fold(0_u32, |v, c| Some(v * radix + char::from(*c).to_digit(radix)?));
    match value.filter(|_| digits >= 2).and_then(char::from_u32).filter(|c| !c.is_control()) {
        Some(c) => {
            out.push(c);
            2 + skip + digits
        }
        None => 0,
    }
}

/// `\u0040`, `\u{40}`, `\x40`, `\100`, the same behind escaped backslashes, and a backslash at the end of a line.
fn escape(b: &[u8], at: usize, out: &mut String) -> usize {
    // JSON inside JSON doubles its backslashes, once for each layer.
    let slashes = b[at..].iter().take(8).take_while(|c| **c == b'\\').count();
    let from = at + slashes;
    let (digits, end) = match b.get(from) {
        Some(b'\n') if slashes == 1 => return 2,
        Some(b'u') if b.get(from + 1) == Some(&b'{') => {
            let len = b[from + 2..].iter().take(6).take_while(|c| c.is_ascii_hexdigit()).count();
            if b.get(from + 2 + len) != Some(&b'}') {
                return 0;
            }
            (b.get(from + 2..from + 2 + len), from + 3 + len)
        }
        Some(b'u') => (b.get(from + 1..from + 5), from + 5),
        Some(b'x') => (b.get(from + 1..from + 3), from + 3),
        Some(b'0'..=b'3') => {
            let octal = b.get(from..from + 3).filter(|d| d.iter().all(|c| (b'0'..=b'7').contains(c)));
            let value = octal.map(|d| d.iter().fold(0, |v, c| v * 8 + u32::from(c - b'0')));
            return match value.and_then(char::from_u32).filter(|c| !c.is_control()) {
                Some(c) => {
                    out.push(c);
                    from + 3 - at
                }
                None => 0,
            };
        }
        _ => return 0,
    };
    let value =
        digits.filter(|d| !d.is_empty()).and_then(|d| d.iter().try_fold(0, |a, &c| Some(a * 16 + hex(c)?)));
    match value.and_then(char::from_u32).filter(|c| !c.is_control()) {
        Some(c) => {
            out.push(c);
            end - at
        }
        None => 0,
    }
}

/// Fewest bytes of a row that is written byte by byte.
const ROW_MIN: usize = 12;

/// Bytes that are written apart: `50 6C 65`, `0x50, 0x6c`.
#[derive(Default)]
struct ByteRow {
    s: usize,
    e: usize,
    bytes: Vec<u8>,
}

impl ByteRow {
    /// Takes a token at `s..e` if it is one more byte of the row; otherwise gives the row that ended and begins anew.
    fn take(&mut self, b: &[u8], s: usize, e: usize) -> Option<Self> {
        let digits = match &b[s..e] {
            [b'0', b'x' | b'X', h, l] | [h, l] => hex(*h).zip(hex(*l)),
            _ => None,
        };
        let near = s - self.e.min(s) <= 3 && b[self.e.min(s)..s].iter().all(|c| b" ,:;\n\t".contains(c));
        let ended = (digits.is_none() || !near).then(|| std::mem::take(self));
        if let Some((h, l)) = digits {
            if self.bytes.is_empty() {
                self.s = s;
            }
            self.bytes.push((h * 16 + l) as u8);
            self.e = e;
        }
        ended
    }

    /// The text of a row that is long enough.
    fn text(self) -> Option<(usize, usize, String)> {
        let text = String::from_utf8(self.bytes).ok().filter(|t| t.len() >= ROW_MIN && printable(t))?;
        Some((self.s, self.e, text))
    }
}

/// Calls `each` with the range and the text of every blob that decodes to text.
pub(crate) fn blobs(text: &str, mut each: impl FnMut(usize, usize, &str)) {
    let b = text.as_bytes();
    let part = |c: u8| c.is_ascii_alphanumeric() || b"+/_-".contains(&c);
    let mut row = ByteRow::default();
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
        if let Some((s, e, plain)) = row.take(b, s, at).and_then(ByteRow::text) {
            each(s, e, &plain);
        }
        let body = at;
        while at < b.len() && b[at] == b'=' && at - body < 2 {
            at += 1;
        }
        let token = &b[s..body];
        if let Some((e, plain)) = wrapped(b, s, body) {
            each(s, e, &plain);
            at = e;
            continue;
        }
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
    if let Some((s, e, plain)) = row.text() {
        each(s, e, &plain);
    }
}

/// Base64 over several lines of one width, the last of which may be shorter (RFC 2045); where it ends, and its text.
fn wrapped(b: &[u8], s: usize, first_end: usize) -> Option<(usize, String)> {
    let width = first_end - s;
    let line_end = |e: usize| match b.get(e..) {
        Some([b'\n', ..]) => Some(e + 1),
        Some([b'\r', b'\n', ..] | [b'\\', b'n', ..]) => Some(e + 2),
        _ => None,
    };
    let part = |c: &u8| c.is_ascii_alphanumeric() || b"+/_-".contains(c);
    if !(WIDTH_MIN..=128).contains(&width) || !width.is_multiple_of(4) || line_end(first_end).is_none() {
        return None;
    }
    // The first line tells whether it is worth reading on.
    from_base64(&b[s..first_end]).filter(|bytes| begins_text(&bytes[..bytes.len().min(9)]))?;
    let mut joined = b[s..first_end].to_vec();
    let mut e = first_end;
    while let Some(next) = line_end(e) {
        let len = b[next..].iter().take(width + 1).take_while(|c| part(c)).count();
        let pad = b[next + len..].iter().take(2).take_while(|c| **c == b'=').count();
        if len == 0 || len + pad > width {
            break;
        }
        joined.extend_from_slice(&b[next..next + len]);
        e = next + len + pad;
        if len < width {
            break;
        }
    }
    let plain =
        String::from_utf8(from_base64(&joined)?).ok().filter(|text| e > first_end && printable(text))?;
    Some((e, plain))
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
