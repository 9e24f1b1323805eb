//! Values that are assigned to something called password, secret, token or key: in code, configuration, command
//! lines, HTTP headers and prose.
//!
//! The name finds the candidate; the operator says what kind of text it is; the value must then look like a value.
//! Quoted literals and configuration lines are taken on trust, expressions of code are not values at all, and in
//! prose the value must look random or be quoted.

use super::operator::{Op, about, operator};
use super::strength::{entropy, looks_random, placeholder, strong, unnatural, wordy};
use crate::sensitivity::Raw;
use crate::sensitivity::cues::Cue;
use crate::sensitivity::doc::{Doc, Sink};

/// What the name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Password,
    Key,
    /// The bare word `key` and other weak names.
    Weak,
}

pub(super) fn find(doc: &Doc<'_>, out: &mut Sink) {
    for &(s, e) in doc.cues.all(Cue::Secret) {
        if let Some(raw) = read(doc, s, e, Class::Password) {
            out.push(raw);
        }
    }
    for &(s, e) in doc.cues.all(Cue::Key) {
        let weak = matches!(
            doc.t[s..e].to_ascii_lowercase().as_str(),
            "key"
                | "salt"
                | "nonce"
                | "pat"
                | "cookie"
                | "crumb"
                | "credential"
                | "credentials"
                | "access"
                | "private"
        );
        if let Some(raw) = read(doc, s, e, if weak { Class::Weak } else { Class::Key }) {
            out.push(raw);
        }
    }
}

fn name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.'
}

fn read(doc: &Doc<'_>, s: usize, e: usize, class: Class) -> Option<Raw> {
    // The rest of the identifier says whether the value is the secret or something about it.
    if let Some(raw) = attached(doc, e) {
        return Some(raw);
    }
    let tail_len = doc.b[e..].iter().take(40).take_while(|b| name_byte(**b)).count();
    let tail = &doc.t[e..e + tail_len];
    let tail = tail.trim_end_matches(['.', '-']);
    let end = e + tail.len();
    if about(tail) || ends_with(doc.lookback(s, 12), "public") || ends_with(doc.lookback(s, 12), "public_") {
        return None;
    }
    let (op, at) = operator(doc, s, end, class == Class::Weak)?;
    let value = value(doc, at, op)?;
    let text = &doc.t[value.s..value.e];
    let named = !tail.is_empty()
        && !matches!(
            tail.to_ascii_lowercase().trim_matches(['_', '-', '.']),
            "s" | "value"
                | "val"
                | "key"
                | "string"
                | "str"
                | "text"
                | "1"
                | "2"
                | "3"
                | "prod"
                | "dev"
                | "test"
                | "id"
        );
    let score = judge(doc, text, &value, op, class, named)?;
    let name = if class == Class::Password { "password" } else { "generic_key" };
    Some(Raw::secret(value.s, value.e, name, score))
}

