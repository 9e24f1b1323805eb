//! Files that hold credentials by their kind: Kubernetes secrets, PuTTY keys, and the base64 of `user:password`.

use super::strength::placeholder;
use crate::sensitivity::Raw;
use crate::sensitivity::decode::from_base64;
use crate::sensitivity::doc::{Doc, Sink};

/// Most lines that one section of a manifest is read for.
const LINES_MAX: usize = 200;

pub(super) fn find(doc: &Doc<'_>, out: &mut Sink) {
    kubernetes(doc, out);
    putty(doc, out);
    for name in [&b"auth"[..], b"_auth", b"Basic", b"basic"] {
        for at in memchr::memmem::find_iter(doc.b, name) {
            basic(doc, at + name.len(), out);
        }
    }
}

/// The values below `data:` and `stringData:` of a manifest whose kind is `Secret`.
fn kubernetes(doc: &Doc<'_>, out: &mut Sink) {
    if memchr::memmem::find(doc.b, b"kind: Secret").is_none() {
        return;
    }
    for (head, encoded) in [(&b"\ndata:"[..], true), (b"\nstringData:", false)] {
        for at in memchr::memmem::find_iter(doc.b, head) {
            let mut line_s = doc.line_end(at + 1) + 1;
            for _ in 0..LINES_MAX {
                let Some(line) = doc.t.get(line_s..doc.line_end(line_s.min(doc.t.len()))) else { break };
                if !line.starts_with([' ', '\t']) {
                    break;
                }
                if let Some(colon) = line.find(": ") {
                    let value = line[colon + 2..].trim().trim_matches(['"', '\'']);
                    let s = line_s + colon + 2 + line[colon + 2..].find(value).unwrap_or(0);
                    let holds =
                        if encoded { decodes(value) } else { value.len() >= 3 && !placeholder(value) };
                    if holds {
                        out.push(Raw::secret(s, s + value.len(), "kubernetes_secret", 0.85));
                    }
                }
                line_s += line.len() + 1;
            }
        }
    }
}

fn decodes(value: &str) -> bool {
    value.len() >= 4
        && value.len().is_multiple_of(4)
        && from_base64(value.as_bytes()).is_some_and(|v| v.len() >= 3)
}

/// `auth: "dXNlcjpwYXNzd29yZA=="` and `Basic dXNlcjpwYXNzd29yZA==`.
fn basic(doc: &Doc<'_>, end: usize, out: &mut Sink) {
    let rest = doc.window(end, 400);
    let body = rest.trim_start_matches(['"', '\'', ' ', ':', '=']);
    if body.len() == rest.len() {
        return;
    }
    let len = body.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(b)).count();
    let text = &body[..len];
    let pair = from_base64(text.as_bytes()).and_then(|v| String::from_utf8(v).ok());
    let holds = pair.as_deref().and_then(|p| p.split_once(':')).is_some_and(|(user, pass)| {
        user.len() <= 80 && pass.len() >= 3 && !placeholder(pass) && pass.chars().all(|c| !c.is_control())
    });
    if len >= 8 && holds {
        let s = end + rest.len() - body.len();
        out.push(Raw::secret(s, s + len, "basic_auth", 0.95));
    }
}

/// The private part of a PuTTY key.
fn putty(doc: &Doc<'_>, out: &mut Sink) {
    for at in memchr::memmem::find_iter(doc.b, b"PuTTY-User-Key-File-") {
        let body = doc.window(at, 16_384);
        let Some(private) = body.find("Private-Lines:") else { continue };
        let end = body[private..].find("Private-MAC:").map_or(body.len(), |p| {
            let line = private + p;
            line + body[line..].find('\n').unwrap_or(body.len() - line)
        });
        out.push(Raw::secret(at + private, at + end, "private_key", 0.98));
    }
}
