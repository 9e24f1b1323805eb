//! E-mail addresses, URLs and user names.
//!
//! Addresses are read outwards from the `@`, URLs forward from `://`, so text without either costs one `memchr`.
//! Handles (`@name`) are not reported in source code, where `@` marks annotations.

use policies::EntityKind::{Email, Url, Username};

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Sink};

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut floor = 0;
    for at in memchr::memchr_iter(b'@', doc.b) {
        if let Some(raw) = email(doc, at, floor) {
            floor = raw.e;
            out.push(raw);
        } else if let Some(raw) = handle(doc, at) {
            out.push(raw);
        }
    }
    spelled(doc, out);
    spaced(doc, out);
    let mut done = 0;
    for at in memchr::memmem::find_iter(doc.b, b"://") {
        if at >= done {
            done = url(doc, at, out);
        }
    }
    for at in memchr::memmem::find_iter(doc.b, b"www.") {
        bare_url(doc, at, out);
    }
    for &(s, end) in doc.cues.all(Cue::User) {
        named(doc, s, end, out);
    }
}

fn local_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80 || b"._%+-'".contains(&b)
}

/// An address around the `@`.
fn email(doc: &Doc<'_>, at: usize, floor: usize) -> Option<Raw> {
    let mut s = at;
    while s > floor && at - s < 64 && local_byte(doc.b[s - 1]) {
        s -= 1;
    }
    while !doc.t.is_char_boundary(s) {
        s += 1;
    }
    while s < at && b".'%+-".contains(&doc.b[s]) {
        s += 1;
    }
    // What stands between a scheme and the `@` is a credential, not a mailbox.
    if in_authority(doc, at) {
        return None;
    }
    let domain = domain(doc, at + 1)?;
    (s < at).then(|| Raw::new(s, domain, Email, 0.98))
}

/// Whether the `@` ends the user information of a URL.
fn in_authority(doc: &Doc<'_>, at: usize) -> bool {
    let word = doc.lookback(at, 120).rsplit(|c: char| c.is_whitespace() || c == '"').next().unwrap_or("");
    word.rsplit_once("://").is_some_and(|(_, info)| info.contains(':') && !info.contains('?'))
}

/// End of a host name with an alphabetic top-level label.
fn domain(doc: &Doc<'_>, from: usize) -> Option<usize> {
    let window = doc.window(from, 255);
    let len = window
        .find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-' || c == '_'))
        .unwrap_or(window.len());
    let mut host = window[..len].trim_end_matches(['.', '-', '_']);
    // A sentence may go on without a space ("x@y.com.Then"): labels end at the last plausible one.
    while let Some((rest, last)) = host.rsplit_once('.') {
        let fits =
            (2..=24).contains(&last.len()) && last.chars().all(char::is_alphabetic) && !last.contains('_');
        if fits && !rest.is_empty() && !rest.contains("..") {
            return Some(from + host.len());
        }
        host = rest;
    }
    None
}

/// `@name` as social networks write it.
fn handle(doc: &Doc<'_>, at: usize) -> Option<Raw> {
    let prev = doc.prev(at);
    let part = |from: usize| {
        doc.b[from..].iter().take(31).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
    };
    let mut len = part(at + 1);
    // Names with dots, but not the first word of a sentence behind a full stop.
    while doc.at(at + 1 + len) == b'.' && len < 31 {
        let more = part(at + 2 + len);
        let lower = doc.b[at + 2 + len..at + 2 + len + more].iter().all(|b| !b.is_ascii_uppercase());
        if more == 0 || !lower {
            break;
        }
        len += 1 + more;
    }
    let e = at + 1 + len;
    let after = doc.at(e);
    let word = &doc.t[at + 1..e];
    let annotation = matches!(
        word,
        "media"
            | "import"
            | "param"
            | "return"
            | "returns"
            | "see"
            | "deprecated"
            | "everyone"
            | "here"
            | "channel"
            | "Override"
            | "Test"
            | "types"
            | "interface"
            | "ref"
    );
    let lone = word.starts_with(|c: char| c.is_ascii_uppercase())
        && doc.t[doc.line_start(at)..at].trim().is_empty()
        && doc.t[e..doc.line_end(e)].trim().is_empty();
    let bad = lone
        || in_authority(doc, at)
        || prev.is_ascii_alphanumeric()
        || prev >= 0x80
        || b"/@.$=%_\\`".contains(&prev)
        || b"/(=@\\".contains(&after)
        || doc.code;
    (!bad && !annotation && (3..=30).contains(&len) && word.bytes().any(|b| b.is_ascii_alphabetic()))
        .then(|| Raw::new(at, e, Username, 0.7).sub("handle"))
}

