//! Values of the same form that belong to nobody.
//!
//! Every range that is used here is reserved for examples, tests or fiction, so that no surrogate can be somebody's: e-mail and
//! web addresses at `example.com` (RFC 2606), IP addresses of the documentation blocks (RFC 5737, RFC 3849), MAC addresses of
//! the documentation range (RFC 7042), telephone numbers with 555-01xx (reserved for fiction in North America), the card
//! numbers that payment processors publish for testing, social security numbers that begin with 9.
//!
//! Kinds for which there is no such range get none, and a placeholder stands for them. Secrets never get one: a surrogate
//! key that looks real would be tried.

use policies::EntityKind;

const FIRST: &[&str] = &[
    "Alva", "Bruno", "Celia", "Dario", "Edda", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Linus",
    "Mara", "Nils", "Olga", "Pavel", "Quinn", "Rosa", "Sven", "Tara", "Udo", "Vera", "Wanda", "Xenia",
    "Yara", "Zeno",
];
const LAST: &[&str] = &[
    "Arden", "Birch", "Calder", "Dorn", "Elmer", "Falk", "Grove", "Hale", "Ivers", "Jansen", "Kestrel",
    "Lund", "Marlow", "Norde", "Oakes", "Perrin", "Quill", "Rowan", "Sorel", "Thorne", "Ulmer", "Varga",
    "Wilder", "Yarrow",
];
/// Published test numbers; none of them is issued.
const CARDS: &[&str] = &[
    "4111111111111111",
    "4012888888881881",
    "4242424242424242",
    "5555555555554444",
    "5105105105105100",
    "2223003122003222",
    "6011111111111117",
    "6011000990139424",
    "3530111333300000",
    "4000056655665556",
];
const AMERICAN_CARDS: &[&str] = &["378282246310005", "371449635398431"];

/// A surrogate for a value, chosen by `seed`; another one for each `round`. `None` for kinds without a safe range.
pub(super) fn surrogate(kind: EntityKind, value: &str, seed: &[u8; 32], round: u32) -> Option<String> {
    let mut draw = Draw { seed: *seed, round, taken: 0 };
    Some(match kind {
        EntityKind::Email => {
            let (first, last) = (draw.from(FIRST), draw.from(LAST));
            format!("{}.{}{}@example.com", first.to_lowercase(), last.to_lowercase(), draw.below(100))
        }
        EntityKind::Person if !value.trim().contains(char::is_whitespace) => draw.from(FIRST).to_owned(),
        EntityKind::Person => format!("{} {}", draw.from(FIRST), draw.from(LAST)),
        EntityKind::Username => format!("{}{}", draw.from(LAST).to_lowercase(), 100 + draw.below(900)),
        EntityKind::Phone => {
            let digits = value.chars().filter(char::is_ascii_digit).count();
            if digits < 7 {
                return None;
            }
            let lead: String = (0..digits - 7).map(|_| char::from(b'2' + draw.below(8) as u8)).collect();
            laid_out(value, &format!("{lead}55501{:02}", draw.below(100)))?
        }
        EntityKind::CreditCard => {
            let digits = value.chars().filter(char::is_ascii_digit).count();
            let cards = match digits {
                15 => AMERICAN_CARDS,
                16 => CARDS,
                _ => return None,
            };
            laid_out(value, draw.from(cards))?
        }
        EntityKind::UsSsn => laid_out(value, &format!("9870043{:02}", 20 + draw.below(80)))?,
        EntityKind::IpAddress if value.contains(':') => format!("2001:db8::{:x}", 1 + draw.below(0xfffe)),
        EntityKind::IpAddress => {
            format!("{}.{}", draw.from(&["192.0.2", "198.51.100", "203.0.113"]), 1 + draw.below(254))
        }
        EntityKind::MacAddress => format!("00:00:5e:00:53:{:02x}", draw.below(256)),
        EntityKind::Url => {
            format!("https://example.com/{}{}", draw.from(LAST).to_lowercase(), draw.below(10_000))
        }
        _ => return None,
    })
}

/// Digits in the layout of a value: everything else stays. `None` when the numbers of digits differ.
fn laid_out(value: &str, digits: &str) -> Option<String> {
    let mut next = digits.chars();
    let text: String = value
        .chars()
        .map(|c| if c.is_ascii_digit() { next.next() } else { Some(c) })
        .collect::<Option<_>>()?;
    (next.next().is_none() && text.is_ascii()).then_some(text)
}

/// Numbers that follow from a seed.
struct Draw {
    seed: [u8; 32],
    round: u32,
    taken: u32,
}

impl Draw {
    fn below(&mut self, bound: u32) -> u32 {
        self.taken += 1;
        let mut input = [0; 8];
        input[..4].copy_from_slice(&self.round.to_le_bytes());
        input[4..].copy_from_slice(&self.taken.to_le_bytes());
        let hash = blake3::keyed_hash(&self.seed, &input);
        let bytes = hash.as_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % bound.max(1)
    }

    fn from<'l>(&mut self, list: &[&'l str]) -> &'l str {
        let bound = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list[self.below(bound) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_keep_the_form_and_the_choice() {
        let seed = [7; 32];
        let of = |kind, value| surrogate(kind, value, &seed, 0);
        let card = of(EntityKind::CreditCard, "4539 1488 0343 6467").unwrap();
        assert_eq!(card.len(), 19);
        assert!(CARDS.contains(&card.replace(' ', "").as_str()), "{card}");
        let phone = of(EntityKind::Phone, "+1 (212) 736-5000").unwrap();
        assert!(phone.starts_with('+') && phone.contains("555-01"), "{phone}");
        assert!(of(EntityKind::UsSsn, "078-05-1120").unwrap().starts_with("987-00-43"));
        assert!(of(EntityKind::Email, "x@y.z").unwrap().ends_with("@example.com"));
        assert_eq!(of(EntityKind::Person, "Ann"), of(EntityKind::Person, "Bob"), "the seed chooses");
        assert_ne!(of(EntityKind::Email, "x"), surrogate(EntityKind::Email, "x", &seed, 1));
        for none in [EntityKind::Secret, EntityKind::Iban, EntityKind::Address] {
            assert_eq!(of(none, "abc"), None);
        }
        assert_eq!(of(EntityKind::CreditCard, "４５３９148803436467"), None, "digits that are not ASCII");
    }
}
