//! Street and postal addresses.
//!
//! An address is found from its evidence (a house number before a street word, a street word before a name, a
//! postal box, or a word such as "lives at") and then read on as long as it goes on like one: capitalised words,
//! numbers, and the small words between them. The end is the last number or name, never the sentence after it.

mod words;
mod world;

use policies::EntityKind::Address;
use regex::Regex;

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Sink};
use words::{abbreviation, connector, stop_word};

/// Longest address, in bytes.
const LENGTH_MAX: usize = 160;

#[derive(Debug)]
pub(crate) struct Addresses {
    numbered: Regex,
    suffixed: Regex,
    tailed: Regex,
    boxed: Regex,
    postcode: Regex,
    world: world::World,
}

impl Addresses {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        let street = "Street|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Parkway|Pathway|Villas?|Pkwy|Highway|Hwy|Circle|Cir|Trail|Trl|Alley|Crescent|Close|Row|Walk|Grove|Gardens?|Mews|Hill|Hills|Park|Parks|Point|Points|Ridge|Run|Route|Loop|Pike|Pass|Path|Plaza|Plains?|Port|Ports|Prairie|Ranch|Rapids?|Rest|River|Roads?|Shoals?|Shores?|Spring|Springs|Spurs?|Squares?|Station|Stravenue|Stream|Streets?|Summit|Throughway|Thoroughfare|Trace|Track|Trafficway|Turnpike|Tunnel|Underpass|Unions?|Valleys?|Viaduct|Views?|Villages?|Ville|Vista|Walks?|Wall|Ways?|Wells?|Triangle|Ramp|Bypass|Cape|Burgs?|Brooks?|Bridge|Branch|Bottom|Bluffs?|Bend|Beach|Bayou|Camp|Canyon|Causeway|Centers?|Centre|Circles|Cliffs?|Club|Common|Corners?|Course|Courts|Coves?|Creek|Crest|Crossing|Crossroad|Curve|Dale|Dam|Divide|Drives|Estates?|Expressway|Extensions?|Falls?|Ferry|Fields?|Flats?|Fords?|Forest|Forges?|Forks?|Fort|Freeway|Gateway|Glens?|Greens?|Groves|Harbors?|Haven|Heights|Hollow|Inlet|Islands?|Isle|Junctions?|Keys?|Knolls?|Lakes?|Land|Landing|Lights?|Loaf|Locks?|Lodge|Mall|Manors?|Meadows?|Mews|Mills?|Mission|Motorway|Mount|Mountains?|Neck|Orchard|Oval|Overpass|Passage|Pines?|Parade|Esplanade|Quay|Rise|Strand|Broadway";
        Ok(Self {
            numbered: Regex::new(&format!(
                r"\A\d{{1,6}}[A-Za-z]?(?:[-/]\d{{1,4}})?,? (?:(?:[NSEW]|N\.|S\.|E\.|W\.|North|South|East|West) )?(?:(?:\d{{1,3}}(?:st|nd|rd|th)|\p{{Lu}}[\p{{L}}'.-]*) ){{1,4}}(?:{street})\b|\A\d{{1,6}} Broadway\b|\A\d{{1,4}},? (?:bis |ter )?(?i:rue|avenue|av\.|boulevard|bd|chemin|place|impasse|allée|quai|cours|route) (?:de |du |des |la |le |les |d'|l')*\p{{Lu}}",
            ))?,
            suffixed: Regex::new(
                r"(?:\p{Lu}[\p{L}.]*[- ]){0,3}(?:\p{L}*(?i:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|steig|graben|straat|laan|plein|pad|boulevard|singel|gracht|kade|dreef|steeg|hof|gatan|vägen|stigen|torget|gränd|gränden|allén|veien|gata|vej|gade|katu)|(?:Straße|Platz|Allee|Weg|Ring)) ?\z",
            )?,
            tailed: Regex::new(
                r"\A\d{1,6}(?:/\d{1,4})?[A-Za-z]?,? (?:\p{Lu}[\p{L}'.-]* ?){1,5}(?:(?:Apt\.?|Suite|Unit) \w{1,6})?(?:, |,? ?\n ?)(?:\p{Lu}[\p{L}'-]* ?){1,4},? ?[A-Z]{2,3},? \d{4,5}\b",
            )?,
            boxed: Regex::new(r"\A(?i:,? ?(?:no\.?|box)? ?\d{1,6})")?,
            postcode: Regex::new(r"\A[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b")?,
            world: world::World::new()?,
        })
    }

    pub(crate) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        let mut done = 0;
        for i in 0..doc.toks.len() {
            let tok = doc.toks[i];
            if tok.s < done || !doc.b[tok.s].is_ascii_digit() || tok.len() > 7 {
                continue;
            }
            let Some((s, from, score)) = self.evidence(doc, tok.s, tok.e) else { continue };
            let e = self.extend(doc, s, from);
            // A street word right before belongs to it: "Calle Gran Vía 28".
            let word = doc.cues.starting_before(Cue::StreetPre, s).filter(|&(_, end)| {
                s - end.min(s) <= 8
                    && doc
                        .t
                        .get(end..s)
                        .is_some_and(|t| t.bytes().all(|b| b.is_ascii_lowercase() || b" .".contains(&b)))
            });
            let s = word.map_or(s, |(start, _)| start);
            if s >= done {
                out.push(Raw::new(s, e, Address, score));
                done = e;
            }
        }
        for &(s, end) in doc.cues.all(Cue::StreetPre) {
            if s >= done
                && let Some(e) = self.street_first(doc, s, end)
            {
                out.push(Raw::new(s, e, Address, 0.75));
                done = e;
            }
        }
        for &(_, end) in doc.cues.all(Cue::Address) {
            if let Some((s, e)) = field(doc, end) {
                out.push(Raw::new(s, e, Address, 0.65));
            }
        }
        for &(s, end) in doc.cues.all(Cue::Unit) {
            if let Some(start) = unit(doc, s, end) {
                out.push(Raw::new(start, self.extend(doc, start, end), Address, 0.7));
            }
        }
        self.world.find(doc, out);
        for &(s, end) in doc.cues.all(Cue::PoBox) {
            self.box_at(doc, s, end, out);
        }
    }

    /// Start, where reading goes on, and how sure that is.
    fn evidence(&self, doc: &Doc<'_>, s: usize, e: usize) -> Option<(usize, usize, f32)> {
        if doc.prev(s).is_ascii_alphanumeric() || b".$#-".contains(&doc.prev(s)) {
            return None;
        }
        if let Some(m) = self.numbered.find(doc.window(s, 90)) {
            let near = doc.around(Cue::Address, s, s + m.end(), 60, 10);
            return Some((s, s + m.end(), if near { 0.95 } else { 0.75 }));
        }
        if let Some(m) = self.tailed.find(doc.window(s, 120)) {
            return Some((s, s + m.end(), 0.85));
        }
        let back = doc.lookback(s, 60);
        let line = back.rsplit(['\n', ',', ':', '"', '(']).next().unwrap_or("");
        if line.ends_with(' ')
            && let Some(m) = self.suffixed.find(line)
        {
            let word = line[m.start()..].trim_start();
            if word.starts_with(char::is_uppercase) && word.len() > 5 {
                return Some((s - word.len(), e, 0.85));
            }
        }
        // "living at 12 Somewhere", "address: 83393 Pärna 33"
        let end = doc.cues.before(Cue::Address, s).filter(|end| s - end <= 60)?;
        let between = &doc.t[end..s];
        let direct = between.bytes().all(|b| b" :=\"'\n\t".contains(&b));
        let name = between.trim_start_matches([' ', ':', '=', '"', '\'', '\n']);
        let name = ["in der ", "in ", "at ", "en ", "em ", "na ", "på ", "on "]
            .iter()
            .find_map(|p| name.strip_prefix(p))
            .unwrap_or(name);
        let street = name.strip_prefix("C. ").unwrap_or(name);
        let named = name.starts_with(char::is_uppercase)
            && !street.contains(['.', ';', ':', '@'])
            && street
                .split([' ', ','])
                .all(|w| w.is_empty() || w.starts_with(char::is_uppercase) || connector(w));
        let next = doc.window(e, 24);
        let goes_on =
            next.starts_with([' ', ',', '/']) && next[1..].trim_start().starts_with(char::is_uppercase);
        if direct && goes_on {
            Some((s, e, 0.7))
        } else if named && !name.contains("Box") {
            Some((s - name.len(), e, 0.6))
        } else {
            None
        }
    }

    /// `Calle Mayor 5`, `rue Berthelot, 06333 Cousin`, `ul. Sikorskiego 896`.
    fn street_first(&self, doc: &Doc<'_>, s: usize, end: usize) -> Option<usize> {
        let word = &doc.t[s..end];
        let rest = doc.window(end, 70);
        let body = rest.trim_start_matches(['.', ' ']);
        let body = [
            "de la ", "de las ", "de los ", "del ", "de ", "du ", "des ", "la ", "le ", "les ", "l'", "d'",
            "da ", "do ", "dos ", "das ", "della ", "dei ", "di ",
        ]
        .iter()
        .find_map(|p| body.strip_prefix(p))
        .unwrap_or(body);
        let lower = word.starts_with(char::is_lowercase)
            && !matches!(
                word,
                "rue"
                    | "boulevard"
                    | "chemin"
                    | "impasse"
                    | "allée"
                    | "avenue"
                    | "quai"
                    | "calle"
                    | "c/"
                    | "rua"
                    | "ul."
                    | "al."
                    | "pl."
                    | "os."
                    | "via"
                    | "place"
                    | "ulica"
                    | "aleja"
                    | "plac"
                    | "aleje"
                    | "osiedle"
                    | "alameda"
                    | "avenida"
            );
        let spaced = rest.starts_with([' ', '.']) || word == "c/" || word == "C/";
        let number = body.bytes().take(45).any(|b| b.is_ascii_digit()) || doc.window(end, 45).contains("s/n");
        let sure = word.ends_with('.') && word.starts_with(char::is_uppercase) || word.ends_with('/');
        if lower
            || !spaced
            || !sure && !body.starts_with(char::is_uppercase)
            || body.is_empty()
            || !number
            || word.len() < 2
        {
            return None;
        }
        let from = end + rest.len() - body.len();
        let e = self.extend(doc, s, from);
        (doc.b[s..e].iter().any(u8::is_ascii_digit) || doc.t[s..e].ends_with("s/n")).then_some(e)
    }

    fn box_at(&self, doc: &Doc<'_>, s: usize, end: usize, out: &mut Sink) {
        let word = doc.t[s..end].to_ascii_lowercase();
        if matches!(word.as_str(), "apo" | "fpo" | "dpo") {
            let rest = doc.window(end, 9).as_bytes();
            if rest.len() == 9
                && matches!(&rest[..4], b" AA " | b" AE " | b" AP ")
                && rest[4..].iter().all(u8::is_ascii_digit)
            {
                // The line before is part of it: "Unit 7137 Box 1607", "USNV Botolen".
                let back = doc.lookback(s, 40).trim_end_matches([',', ' ', '\n']);
                let from = back
                    .rfind("Unit ")
                    .or_else(|| back.rfind("PSC "))
                    .or_else(|| back.rfind("CMR "))
                    .or_else(|| back.rfind("US"));
                let lead = s - doc.lookback(s, 40).len();
                out.push(Raw::new(from.map_or(s, |p| lead + p), end + 9, Address, 0.95));
            }
        } else if let Some(m) = self.boxed.find(doc.window(end, 16)) {
            out.push(Raw::new(s, self.extend(doc, s, end + m.end()), Address, 0.85));
        }
    }

    /// Reads on from `at` while the text goes on like an address.
    fn extend(&self, doc: &Doc<'_>, start: usize, at: usize) -> usize {
        let rest = doc.window(at, LENGTH_MAX.saturating_sub(at - start).max(1));
        // Finish the word that `at` is in.
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-')).unwrap_or(rest.len());
        let (mut pos, mut good, mut prev_state, mut last_word) = (word, word, false, String::new());
        let mut numbers = 0;
        while pos < rest.len() {
            let tail = &rest[pos..];
            let sep = tail.find(|c: char| c.is_alphanumeric()).unwrap_or(tail.len());
            let gap = &tail[..sep];
            let ok = gap.chars().all(|c| " ,.\n/()-#'ºª°".contains(c))
                && gap.len() <= 6
                && gap.matches('\n').count() <= 1;
            let sentence = gap.starts_with('.') && gap.len() > 1 && !abbreviation(&last_word);
            if !ok || sentence || gap.contains("--") {
                break;
            }
            let body = &tail[sep..];
            let len =
                body.find(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-')).unwrap_or(body.len());
            let word = &body[..len];
            let digit = word.starts_with(|c: char| c.is_ascii_digit());
            let code = self.postcode.find(body).map(|m| m.end());
            if let Some(n) = code {
                return at + pos + sep + n;
            }
            if digit {
                let digits = word.bytes().filter(u8::is_ascii_digit).count();
                // A second long number behind a comma is a telephone, not a house.
                if digits > 8
                    || word.starts_with('0') && digits < 4 && numbers > 1
                    || word.starts_with('0') && digits == 4 && numbers > 1
                    || body[len..].starts_with('@')
                {
                    break;
                }
                numbers += 1;
                good = pos + sep + len;
                if prev_state && digits >= 4 {
                    break;
                }
            } else if word.chars().next().is_some_and(char::is_uppercase) {
                if body[len..].starts_with(':') || stop_word(word) {
                    break;
                }
                good = pos + sep + len;
            } else if word == "s" && body.starts_with("s/n") {
                good = pos + sep + 3;
            } else if !connector(word) {
                break;
            }
            prev_state = (2..=3).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_uppercase());
            word.clone_into(&mut last_word);
            pos += sep + len;
        }
        at + good
    }
}

