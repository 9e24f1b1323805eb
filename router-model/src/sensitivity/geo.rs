//! Geographic coordinates: a pair of decimal degrees, precise enough to be somebody's house.
//!
//! Two decimal numbers in range stand everywhere in code and tables, so a pair counts only where a word or a compass
//! letter says what it is. Four decimals are eleven metres; fewer are a district and are left alone.

use policies::EntityKind::Location;

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

/// Fewest decimals of either number.
const DECIMALS_MIN: usize = 4;

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut at = 0;
    while at + 3 < doc.toks.len() {
        at += match pair(doc, at) {
            Some(raw) => {
                out.push(raw);
                4
            }
            None => 1,
        };
    }
}

/// Degrees of a decimal number whose whole part is token `i`.
fn degrees(doc: &Doc<'_>, i: usize) -> Option<f64> {
    let (whole, part) = (doc.toks[i], doc.toks[i + 1]);
    let decimals = doc.bytes(part).iter().take_while(|b| b.is_ascii_digit()).count();
    let fits = whole.digits
        && whole.len() <= 3
        && doc.gap(i) == Gap::Dot
        && (DECIMALS_MIN..=12).contains(&decimals)
        && part.len() - decimals <= 1
        && doc.prev(whole.s) != b'.';
    fits.then(|| doc.t[whole.s..part.s + decimals].parse().ok())?
}

fn pair(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let (lat, lon) = (degrees(doc, i)?, degrees(doc, i + 2)?);
    let (s, e) = (doc.toks[i].s, doc.toks[i + 3].e);
    let s = s - usize::from(doc.prev(s) == b'-');
    let between = doc.t.get(doc.toks[i + 1].e..doc.toks[i + 2].s)?;
    let named = doc.around(Cue::Geo, s, e, 40, 12) || doc.cues.after(Cue::Geo, s).is_some_and(|at| at < e);
    let compass = between.contains(['N', 'S', '°']) && doc.window(e, 4).contains(['E', 'W', 'O', '°']);
    let joined = between.len() <= 20 && !between.contains(['\n', ';', '(']) || between.len() <= 40 && named;
    (lat <= 90.0 && lon <= 180.0 && joined && (named || compass))
        .then(|| Raw::new(s, e, Location, 0.75).sub("coordinates"))
}
