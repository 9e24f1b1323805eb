//! National numbers that are written with digits only.

use policies::EntityKind::{self, NationalId, TaxId};

use super::checks::{day, luhn, mod11, mod11_10, number, varied, verhoeff, weigh};

/// One country's number.
pub(super) struct Rule {
    pub(super) sub: &'static str,
    pub(super) kind: EntityKind,
    pub(super) len: usize,
    /// Strong enough to stand without a context word.
    pub(super) alone: Alone,
    pub(super) check: fn(&[u8]) -> bool,
}

/// When a number counts without a context word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Never,
    /// In any grouping.
    Always,
    /// Only in the grouping that it is printed in.
    Grouped(&'static [usize]),
}

use Alone::{Always, Grouped, Never};

pub(super) const fn rule(
    sub: &'static str,
    kind: EntityKind,
    len: usize,
    alone: Alone,
    check: fn(&[u8]) -> bool,
) -> Rule {
    Rule { sub, kind, len, alone, check }
}

/// Sources: the issuing authorities' published check rules, as collected by OECD's TIN pages and national law.
pub(super) const RULES: &[Rule] = &[
    rule("fr_nir", NationalId, 15, Always, |d| {
        matches!(d[0], 1 | 2 | 3 | 4 | 7 | 8) && varied(d) && 97 - number(&d[..13]) % 97 == number(&d[13..])
    }),
    rule("mx_clabe", EntityKind::BankAccount, 18, Never, |d| {
        let sum: u32 =
            d[..17].iter().zip([3_u32, 7, 1].into_iter().cycle()).map(|(&x, w)| u32::from(x) * w % 10).sum();
        (10 - sum % 10) % 10 == u32::from(d[17])
    }),
    rule("cn_rid", NationalId, 18, Always, |d| {
        const W: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
        (1..=9).contains(&d[0])
            && (1900..=2030).contains(&number(&d[6..10]))
            && day(number(&d[10..12]), number(&d[12..14]))
            && (12 - weigh(d, &W) % 11) % 11 == u32::from(d[17])
    }),
    rule("br_cnpj", TaxId, 14, Grouped(&[2, 3, 3, 4, 2]), |d| {
        let c = |n: usize, w: &[u32]| {
            let r = weigh(&d[..n], w) % 11;
            u32::from(d[n]) == if r < 2 { 0 } else { 11 - r }
        };
        varied(d)
            && c(12, &[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
            && c(13, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
    }),
    rule("kr_rrn", NationalId, 13, Grouped(&[6, 7]), |d| {
        let w = [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5];
        day(number(&d[2..4]), number(&d[4..6])) && (11 - weigh(d, &w) % 11) % 10 == u32::from(d[12])
    }),
    rule("za_id", NationalId, 13, Always, |d| {
        day(number(&d[2..4]), number(&d[4..6])) && d[10] < 2 && matches!(d[11], 8 | 9) && luhn(d)
    }),
    rule("ro_cnp", NationalId, 13, Never, |d| {
        let r = weigh(d, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
        (1..=9).contains(&d[0])
            && day(number(&d[3..5]), number(&d[5..7]))
            && u32::from(d[12]) == if r == 10 { 1 } else { r }
    }),
    rule("jmbg", NationalId, 13, Never, |d| {
        let m = 11 - weigh(d, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        day(number(&d[2..4]), number(&d[..2])) && u32::from(d[12]) == if m > 9 { 0 } else { m }
    }),
    rule("ch_ahv", NationalId, 13, Always, |d| {
        d[..3] == [7, 5, 6] && weigh(d, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    }),
    rule("in_aadhaar", NationalId, 12, Grouped(&[4, 4, 4]), |d| d[0] > 1 && varied(d) && verhoeff(d)),
    rule("jp_my_number", NationalId, 12, Never, |d| {
        let r = weigh(d, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        varied(d) && u32::from(d[11]) == if r <= 1 { 0 } else { 11 - r }
    }),
    rule("br_cpf", NationalId, 11, Grouped(&[3, 3, 3, 2]), |d| {
        let c = |n: usize| {
            let r = (0..n).map(|i| u32::from(d[i]) * (n as u32 + 1 - i as u32)).sum::<u32>() * 10 % 11 % 10;
            u32::from(d[n]) == r
        };
        varied(d) && c(9) && c(10)
    }),
    rule("pl_pesel", NationalId, 11, Always, |d| {
        let month = number(&d[2..4]) % 20;
        varied(d)
            && day(month, number(&d[4..6]))
            && (10 - weigh(d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10 == u32::from(d[10])
    }),
    rule("de_idnr", NationalId, 11, Never, |d| d[0] != 0 && repeats(&d[..10]) && mod11_10(d)),
    rule("hr_oib", NationalId, 11, Never, mod11_10),
    rule("no_fnr", NationalId, 11, Grouped(&[6, 5]), |d| {
        let dd = number(&d[..2]) % 40;
        day(number(&d[2..4]) % 40, dd)
            && mod11(&d[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2], None)
            && mod11(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], None)
    }),
    rule("be_nrn", NationalId, 11, Grouped(&[2, 2, 2, 3, 2]), |d| {
        let (base, check) = (number(&d[..9]), number(&d[9..]));
        varied(d) && (97 - base % 97 == check || 97 - (2_000_000_000 + base) % 97 == check)
    }),
    rule("tr_tckn", NationalId, 11, Never, |d| {
        let n = |i: usize| i32::from(d[i]);
        let odd = n(0) + n(2) + n(4) + n(6) + n(8);
        let even = n(1) + n(3) + n(5) + n(7);
        d[0] != 0 && (odd * 7 - even).rem_euclid(10) == n(9) && (odd + even + n(9)) % 10 == n(10)
    }),
    rule("ar_cuit", TaxId, 11, Grouped(&[2, 8, 1]), |d| {
        matches!(number(&d[..2]), 20 | 23 | 24 | 25 | 26 | 27 | 30 | 33 | 34)
            && mod11(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], Some(9))
    }),
    rule("ee_ik", NationalId, 11, Never, |d| {
        let first = weigh(d, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
        let r = if first < 10 { first } else { weigh(d, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10 };
        (1..=6).contains(&d[0]) && day(number(&d[3..5]), number(&d[5..7])) && u32::from(d[10]) == r
    }),
    rule("gr_amka", NationalId, 11, Never, |d| day(number(&d[2..4]), number(&d[..2])) && luhn(d)),
    rule("it_piva", TaxId, 11, Never, luhn),
    rule("au_abn", TaxId, 11, Grouped(&[2, 3, 3, 3]), |d| {
        let mut x = [0; 11];
        x.copy_from_slice(d);
        x[0] = x[0].wrapping_sub(1);
        d[0] > 0 && weigh(&x, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]).is_multiple_of(89)
    }),
    rule("au_medicare", NationalId, 10, Grouped(&[4, 5, 1]), |d| {
        (2..=6).contains(&d[0]) && weigh(&d[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == u32::from(d[8])
    }),
    rule("se_personnummer", NationalId, 10, Grouped(&[6, 4]), |d| {
        day(number(&d[2..4]), number(&d[4..6]) % 60) && luhn(d)
    }),
    rule("se_personnummer", NationalId, 12, Grouped(&[8, 4]), |d| {
        matches!(number(&d[..2]), 18..=20) && day(number(&d[4..6]), number(&d[6..8]) % 60) && luhn(&d[2..])
    }),
    rule("dk_cpr", NationalId, 10, Grouped(&[6, 4]), |d| day(number(&d[2..4]), number(&d[..2]))),
    rule("at_svnr", NationalId, 10, Never, |d| {
        let w = [3, 7, 9, 0, 5, 8, 4, 2, 1, 6];
        d[0] != 0 && weigh(d, &w) % 11 == u32::from(d[3]) && day(number(&d[6..8]), number(&d[4..6]))
    }),
    rule("pl_nip", TaxId, 10, Grouped(&[3, 3, 2, 2]), |d| {
        varied(d) && weigh(d, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == u32::from(d[9])
    }),
    rule("cz_rc", NationalId, 10, Never, |d| {
        day(number(&d[2..4]) % 50 % 20, number(&d[4..6])) && number(d).is_multiple_of(11)
    }),
    rule("bg_egn", NationalId, 10, Never, |d| {
        day(number(&d[2..4]) % 20, number(&d[4..6]))
            && weigh(d, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == u32::from(d[9])
    }),
    rule("nl_bsn", NationalId, 9, Never, |d| {
        let sum = weigh(d, &[9, 8, 7, 6, 5, 4, 3, 2]);
        varied(d) && sum % 11 == u32::from(d[8])
    }),
    rule("ca_sin", NationalId, 9, Grouped(&[3, 3, 3]), |d| !matches!(d[0], 0 | 8) && varied(d) && luhn(d)),
    rule("au_tfn", NationalId, 9, Grouped(&[3, 3, 3]), |d| {
        varied(d) && weigh(d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
    }),
    rule("pt_nif", NationalId, 9, Never, |d| {
        matches!(d[0], 1 | 2 | 3 | 5 | 6 | 8 | 9) && mod11(d, &[9, 8, 7, 6, 5, 4, 3, 2], Some(0))
            || weigh(d, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 < 2 && d[8] == 0
    }),
    rule("il_id", NationalId, 9, Never, luhn),
    rule("gr_afm", TaxId, 9, Never, |d| {
        weigh(d, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == u32::from(d[8])
    }),
    rule("fr_siren", TaxId, 9, Never, luhn),
    rule("fr_siret", TaxId, 14, Never, luhn),
    rule("nz_ird", NationalId, 9, Never, |d| mod11(d, &[3, 2, 7, 6, 5, 4, 3, 2], None)),
    rule("nz_ird", NationalId, 8, Never, |d| mod11(d, &[2, 7, 6, 5, 4, 3, 2], None)),
    rule("ru_snils", NationalId, 11, Grouped(&[3, 3, 3, 2]), |d| {
        let sum = weigh(&d[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
        varied(d) && u64::from(sum) == number(&d[9..])
    }),
    rule("ru_inn", TaxId, 12, Never, |d| {
        weigh(d, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10 == u32::from(d[10])
            && weigh(d, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10 == u32::from(d[11])
    }),
    rule("ua_rnokpp", NationalId, 10, Never, |d| {
        let sum: i64 = d.iter().zip([-1_i64, 5, 7, 9, 4, 6, 10, 5, 7]).map(|(&x, w)| i64::from(x) * w).sum();
        varied(d) && sum.rem_euclid(11) % 10 == i64::from(d[9])
    }),
];

/// The first ten digits of a German tax number hold one digit two or three times and miss at least one.
fn repeats(d: &[u8]) -> bool {
    let mut seen = [0; 10];
    for &x in d {
        seen[usize::from(x)] += 1;
    }
    let most = seen.iter().max().copied().unwrap_or(0);
    (2..=3).contains(&most)
}
