//! Opaque tokens that have a form and no name: groups of mixed letters and digits joined by dashes (licence and product
//! keys, access tokens), and long mixed rows that are assigned to anything.
//!
//! A UUID (RFC 9562) has the form of a grouped token but hexadecimal digits only, and names things more often than it
//! guards them, so it is left alone here. What has the layout of a UUID with letters beyond `f` is none.

use super::strength::{entropy, placeholder, repeated};
use crate::sensitivity::Raw;
use crate::sensitivity::decode::from_base64;
use crate::sensitivity::doc::{Doc, Sink};

/// Fewest groups, and fewest letters and digits in all of them.
const GROUPS_MIN: usize = 4;
const GROUPED_MIN: usize = 20;
/// Fewest characters of a row that is assigned, and most of either.
const ROW_MIN: usize = 32;
const LENGTH_MAX: usize = 128;

pub(super) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for tok in &doc.toks {
        if tok.s < done || tok.digits {
            continue;
        }
        let part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
        let back = doc.b[..tok.s].iter().rev().take(LENGTH_MAX).take_while(|b| part(b)).count();
        let ahead = doc.b[tok.s..].iter().take(LENGTH_MAX + 1).take_while(|b| part(b)).count();
        let (s, e) = (tok.s - back, tok.s + ahead);
        done = e;
        let text = &doc.t[s..e];
        let open = b"_/.+@:#%&=\\".contains(&doc.at(e)) && !b":=".contains(&doc.at(e))
            || b"_/+@#%&\\".contains(&doc.prev(s)) && doc.prev(s) != b'=';
        if text.len() > LENGTH_MAX || text.len() < GROUPED_MIN || open {
            continue;
        }
        if grouped(text) {
            out.push(Raw::secret(s, e, "grouped_token", 0.55));
        } else if row(text) && assigned(doc, s) && !readable(text) {
            out.push(Raw::secret(s, e, "opaque_token", 0.55));
        }
    }
}

/// Mixed groups of one kind: all but the shortest hold letters and digits, in an order that no word has.
fn grouped(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let size = text.len() - (groups.len() - 1);
    if groups.len() < GROUPS_MIN || groups.len() > 9 || size < GROUPED_MIN {
        return false;
    }
    let even = groups.iter().all(|g| (4..=12).contains(&g.len()));
    let upper = text.bytes().any(|b| b.is_ascii_uppercase());
    let lower = text.bytes().any(|b| b.is_ascii_lowercase());
    let foreign = text.bytes().filter(|b| b.is_ascii_alphabetic() && !b.is_ascii_hexdigit()).count();
    let turns = groups.iter().map(|g| switches(g)).sum::<usize>();
    let mixed = groups.iter().filter(|g| switches(g) >= 1).count();
    even && upper != lower
        && foreign >= 3
        && mixed * 4 >= groups.len() * 3
        && turns * 5 >= size
        && entropy(text) > 3.6
        && !sequence(text)
        && !placeholder(text)
}

/// How often letters and digits take turns.
fn switches(group: &str) -> usize {
    group.as_bytes().windows(2).filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit()).count()
}

/// Rows that count up, as in examples: `1a2b3c4d`, `abcd-1234`.
fn sequence(text: &str) -> bool {
    let steps = |class: fn(&u8) -> bool| {
        let of: Vec<u8> = text.bytes().filter(class).collect();
        let up = of.windows(2).filter(|w| w[1] == w[0] + 1 || w[1] == w[0]).count();
        (up, of.len())
    };
    let (letters, all_letters) = steps(u8::is_ascii_alphabetic);
    let (digits, all_digits) = steps(u8::is_ascii_digit);
    (letters + digits) * 2 > all_letters + all_digits
}

/// Whether it is only text in another coding, which is read as such.
fn readable(text: &str) -> bool {
    from_base64(text.as_bytes()).is_some_and(|b| b.iter().take(24).all(|c| (0x20..0x7F).contains(c)))
}

/// Letters of both cases and digits in no order.
fn row(text: &str) -> bool {
    let count = |of: fn(&u8) -> bool| text.bytes().filter(of).count();
    text.len() >= ROW_MIN
        && count(u8::is_ascii_uppercase) >= 5
        && count(u8::is_ascii_lowercase) >= 5
        && count(u8::is_ascii_digit) >= 4
        && !text.contains("--")
        && entropy(text) > 4.4
        && !repeated(text)
        && !placeholder(text)
        && !sequence(text)
}

/// Whether it is the value of something whose name does not say that it is public.
fn assigned(doc: &Doc<'_>, s: usize) -> bool {
    let before = doc.lookback(s, 60).rsplit('\n').next().unwrap_or("");
    let name = before.trim_end_matches(['"', '\'', '`', ' ']);
    let Some(name) = name.strip_suffix(['=', ':']) else { return false };
    let name = name.trim_end_matches([' ', '"', '\'', ':']).to_ascii_lowercase();
    let word = name.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).next().unwrap_or("");
    const PUBLIC: &[&str] = &[
        "hash",
        "sha",
        "integrity",
        "digest",
        "checksum",
        "sum",
        "etag",
        "id",
        "uuid",
        "commit",
        "rev",
        "sig",
        "signature",
        "nonce",
        "public",
        "cert",
        "image",
        "src",
        "href",
        "url",
        "data",
        "base64",
        "content",
        "font",
        "path",
        "file",
        "name",
        "version",
        "ref",
        "cid",
        "h1",
        "class",
        "fingerprint",
        "thumbprint",
        "cursor",
        "page",
        "blob",
        "svg",
        "icon",
        "address",
        "body",
        "text",
        "hex",
        "value",
        "expected",
        "result",
        "output",
    ];
    word.len() >= 2
        && !PUBLIC
            .iter()
            .any(|p| word == *p || word.ends_with(&format!("_{p}")) || word.ends_with(&format!("-{p}")))
        && !word.starts_with("sha")
}
