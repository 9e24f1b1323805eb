//! How a value is attached to the name of a secret: which operator, and where the value begins.

use crate::sensitivity::doc::Doc;

/// How the value is attached to the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// `=`, `:`, `:=`, `=>`.
    Assign,
    /// `==`, `!=`: comparison with a literal.
    Compare,
    /// `,` or `(` between string arguments.
    Argument,
    /// `--password X`, `password X`.
    Space,
    /// `password is X`.
    Prose,
    /// `<password>X<`.
    Tag,
}

/// Beginnings of the rest of an identifier that make it a name for something about the secret.
const ABOUT: &str = "url uri endpoint file path dir type name length len policy hint field label reset expir ttl \
    count min max size regex pattern class input generat encod service manager prompt message \
    format header form error strength valid required confirm_ change enabled column attempts \
    authenticator provider ref version credential param view data store entry uuid location \
    template factory set get auth permission scope lifetime index exists bundle algorithm usage \
    rotation issued duration limit bits map list board word words frame press down up code sequence \
    ring pair note vault mismatch account_name stream counter hash digest fingerprint checksum";

/// Whether the rest of an identifier makes it a name for something about the secret.
pub(super) fn about(tail: &str) -> bool {
    let t = tail.trim_start_matches(['_', '-', '.']).to_ascii_lowercase();
    ABOUT.split(' ').any(|p| t.starts_with(p))
}

/// The operator behind the name, and where the value begins.
pub(super) fn operator(doc: &Doc<'_>, s: usize, end: usize, weak: bool) -> Option<(Op, usize)> {
    let rest = doc.window(end, 80);
    let mut body = rest;
    let closed = body.trim_start_matches(['\\', '"', '\'', '`', ']', ')']);
    let quoted = closed.len() < body.len();
    body = closed.trim_start_matches([' ', '\t']);
    let spaced = body.len() < closed.len();
    let here = |b: &str| end + rest.len() - b.len();
    for (sign, op) in [
        ("===", Op::Compare),
        ("!==", Op::Compare),
        ("==", Op::Compare),
        ("!=", Op::Compare),
        (":=", Op::Assign),
        ("=>", Op::Assign),
        ("->", Op::Assign),
        ("=", Op::Assign),
        ("::", Op::Compare),
        (":", Op::Assign),
    ] {
        if let Some(after) = body.strip_prefix(sign) {
            if sign == "::" {
                return None;
            }
            // `name: Type = value` declares; the value is behind the equals sign.
            let after = if sign == ":" { declared(after).unwrap_or(after) } else { after };
            return Some((op, here(after.trim_start_matches([' ', '\t', '>']))));
        }
    }
    if let Some(after) = body.strip_prefix('>').filter(|_| !quoted && !spaced) {
        return Some((Op::Tag, here(after)));
    }
    if quoted && let Some(after) = body.strip_prefix(',') {
        return Some((Op::Argument, here(after.trim_start())));
    }
    // `value="..."` behind `key="password"` (XML application settings).
    if quoted && let Some(after) = body.strip_prefix("value=") {
        return Some((Op::Assign, here(after)));
    }
    for (word, op) in [
        ("is set to ", Op::Prose),
        ("is now ", Op::Prose),
        ("is: ", Op::Prose),
        ("is ", Op::Prose),
        ("was ", Op::Prose),
        ("ist ", Op::Prose),
        ("lautet ", Op::Prose),
        ("es ", Op::Prose),
        ("est ", Op::Prose),
        ("to ", Op::Prose),
        ("è ", Op::Prose),
        ("é ", Op::Prose),
    ] {
        if let Some(after) = body.strip_prefix(word) {
            return Some((op, here(after)));
        }
    }
    if let Some(after) =
        body.strip_prefix('(').filter(|_| !weak && body.as_bytes().get(1).is_some_and(|b| b"\"'".contains(b)))
    {
        return Some((Op::Argument, here(after)));
    }
    let flag = doc.prev(s) == b'-';
    (spaced && !quoted && (flag || !body.starts_with(['(', '[', '{', '|', '&', ')', ',', '?', ';'])))
        .then(|| (if flag { Op::Assign } else { Op::Space }, here(body)))
}

/// Skips a type annotation.
fn declared(after: &str) -> Option<&str> {
    let t = after.trim_start();
    let len = t.find(|c: char| !(c.is_alphanumeric() || "_.<>?&[]' ".contains(c))).unwrap_or(0);
    let rest = t.get(len..)?.strip_prefix('=')?;
    let kind = t[..len].trim();
    (!kind.is_empty() && !kind.contains(' ') && !rest.starts_with('=')).then_some(rest)
}