/// `name [at] host [dot] tld`, also with parentheses or bare words. Read around the dot, the rarer of the two.
fn spelled(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for mark in [&b"dot"[..], b"DOT", b"Dot", b"[.]", b"(.)", b"punto", b"punkt", b"[at]", b"(at)"] {
        for at in memchr::memmem::find_iter(doc.b, mark) {
            if at >= done || mark != b"dot" {
                let back = doc.lookback(at, 90);
                spelled_in(doc, at - back.len(), doc.window(at - back.len(), 160), out);
                done = at + 30;
            }
        }
    }
}

fn spelled_in(doc: &Doc<'_>, base: usize, window: &str, out: &mut Sink) {
    const AT: &[&str] = &["[at]", "(at)", "{at}", "<at>", "at", "[@]", "(@)", "arroba", "_at_", "-at-"];
    const DOT: &[&str] =
        &["[dot]", "(dot)", "{dot}", "<dot>", "dot", "[.]", "(.)", "punto", "punkt", "point"];
    let lower = |w: &str, list: &[&str]| list.iter().any(|l| w.eq_ignore_ascii_case(l));
    let mut words: Vec<(usize, usize)> = Vec::new();
    for word in window.split_ascii_whitespace() {
        let s = base + word.as_ptr() as usize - window.as_ptr() as usize;
        words.extend(pieces(word).into_iter().map(|(a, b)| (s + a, s + b)));
    }
    let text = |i: usize| words.get(i).map_or("", |w| &doc.t[w.0..w.1]);
    for i in 1..words.len() {
        if !lower(text(i), AT) || !text(i - 1).bytes().all(local_byte) || text(i - 1).is_empty() {
            continue;
        }
        let mut j = i + 1;
        let mut dots = 0;
        while lower(text(j + 1), DOT) && text(j + 2).bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        {
            j += 2;
            dots += 1;
        }
        // `jane dot doe at ...`
        let mut first = i - 1;
        while first >= 2 && lower(text(first - 1), DOT) && text(first - 2).bytes().all(local_byte) {
            first -= 2;
        }
        let host = text(j).trim_end_matches(['.', ',', ';']);
        let end = words.get(j).map(|w| w.0 + host.len()).unwrap_or(0);
        let label =
            host.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.').count();
        let bracketed = !text(i).eq_ignore_ascii_case("at");
        if (dots > 0 || bracketed && host.contains('.')) && label >= 2 && end > words[i - 1].0 {
            out.push(Raw::new(words[first].0, end - (host.len() - label), Email, 0.85).sub("spelled"));
        }
    }
}

/// Top-level domains that make a bare `name at host.tld` or `name @ host . tld` an address.
const TLDS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "io", "co", "de", "fr", "es", "it", "pt", "nl", "pl", "se", "ru",
    "uk", "eu", "info", "biz", "me", "ai", "app", "dev", "ch", "at", "be", "us", "ca", "au", "br", "in",
    "jp", "cn", "no", "dk", "fi", "cz", "ie", "mx", "ar", "example", "test",
];

