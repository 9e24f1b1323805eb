//! IP addresses (RFC 791, RFC 4291) and hardware addresses (IEEE 802).
//!
//! Not reported, because they identify nobody: loopback, the unspecified and broadcast addresses, netmasks, and
//! dotted quads that a version word announces. Private ranges are reported with a lower score.

use std::net::{Ipv4Addr, Ipv6Addr};

use policies::EntityKind::{IpAddress, MacAddress, Username};

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut i = 0;
    while i + 3 < doc.toks.len() {
        i += match v4(doc, i) {
            Some(raw) => {
                log_user(doc, raw.e, out);
                out.push(raw);
                4
            }
            None => 1,
        };
    }
    let mut done = 0;
    for at in memchr::memchr_iter(b':', doc.b) {
        if at >= done {
            done = colons(doc, at, out);
        }
    }
    for i in 0..doc.toks.len() {
        dashes(doc, i, out);
    }
}

fn v4(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let toks = doc.toks.get(i..i + 4)?;
    let (s, e) = (toks[0].s, toks[3].e);
    let dotted = (i..i + 3).all(|k| doc.gap(k) == Gap::Dot) && toks.iter().all(|t| t.digits);
    let inner = doc.prev(s) == b'.'
        || doc.at(e) == b'.' && doc.at(e + 1).is_ascii_alphanumeric()
        || b"-_".contains(&doc.prev(s));
    if !dotted || inner {
        return None;
    }
    let ip: Ipv4Addr = doc.t[s..e].parse().ok()?;
    let o = ip.octets();
    let dull = ip.is_loopback() || ip.is_unspecified() || ip.is_broadcast() || o[0] == 255 || o[0] == 0;
    let version = doc.before(Cue::Version, s, 20) || doc.lookback(s, 2).ends_with(" v");
    let code = o[3] == 0 && !doc.lookback(e, 0).contains('/') && doc.at(e) != b'/';
    (!dull && !version).then(|| {
        Raw::new(
            s,
            e,
            IpAddress,
            if ip.is_private() {
                0.75
            } else if code {
                0.7
            } else {
                0.9
            },
        )
    })
}

/// An IPv6 or MAC address around a colon; where the run of hexadecimal digits and colons ends.
fn colons(doc: &Doc<'_>, at: usize, out: &mut Sink) -> usize {
    let part = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
    let mut s = at;
    while s > 0 && at - s < 45 && part(doc.b[s - 1]) {
        s -= 1;
    }
    let mut e = at;
    while e < doc.b.len() && e - at < 50 && part(doc.b[e]) {
        e += 1;
    }
    while e > s && (doc.b[e - 1] == b'.' || doc.b[e - 1] == b':' && !doc.t[s..e].ends_with("::")) {
        e -= 1;
    }
    let text = &doc.t[s..e];
    let alone =
        !doc.prev(s).is_ascii_alphanumeric() && !doc.at(e).is_ascii_alphanumeric() && doc.prev(s) < 0x80;
    if !alone || text.len() < 5 {
        return e.max(at + 1);
    }
    let pairs: Vec<&str> = text.split(':').collect();
    if pairs.len() == 6 && pairs.iter().all(|p| p.len() == 2 && !p.contains('.')) {
        if varied(text) {
            out.push(Raw::new(s, e, MacAddress, 0.95));
        }
    } else if pairs.len() >= 3
        && let Ok(ip) = text.parse::<Ipv6Addr>()
    {
        let groups = pairs.iter().filter(|p| !p.is_empty()).count();
        let digit = text.bytes().any(|b| b.is_ascii_digit());
        if !ip.is_loopback() && !ip.is_unspecified() && digit && (groups >= 3 || text.len() >= 8) {
            log_user(doc, e, out);
            out.push(Raw::new(s, e, IpAddress, 0.9));
        }
    }
    e.max(at + 1)
}

/// The user of a line in the common log format: `address - user [time]`.
fn log_user(doc: &Doc<'_>, e: usize, out: &mut Sink) {
    let rest = doc.window(e, 80);
    let Some(body) = rest.strip_prefix(" - ") else { return };
    let len = body.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"._@-".contains(b)).count();
    if len >= 2 && body[len..].starts_with(" [") {
        out.push(Raw::new(e + 3, e + 3 + len, Username, 0.85));
    }
}

fn varied(text: &str) -> bool {
    let mut hex = text.bytes().filter(u8::is_ascii_hexdigit);
    let first = hex.next();
    hex.any(|b| Some(b) != first)
}

/// `00-1A-2B-3C-4D-5E` and `001a.2b3c.4d5e`, read from the first group that holds a digit.
fn dashes(doc: &Doc<'_>, i: usize, out: &mut Sink) {
    let tok = doc.toks[i];
    let (sep, width, groups) = match (tok.len(), doc.at(tok.e)) {
        (2, b'-') => (b'-', 2, 6),
        (4, b'.') => (b'.', 4, 3),
        _ => return,
    };
    let mut s = tok.s;
    while s > width && doc.b[s - 1] == sep && doc.b[s - 1 - width..s - 1].iter().all(u8::is_ascii_hexdigit) {
        s -= width + 1;
    }
    let len = groups * width + groups - 1;
    let Some(b) = doc.b.get(s..s + len) else { return };
    let fits = b
        .iter()
        .enumerate()
        .all(|(k, c)| if k % (width + 1) == width { *c == sep } else { c.is_ascii_hexdigit() });
    let alone = !doc.prev(s).is_ascii_alphanumeric()
        && doc.prev(s) != sep
        && !doc.at(s + len).is_ascii_alphanumeric()
        && doc.at(s + len) != sep;
    let letters = b.iter().any(u8::is_ascii_alphabetic);
    let fresh = !out.last().is_some_and(|r| r.kind == MacAddress && r.s == s);
    if fits
        && alone
        && fresh
        && varied(&doc.t[s..s + len])
        && (letters || doc.lookback(s, 20).to_ascii_lowercase().contains("mac"))
    {
        out.push(Raw::new(s, s + len, MacAddress, 0.9));
    }
}
