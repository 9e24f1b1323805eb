//! Credentials that are handed to a call: `login("bob", "...")`, `new NetworkCredential(...)`, `auth=("bob", "...")`. The
//! last literal among the arguments is the password; it must look like one unless the call is a credential's own
//! constructor.

use super::strength::{looks_random, placeholder, unnatural};
use crate::sensitivity::Raw;
use crate::sensitivity::cues::Cue;
use crate::sensitivity::doc::{Doc, Sink};

pub(super) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for &(s, end) in doc.cues.all(Cue::Call) {
        let Some(from) = opening(doc, end).filter(|_| s >= done) else { continue };
        let name = doc.t[s..end].to_ascii_lowercase();
        let own = name.starts_with("credential") || name.starts_with("usernamepassword");
        let rest = doc.window(from, 300);
        let line = rest.split('\n').next().unwrap_or("");
        let args = &line[..close(line)];
        done = from;
        if let Some((s, e)) = password(args, own) {
            out.push(Raw::secret(from + s, from + e, "call_password", 0.7));
        }
    }
}

/// Where the arguments of a call begin: behind the rest of its name, a method of it, or an equals sign.
fn opening(doc: &Doc<'_>, end: usize) -> Option<usize> {
    let rest = doc.window(end, 60);
    let word = |t: &str| t.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let mut at = word(rest);
    if rest[at..].starts_with('.') {
        at += 1 + word(&rest[at + 1..]);
    }
    if rest[at..].trim_start().starts_with('=') {
        at += rest[at..].find('=')? + 1;
        at += rest[at..].len() - rest[at..].trim_start().len();
    }
    rest[at..].starts_with('(').then_some(end + at + 1)
}

/// The literals of some arguments: where they begin and end, quotes apart.
fn literals(args: &str) -> Vec<(usize, usize)> {
    let b = args.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(open) = b[at..].iter().position(|c| matches!(c, b'"' | b'\'')).map(|p| at + p) {
        let mut end = open + 1;
        while end < b.len() && b[end] != b[open] {
            end += if b[end] == b'\\' { 2 } else { 1 };
        }
        if end >= b.len() {
            break;
        }
        found.push((open + 1, end));
        at = end + 1;
    }
    found
}

/// The last literal, where nothing but closing signs follows it.
fn password(args: &str, own: bool) -> Option<(usize, usize)> {
    let literals = literals(args);
    let &(s, e) = literals.last()?;
    let v = args.get(s..e)?;
    let ends = args[e + 1..].trim().is_empty();
    let plain = !v.contains([' ', '/', '{', '<', '(', ',', ':']);
    let enough = v.len() >= 4 && literals.len() >= 2 || own && v.len() >= 6;
    let value =
        looks_random(v) && v.len() >= 5 && !v.contains('.') || own && unnatural(v) && !v.contains('_');
    (ends && plain && enough && value && !placeholder(v)).then_some((s, e))
}

/// Where the arguments end: the closing bracket of this call, or the end of the line.
fn close(line: &str) -> usize {
    let (mut depth, mut quote) = (0_usize, 0_u8);
    for (i, b) in line.bytes().enumerate() {
        match b {
            _ if b == quote => quote = 0,
            _ if quote != 0 => {}
            b'"' | b'\'' => quote = b,
            b'(' => depth += 1,
            b')' if depth == 0 => return i,
            b')' => depth -= 1,
            _ => {}
        }
    }
    line.len()
}
