//! Values that are written apart or in words: `4 1 1 1`, `D E 8 9`, `four one one one`, `vier eins eins`.
//!
//! The result is another view of the text in which the parts stand together, mapped back like every other view. Only
//! long rows count: seven digits, eight single characters. Left out: numbers in words above nine ("forty-one").

use super::cues::{Cue, CueHits};
use super::view::{Builder, View};

/// Fewest digits in a row of number words.
const DIGITS_MIN: usize = 7;
/// Fewest single characters in a row.
const APART_MIN: usize = 8;
/// Longest row, so that a text of nothing else is not one value.
const ROW_MAX: usize = 128;

/// Names of the digits in ten languages; the place in a list is the digit.
pub(super) const WORDS: [&[&str]; 10] = [
    &["zero", "oh", "null", "zéro", "cero", "nul", "noll", "ноль"],
    &["one", "eins", "un", "une", "uno", "una", "um", "uma", "een", "één", "jeden", "ett", "en", "один"],
    &["two", "zwei", "zwo", "deux", "dos", "due", "dois", "duas", "twee", "dwa", "två", "два"],
    &["three", "drei", "trois", "tres", "tre", "três", "drie", "trzy", "три"],
    &["four", "vier", "quatre", "cuatro", "quattro", "quatro", "cztery", "fyra", "четыре"],
    &["five", "fünf", "fuenf", "cinq", "cinco", "cinque", "vijf", "pięć", "fem", "пять"],
    &["six", "sechs", "seis", "sei", "zes", "sześć", "sex", "шесть"],
    &["seven", "sieben", "sept", "siete", "sette", "sete", "zeven", "siedem", "sju", "семь"],
    &["eight", "acht", "huit", "ocho", "otto", "oito", "osiem", "åtta", "восемь"],
    &["nine", "neun", "neuf", "nueve", "nove", "negen", "dziewięć", "nio", "девять"],
];

/// The text with such rows closed up; `None` when it holds none.
pub(super) fn view(text: &str, cues: &CueHits) -> Option<View<'static>> {
    let mut rows = in_words(text, cues.all(Cue::Digit));
    apart(text.as_bytes(), &mut rows);
    if rows.is_empty() {
        return None;
    }
    rows.sort_by_key(|row| row.first().map_or(0, |part| part.0));
    let mut out = Builder::with_capacity(text.len());
    let mut copied = 0;
    for row in rows {
        if row.first().is_none_or(|part| part.0 < copied) {
            continue;
        }
        for (s, e, c) in row {
            if s >= copied {
                // What separates two parts is dropped, so the row is one word; before the first it stays.
                let gap = &text[copied..s];
                let inside = gap.len() <= 4 && copied > 0 && gap.chars().all(separates) && out.ends_row();
                if !inside {
                    out.copy(gap, copied);
                }
            }
            out.replace(c.encode_utf8(&mut [0; 4]), s, e);
            copied = e;
        }
        out.close_row();
    }
    out.copy(&text[copied..], copied);
    Some(out.finish())
}

type Row = Vec<(usize, usize, char)>;

fn separates(c: char) -> bool {
    c.is_whitespace() || ",.-_/–·;".contains(c)
}

/// Rows of number words and single digits, at most a few signs apart.
fn in_words(text: &str, hits: &[(usize, usize)]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut k = 0;
    while k < hits.len() {
        let (mut row, mut at): (Row, usize) = (Vec::new(), hits[k].0);
        while row.len() < ROW_MAX {
            if let Some(&(s, e)) = hits.get(k).filter(|hit| hit.0 == at) {
                let Some(digit) = digit(&text[s..e]) else { break };
                row.push((s, e, digit));
                (at, k) = (e, k + 1);
            } else if row.len() >= 2 && text.as_bytes().get(at).is_some_and(u8::is_ascii_digit) {
                row.push((at, at + 1, char::from(text.as_bytes()[at])));
                at += 1;
            } else {
                break;
            }
            let rest = &text[at..];
            at += rest
                .char_indices()
                .take(3)
                .take_while(|(_, c)| separates(*c))
                .map(|(_, c)| c.len_utf8())
                .sum::<usize>();
            while hits.get(k).is_some_and(|hit| hit.0 < at) {
                k += 1;
            }
        }
        if row.len() >= DIGITS_MIN {
            rows.push(row);
        } else if row.is_empty() {
            k += 1;
        }
    }
    rows
}

fn digit(word: &str) -> Option<char> {
    let lower = word.to_lowercase();
    let value = WORDS.iter().position(|names| names.contains(&lower.as_str()))?;
    char::from_digit(value as u32, 10)
}

/// Rows of single letters and digits with one and the same sign between all of them.
fn apart(b: &[u8], rows: &mut Vec<Row>) {
    let sign = |i: usize| b.get(i).copied().filter(|c| b" .-_\t".contains(c));
    let alternates = |i: usize| {
        sign(i).is_some_and(|c| sign(i + 2) == Some(c) && sign(i + 4) == Some(c))
            && b.get(i + 1).is_some_and(u8::is_ascii_alphanumeric)
    };
    // Comma and slash are left out: they separate the cells of tables.
    let (mut at, mut floor) = (0, 0);
    // A row is longer than the step, so some place that is looked at lies inside it.
    while at < b.len() {
        let Some(first) = [at, at + 1].into_iter().find(|i| alternates(*i)) else {
            at += APART_MIN;
            continue;
        };
        let c = b[first];
        let mut s = first;
        while s >= floor + 2 && b[s - 1].is_ascii_alphanumeric() && b[s - 2] == c {
            s -= 2;
        }
        // The character before the first sign belongs to the row when it stands alone.
        let begins =
            s >= 1 && b[s - 1].is_ascii_alphanumeric() && (s < 2 || !b[s - 2].is_ascii_alphanumeric());
        let mut row: Row = Vec::new();
        let mut i = if begins { s - 1 } else { s + 1 };
        while i < b.len() && b[i].is_ascii_alphanumeric() && row.len() < ROW_MAX {
            let alone = b.get(i + 1).is_none_or(|n| !n.is_ascii_alphanumeric());
            if !alone {
                break;
            }
            row.push((i, i + 1, char::from(b[i])));
            if b.get(i + 1) != Some(&c) {
                break;
            }
            i += 2;
        }
        at = i.max(at) + 1;
        floor = row.last().map_or(floor, |part| part.1);
        if row.len() >= APART_MIN {
            rows.push(row);
        }
    }
}
