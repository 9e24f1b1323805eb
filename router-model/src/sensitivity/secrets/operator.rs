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
    let tail = tail.trim_start_matches(['_', '-', '.']);
    if tail.is_empty() {
        return false;
    }
    let t = tail.to_ascii_lowercase();
    ABOUT.split(' ').any(|p| t.starts_with(p))
}

/// The operator behind the name, and where the value begins.
pub(super) fn operator(doc: &Doc<'_>, s: usize, end: usize, weak: bool) -> Option<(Op, usize)> {
    let rest = doc.window(end, 120);
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
    if let Some(after) = pair(body, quoted).or_else(|| default(body, quoted)) {
        return Some((Op::Assign, here(after)));
    }
    if let Some(after) = body.strip_prefix('>').filter(|_| !spaced) {
        return Some((Op::Tag, here(after)));
    }
    if let Some(after) = body.strip_prefix(',').map(str::trim_start)
        && (quoted || after.starts_with('"'))
    {
        // A name that is defined, not looked up.
        let defines = doc.lookback(s, 40).rsplit('\n').next().unwrap_or("").to_ascii_lowercase();
        let op = if ["define(", "putenv(", "setenv("].iter().any(|d| defines.contains(d)) {
            Op::Assign
        } else {
            Op::Argument
        };
        return Some((op, here(after)));
    }
    if let Some(after) = said(body).or_else(|| said_of(body).filter(|_| spaced)) {
        return Some((Op::Prose, here(after)));
    }
    if let Some(after) =
        body.strip_prefix('(').filter(|_| !weak && body.as_bytes().get(1).is_some_and(|b| b"\"'".contains(b)))
    {
        // `setPassword("x")` and `withPassword("x")` assign; other calls take an argument.
        let sets = ["set", "with", "set_", "with_"].iter().any(|p| doc.lookback(s, 5).ends_with(p));
        return Some((if sets { Op::Assign } else { Op::Argument }, here(after)));
    }
    let flag = doc.prev(s) == b'-';
    (spaced && !quoted && (flag || !body.starts_with(['(', '[', '{', '|', '&', ')', ',', '?', ';'])))
        .then(|| (if flag { Op::Assign } else { Op::Space }, here(body)))
}

/// What stands between a name and a value in prose; longer phrases first.
const SAID: &[&str] = &[
    "is set to ",
    "has been set to ",
    "was changed to ",
    "is now ",
    "is: ",
    "is ",
    "was ",
    "ist jetzt ",
    "ist ",
    "lautet ",
    "es ",
    "era ",
    "será ",
    "est ",
    "sera ",
    "to ",
    "è ",
    "é ",
    "era ",
    "jest ",
    "to jest ",
    "är ",
    "er ",
    "on ",
    "je ",
    "это ",
    "от ",
    "是",
    "为",
    "は",
    "는 ",
    "은 ",
    "이 ",
    "của bạn là ",
    "là ",
    "adalah ",
];

/// The text behind a verb that tells a value.
fn said(body: &str) -> Option<&str> {
    let after = SAID.iter().find_map(|word| {
        let rest = body.strip_prefix(word.trim_end())?;
        (rest.starts_with([' ', ':']) || !word.is_ascii()).then_some(rest)
    })?;
    Some(after.trim_start_matches([':', ' ']))
}

/// The same with a few words before the verb: `password for the server is`.
fn said_of(body: &str) -> Option<&str> {
    const VERBS: &[&str] =
        &[" is ", " is: ", " ist ", " lautet ", " es ", " est ", " è ", " é ", " jest ", " är "];
    let mut end = body.len().min(60);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    let (at, verb) =
        VERBS.iter().filter_map(|v| Some((body[..end].find(v)?, v))).min_by_key(|(at, _)| *at)?;
    let plain = |c: char| c.is_alphanumeric() || c == ' ' || c == '-' || c == '\'' || c == '’';
    let words = body[..at].split(' ').count();
    (words <= 5 && body[..at].chars().all(plain)).then(|| body[at + verb.len()..].trim_start_matches(' '))
}

/// The value behind a name that is itself a value: `name: DB_PASSWORD`, `value: x`; `key="password" value="x"`.
fn pair(body: &str, quoted: bool) -> Option<&str> {
    let rest = body.trim_start_matches([' ', '\t', '\r', '\n', ',']);
    let apart = rest.len() < body.len() || quoted;
    let rest = rest.trim_start_matches(['"', '\'']);
    let after = rest.strip_prefix("value").or_else(|| rest.strip_prefix("Value")).filter(|_| apart)?;
    let after = after.trim_start_matches(['"', '\'']).trim_start_matches(' ');
    Some(after.strip_prefix([':', '='])?.trim_start_matches(' '))
}

/// The default of a declared variable: `variable "db_password" { default = "x" }`.
fn default(body: &str, quoted: bool) -> Option<&str> {
    let block = body.strip_prefix('{').filter(|_| quoted)?;
    let block = &block[..block.find('}').unwrap_or(block.len())];
    let after = block[block.find("default")? + 7..].trim_start();
    Some(after.strip_prefix('=')?.trim_start())
}

/// Skips a type annotation.
fn declared(after: &str) -> Option<&str> {
    let t = after.trim_start();
    let len = t.find(|c: char| !(c.is_alphanumeric() || "_.<>?&[]' ".contains(c))).unwrap_or(0);
    let rest = t.get(len..)?.strip_prefix('=')?;
    let kind = t[..len].trim();
    (!kind.is_empty() && !kind.contains(' ') && !rest.starts_with('=')).then_some(rest)
}