/// `jane.doe at example.com` and `jane.doe @ example . com`: spaces where none belong.
fn spaced(doc: &Doc<'_>, out: &mut Sink) {
    for mark in [&b" at "[..], b" AT ", b" @", b"@ "] {
        for at in memchr::memmem::find_iter(doc.b, mark) {
            let back = doc.lookback(at, 64);
            let name = back.rsplit(|c: char| !c.is_ascii() || !local_byte(c as u8)).next().unwrap_or("");
            // A plain word before "at" is a word.
            let bare = mark[0] != b'@' && mark[1] != b'@';
            let telling = name.bytes().any(|b| b == b'.' || b == b'_' || b.is_ascii_digit());
            let letters = name.bytes().any(|b| b.is_ascii_alphabetic());
            if !letters || name.len() < 2 || bare && !telling {
                continue;
            }
            if let Some(len) = host(doc.window(at + mark.len(), 80)) {
                out.push(Raw::new(at - name.len(), at + mark.len() + len, Email, 0.75).sub("spelled"));
            }
        }
    }
}

/// Length of a host at the start of `text`, whose labels may have spaces around their dots.
fn host(text: &str) -> Option<usize> {
    let mut at = text.len() - text.trim_start_matches(' ').len();
    let label =
        |from: usize| text[from..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'-').count();
    let (mut labels, mut last, mut end) = (0, "", 0);
    while labels < 5 {
        let len = label(at);
        if len == 0 {
            break;
        }
        (labels, last, end) = (labels + 1, &text[at..at + len], at + len);
        let rest = text[end..].trim_start_matches(' ');
        let Some(rest) = rest.strip_prefix('.') else { break };
        at = text.len() - rest.trim_start_matches(' ').len();
    }
    (labels >= 2 && TLDS.iter().any(|t| last.eq_ignore_ascii_case(t))).then_some(end)
}

/// Splits brackets that stand without spaces: `a[at]b[dot]de`.
fn pieces(word: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let (mut s, b) = (0, word.as_bytes());
    for (i, c) in b.iter().enumerate() {
        if b"[({<".contains(c) && i > s {
            out.push((s, i));
            s = i;
        } else if b"])}>".contains(c) {
            out.push((s, i + 1));
            s = i + 1;
        }
    }
    if s < b.len() {
        let cut = word[s..].find('=').map_or(s, |p| s + p + 1);
        out.push((if cut < b.len() { cut } else { s }, b.len()));
    }
    if let Some(first) = out.first_mut()
        && let Some(p) = word[first.0..first.1].find('=')
        && first.0 + p + 1 < first.1
    {
        first.0 += p + 1;
    }
    out
}

fn url_byte(b: u8) -> bool {
    b > 0x20 && !b"<>\"`{}|\\^".contains(&b)
}

fn url_end(doc: &Doc<'_>, from: usize) -> usize {
    let mut e = from + doc.b[from..].iter().take(2048).take_while(|b| url_byte(**b)).count();
    while !doc.t.is_char_boundary(e) {
        e -= 1;
    }
    let opened = doc.b[from..e].contains(&b'(');
    while e > from && (b".,;:!?'*".contains(&doc.b[e - 1]) || doc.b[e - 1] == b')' && !opened) {
        e -= 1;
    }
    e
}

/// A URL around `://`; where it ends.
fn url(doc: &Doc<'_>, at: usize, out: &mut Sink) -> usize {
    let mut s = at;
    while s > 0 && at - s < 20 && (doc.b[s - 1].is_ascii_alphanumeric() || b"+.-".contains(&doc.b[s - 1])) {
        s -= 1;
    }
    let scheme = &doc.t[s..at].to_ascii_lowercase();
    let web = ["http", "https", "ftp", "ftps", "ws", "wss", "sftp", "ssh", "git", "ldap"]
        .contains(&scheme.as_str());
    let e = url_end(doc, at + 3);
    let host = doc.window(at + 3, 12);
    let local = ["localhost", "127.0.0.1", "0.0.0.0", "example."].iter().any(|h| host.starts_with(h));
    if web && !local && e > at + 6 {
        out.push(Raw::new(s, e, Url, 0.6));
    }
    e
}