fn ends_with(text: &str, end: &str) -> bool {
    text.len() >= end.len() && text.as_bytes()[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// An opaque token glued to the name by a dash: `service-token-1f0c...`.
fn attached(doc: &Doc<'_>, e: usize) -> Option<Raw> {
    if doc.at(e) != b'-' {
        return None;
    }
    let s = e + 1;
    let len = doc.b[s..].iter().take(129).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let v = &doc.t[s..s + len];
    let opaque = (20..=128).contains(&len)
        && digits(v) >= 4
        && v.bytes().any(|b| b.is_ascii_alphabetic())
        && entropy(v) > 3.0
        && !placeholder(v);
    opaque.then(|| Raw::secret(s, s + len, "generic_key", 0.6))
}

/// Longest value, in bytes.
const VALUE_MAX: usize = 500;

struct Value {
    s: usize,
    e: usize,
    quoted: bool,
    /// What follows an unquoted value.
    stop: u8,
}

fn value(doc: &Doc<'_>, at: usize, op: Op) -> Option<Value> {
    let rest = doc.window(at, 600);
    let skip = ["@\"", "b\"", "b'", "r\"", "u'", "f\"", "f'", "u\"", "b64\""]
        .iter()
        .find(|p| rest.starts_with(**p))
        .map_or(0, |p| p.len() - 1);
    let mut body = &rest[skip..];
    let mut s = at + skip;
    for scheme in ["Bearer ", "bearer ", "Basic ", "basic ", "token ", "Token ", "\"Bearer ", "'Bearer "] {
        if let Some(after) = body.strip_prefix(scheme).filter(|a| !a.is_empty()) {
            s += scheme.len();
            body = after;
        }
    }
    // `password 7 0822...`: the kind of encoding, then the value.
    if op == Op::Space
        && let Some(after) = body.strip_prefix(|c: char| c.is_ascii_digit()).and_then(|b| b.strip_prefix(' '))
    {
        s += body.len() - after.len();
        body = after;
    }
    for triple in ["\"\"\"", "'''"] {
        if let Some(after) = body.strip_prefix(triple) {
            let len = after.find(triple)?;
            let s = s + triple.len();
            return (len > 0).then_some(Value { s, e: s + len, quoted: true, stop: b'"' });
        }
    }
    let escaped = body.starts_with("\\\"") || body.starts_with("\\'");
    let open = if escaped { &body[..2] } else { body.get(..1).unwrap_or("") };
    if escaped || open == "\"" || open == "'" || open == "`" {
        let inner = &body[open.len()..];
        let inner_at = s + open.len();
        let mut close = None;
        let mut prev = 0_u8;
        for (i, b) in inner.bytes().enumerate() {
            let ends = if escaped {
                inner.as_bytes()[i..].starts_with(open.as_bytes())
            } else {
                b == open.as_bytes()[0] && prev != b'\\'
            };
            if ends {
                close = Some(i);
                break;
            }
            if b == b'\n' {
                break;
            }
            prev = b;
        }
        let mut len = close?;
        let mut from = inner_at;
        for scheme in ["Bearer ", "bearer ", "Basic ", "token ", "Token ", "ApiKey "] {
            if inner[..len].starts_with(scheme) {
                from += scheme.len();
                len -= scheme.len();
            }
        }
        return (len > 0).then_some(Value { s: from, e: from + len, quoted: true, stop: b'"' });
    }
    let stops: &[u8] = match op {
        Op::Tag => b"<\n",
        Op::Prose | Op::Space => b" \n\t\"'`,;)<",
        _ => b" \n\t\r\"'`,;<|",
    };
    let len = body.bytes().position(|b| stops.contains(&b)).unwrap_or(body.len());
    if len > VALUE_MAX {
        return None;
    }
    let len = query_end(&body[..len]);
    let stop = body.as_bytes().get(len).copied().unwrap_or(b'\n');
    let text = body[..len].trim_end_matches(['.', ':', ')', ']', '}', '\\', '\r']);
    (!text.is_empty()).then_some(Value { s, e: s + text.len(), quoted: false, stop })
}

/// Where a value ends that is one of several `name=value` pairs joined by `&`.
fn query_end(v: &str) -> usize {
    let pair = |at: &usize| {
        let name = v[at + 1..].bytes().take_while(|b| name_byte(*b)).count();
        name == 0 && at + 1 == v.len()
            || name > 0 && matches!(v.as_bytes().get(at + 1 + name), Some(b'=' | b'&'))
    };
    memchr::memchr_iter(b'&', v.as_bytes()).find(pair).unwrap_or(v.len())
}

fn judge(doc: &Doc<'_>, v: &str, value: &Value, op: Op, class: Class, named: bool) -> Option<f32> {
    let n = v.len();
    let spaces = v.bytes().filter(|b| *b == b' ').count();
    if !(4..=VALUE_MAX).contains(&n)
        || placeholder(v)
        || spaces > 0 && !(value.quoted && class == Class::Password && spaces < 2 && strong(v))
    {
        return None;
    }
    let random = looks_random(v);
    let solid = strong(v) || n >= 20 && entropy(v) > 3.3 && random;
    let wordy = wordy(v);
    let call = !value.quoted && (called(v) || v.contains("->") || v.contains('[') && !solid);
    if (v.starts_with([',', ')', ';', ' ']) || v.starts_with("+ ")) && value.quoted {
        return None;
    }
    if call || v.starts_with('/') && v.matches('/').count() > 1 && !solid || v.contains("://") {
        return None;
    }
    if uuid(v) {
        return (class != Class::Weak && matches!(op, Op::Assign | Op::Argument)).then_some(0.55);
    }
    // In code an unquoted value is an expression; in configuration it is the value.
    let line = doc.t[doc.line_start(value.s)..doc.line_end(value.e)].trim();
    let statement = line.ends_with([';', '{', '(', ')']) && value.stop != b'&'
        || doc.code && value.stop == b','
        || doc.code && value.stop == b';';
    let expression = !value.quoted && statement && !solid;
    let ok = match (class, op) {
        (Class::Weak, Op::Assign | Op::Argument) => {
            (solid && digits(v) >= 2 || value.quoted && cased(v)) && n >= 16 && !named
        }
        (Class::Weak, Op::Space) => solid && n >= 20 && !named,
        (Class::Weak, _) => false,
        (_, Op::Compare) => value.quoted && class == Class::Password && random,
        (Class::Password, Op::Assign | Op::Tag) => {
            if value.quoted {
                n >= 4
                    && !wordy_sentence(v)
                    && (!wordy || unnatural(v) || hyphenated(v))
                    && (!named || random)
            } else {
                !expression
                    && (password_literal(v, random, wordy) || setting(doc, value))
                    && (!named || random)
            }
        }
        (Class::Password, Op::Argument) => {
            value.quoted && n >= 5 && (random || !wordy && unnatural(v)) && !v.contains('.')
        }
        (Class::Password, Op::Space | Op::Prose) => {
            random && n >= 5 && !plain_number(v) && !version(v) && !expression
                || value.quoted && random && n >= 4
        }
        (Class::Key, Op::Assign | Op::Tag) => {
            n >= 8
                && (solid
                    || random && n >= 12 && !wordy && digits(v) >= 2
                    || value.quoted && n >= 16 && entropy(v) > 3.2 && !wordy)
                && !expression
        }
        (Class::Key, Op::Argument) => solid && value.quoted,
        (Class::Key, Op::Space | Op::Prose) => solid && n >= 16 || n >= 20 && hexlike(v),
    };
    if !ok {
        return None;
    }
    Some(match (op, solid) {
        (Op::Assign | Op::Tag, true) => 0.9,
        (Op::Assign | Op::Tag, false) => 0.75,
        (_, true) => 0.8,
        _ => 0.6,
    })
}

fn digits(v: &str) -> usize {
    v.bytes().filter(u8::is_ascii_digit).count()
}

/// Random letters in both cases: no word, no identifier.
fn cased(v: &str) -> bool {
    let upper = v.bytes().filter(u8::is_ascii_uppercase).count();
    let switches =
        v.as_bytes().windows(2).filter(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase()).count();
    v.len() >= 20
        && v.bytes().all(|b| b.is_ascii_alphanumeric())
        && upper >= 6
        && switches >= 4
        && entropy(v) > 3.8
        && unnatural(v)
}

fn hexlike(v: &str) -> bool {
    v.bytes().all(|b| b.is_ascii_alphanumeric()) && digits(v) >= 4
}

fn plain_number(v: &str) -> bool {
    v.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn version(v: &str) -> bool {
    let t = v.trim_start_matches('v');
    t.contains('.') && t.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// An unquoted password of a configuration file.
fn password_literal(v: &str, random: bool, wordy: bool) -> bool {
    random
        || !wordy
            && v.len() >= 5
            && v.bytes().all(|b| b.is_ascii_lowercase())
            && (unnatural(v) || entropy(v) > 2.2 && v.len() >= 8)
}

/// Words joined by dashes: an easily remembered password where a name would have underscores or humps.
fn hyphenated(v: &str) -> bool {
    v.contains('-') && v.len() >= 8 && v.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// A plain value that is all that stands behind the name on a line of a configuration file.
fn setting(doc: &Doc<'_>, value: &Value) -> bool {
    let v = &doc.t[value.s..value.e];
    let line = &doc.t[doc.line_start(value.s)..doc.line_end(value.e)];
    let name = line.split([':', '=']).next().unwrap_or("").trim().trim_start_matches("- ");
    !doc.code
        && line.trim_end().ends_with(v)
        && !name.is_empty()
        && name.bytes().all(|b| name_byte(b) || b == b'"')
        && (4..=64).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn wordy_sentence(v: &str) -> bool {
    v.ends_with([':', '?', '!', '.']) && v.bytes().all(|b| b.is_ascii_alphabetic() || b": ?!.".contains(&b))
}

/// A function call or a constructor.
fn called(v: &str) -> bool {
    v.find('(')
        .is_some_and(|p| p > 0 && v[..p].bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:<>".contains(&b)))
}

/// Eight, four, four, four, twelve.
fn uuid(v: &str) -> bool {
    let lens: Vec<usize> = v.split('-').map(str::len).collect();
    lens == [8, 4, 4, 4, 12] && v.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}