/// The rest of a line `Address: ...`.
fn field(doc: &Doc<'_>, end: usize) -> Option<(usize, usize)> {
    let line = &doc.t[end..doc.line_end(end)];
    let value = line.strip_prefix(':')?.trim();
    let value = value.trim_end_matches(['.', ',', ' ']);
    let stops = value.contains([';', '@', '{', '"', '=']) || value.contains("://") || value.contains(". ");
    let words = value.split(' ').count();
    let digit = value.bytes().any(|b| b.is_ascii_digit());
    let cased = value.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
    if stops || !cased || value.len() > 100 || words < 2 || !digit && words > 6 {
        return None;
    }
    let s = value.as_ptr() as usize - doc.t.as_ptr() as usize;
    Some((s, s + value.len()))
}

/// Start of the address whose flat or suite stands at `s`: the line, or the line before, that holds a house number.
fn unit(doc: &Doc<'_>, s: usize, end: usize) -> Option<usize> {
    let numbered =
        doc.window(end, 4).trim_start_matches(['.', ' ', '#']).starts_with(|c: char| c.is_ascii_digit());
    let mut start = doc.line_start(s);
    if doc.t.get(start..s)?.trim().is_empty() && start > 0 {
        start = doc.line_start(start - 1);
    }
    let line = doc.t.get(start..s)?;
    let from = start + line.rfind([':', '"', ';']).map_or(0, |p| p + 1);
    let body = doc.t.get(from..s)?;
    let lead = body.len() - body.trim_start().len();
    let house = body.trim_start().starts_with(|c: char| c.is_ascii_digit());
    (numbered && house && s - from <= 80 && !body.contains("://")).then_some(from + lead)
}
