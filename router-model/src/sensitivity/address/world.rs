//! Addresses of countries that write them another way: Russian (street word, name, house), East Asian (from the province
//! down to the house, without spaces), and European ones whose street has no telling word but whose postcode and town
//! follow the house number.

use policies::EntityKind::Address;
use regex::Regex;

use crate::sensitivity::Raw;
use crate::sensitivity::doc::{Doc, Sink};

#[derive(Debug)]
pub(super) struct World {
    russian: Regex,
    asian: Regex,
    /// Behind a house number: its rest, a postcode, a town.
    posted: Regex,
    /// Before a house number: up to four words, the first one capitalised.
    street: Regex,
}

impl World {
    pub(super) fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            russian: Regex::new(
                r"(?:(?:\d{6}, ?)?(?:г\. ?)?\p{Lu}[\p{Cyrillic}-]{2,30}, ?)?(?:(?:ул|пр|просп|пер|пл|наб|б-р|ш)\. ?\p{Lu}?[\p{Cyrillic}0-9 .-]{2,40}|(?:улица|проспект|переулок|площадь|набережная|бульвар|шоссе) \p{Lu}[\p{Cyrillic} .-]{2,40}|\p{Lu}[\p{Cyrillic}-]{2,30} (?:проспект|улица|переулок|бульвар|шоссе)),? ?(?:д\. ?|дом )?\d{1,4}[а-я]?(?:, ?(?:корп|к|стр|кв|оф|офис|квартира)\.? ?\d{1,5}){0,3}(?:, ?\p{Lu}[\p{Cyrillic}-]{2,30})?(?:, ?\d{6})?",
            )?,
            asian: Regex::new(
                r"\p{Han}{1,4}[都道府県]\p{Han}{1,8}[市区町村郡][\p{Han}\p{Hiragana}\p{Katakana}]{0,12}\d{1,4}(?:[丁目番地号の-]{1,2}\d{1,4}){0,3}[号]?|\p{Han}{2,9}[省市]\p{Han}{1,10}[区县區縣市镇]?\p{Han}{1,12}[路街道巷弄段]\d{1,5}[号號弄](?:\d{1,4}[室楼樓号號])?|(?:[가-힣]{2,8}(?:시|도) )?[가-힣]{1,6}(?:구|군|시) [가-힣0-9]{1,12}(?:로|길|동) ?\d{1,4}(?:-\d{1,4})?",
            )?,
            posted: Regex::new(
                r"\A(?: ?[A-Za-z])?(?:[/-]\d{1,4})?(?: [A-Z] ?\d{1,3})?, ?(?:\d{5}|\d{3} \d{2}|\d{2}-\d{3}|\d{4} [A-Z]{2}|\d{4}-\d{3}|[A-Z]{1,2}-\d{4,5}) \p{Lu}[\p{L}-]+",
            )?,
            street: Regex::new(r"\p{Lu}[\p{L}.'’-]+(?: [\p{L}.'’-]{2,20}){0,3} \z")?,
        })
    }

    pub(super) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        if !doc.t.is_ascii() {
            for pattern in [&self.russian, &self.asian] {
                out.extend(pattern.find_iter(doc.t).map(|m| Raw::new(m.start(), m.end(), Address, 0.8)));
            }
        }
        for tok in doc.toks.iter().filter(|tok| tok.len() <= 5 && doc.b[tok.s].is_ascii_digit()) {
            // A house number stands behind a word and before more of the address.
            if doc.prev(tok.s) != b' ' || !b", /-".contains(&doc.at(tok.e)) {
                continue;
            }
            let Some(rest) = self.posted.find(doc.window(tok.e, 60)) else { continue };
            let back = doc.lookback(tok.s, 60);
            let line = back.rsplit(['\n', ',', ':', ';', '"', '(']).next().unwrap_or("");
            if let Some(street) = self.street.find(line) {
                out.push(Raw::new(tok.s - street.len(), tok.e + rest.end(), Address, 0.8));
            }
        }
    }
}