fn bare_url(doc: &Doc<'_>, at: usize, out: &mut Sink) {
    let e = url_end(doc, at);
    if !doc.prev(at).is_ascii_alphanumeric() && doc.prev(at) != b'/' && doc.t[at..e].matches('.').count() >= 2
    {
        out.push(Raw::new(at, e, Url, 0.6));
    }
}

/// Whether a bare token behind "username" is one: letters with digits or signs in it, as no word has.
fn names(doc: &Doc<'_>, cue: usize, end: usize, body: &str) -> bool {
    let word = doc.t[cue..end].to_ascii_lowercase();
    let token = body.split(|c: char| c.is_whitespace() || ",;".contains(c)).next().unwrap_or("");
    let mixed = token.bytes().any(|b| b.is_ascii_digit()) && token.bytes().any(|b| b.is_ascii_alphabetic());
    let telling = word.contains("name")
        || word.contains("handle")
        || word.contains("utilisateur")
        || word.contains("usuario");
    !doc.code && telling && mixed && token.len() >= 4
}

/// The value behind `user:`, `username=`, `login`.
fn named(doc: &Doc<'_>, cue: usize, end: usize, out: &mut Sink) {
    let rest = doc.window(end, 80);
    let mut body = rest.trim_start_matches(['"', '\'', ']']);
    body = body.trim_start_matches(' ');
    let op = body.starts_with([':', '=']) && !body.starts_with("==");
    let prose = ["is ", "name is ", "ist ", "es ", "est "].iter().find_map(|p| body.strip_prefix(p));
    let netrc = matches!(&doc.b[cue..end], b"login" | b"user")
        && rest.starts_with(' ')
        && doc.lookback(cue, 8).trim_end().ends_with(|c: char| c.is_alphanumeric())
        && doc.lookback(cue, 200).contains("machine ");
    if op {
        body = body.trim_start_matches(['=', ':', '>', ' ']);
    } else if let Some(p) = prose {
        body = p;
    } else if !netrc && !names(doc, cue, end, body) {
        return;
    }
    let quoted = body.starts_with(['"', '\'']);
    body = body.trim_start_matches(['"', '\'']);
    let len = body.find(|c: char| !(c.is_alphanumeric() || "._-@+\\".contains(c))).unwrap_or(body.len());
    let value = body[..len].trim_end_matches(['.', '-']);
    let stop = body[value.len()..].chars().next();
    let call = matches!(stop, Some('(' | '[' | '$' | '{' | '<'))
        || doc.code && !quoted && matches!(stop, Some(';' | ',' | ')'));
    let digits = value.bytes().any(|b| b.is_ascii_digit());
    let plain = matches!(
        value.to_ascii_lowercase().as_str(),
        "none"
            | "null"
            | "true"
            | "false"
            | "string"
            | "str"
            | "user"
            | "username"
            | "admin"
            | "root"
            | "required"
            | "not"
            | "the"
            | "a"
            | "an"
            | "http"
            | "https"
            | "undefined"
            | "req"
            | "self"
            | "this"
            | "name"
            | "id"
            | "nil"
            | "int"
            | "text"
            | "varchar"
            | "postgres"
            | "test"
    );
    let s = end + (body.as_ptr() as usize - rest.as_ptr() as usize);
    if !call
        && !plain
        && (3..=40).contains(&value.chars().count())
        && !value.contains('@')
        && (op || quoted || digits)
        && value.bytes().any(|b| b.is_ascii_alphabetic())
    {
        out.push(Raw::new(s, s + value.len(), Username, if digits || op { 0.7 } else { 0.5 }));
    }
}
