//! National numbers of digits alone, of further countries. Check rules as the issuing authorities publish them; where a
//! country has none, the date of birth and the region inside the number are checked.

use policies::EntityKind::{NationalId, TaxId};

use super::checks::{day, luhn, mod11, number, varied, verhoeff, weigh};
use super::digits::Alone::{Always, Grouped, Never};
use super::digits::{Rule, rule};

/// Rules in the order in which they are tried, longer numbers first.
pub(super) const RULES: &[Rule] = &[
    rule("id_nik", NationalId, 16, Never, |d| {
        (11..=94).contains(&number(&d[..2])) && day(number(&d[8..10]), number(&d[6..8]) % 40)
    }),
    rule("ae_eid", NationalId, 15, Always, |d| d[..3] == [7, 8, 4] && luhn(d)),
    rule("eg_nid", NationalId, 14, Never, |d| {
        matches!(d[0], 2 | 3) && day(number(&d[3..5]), number(&d[5..7])) && number(&d[7..9]) <= 88
    }),
    rule("th_pin", NationalId, 13, Grouped(&[1, 4, 5, 2, 1]), |d| {
        let sum = weigh(d, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        (1..=8).contains(&d[0]) && (11 - sum % 11) % 10 == u32::from(d[12])
    }),
    rule("lu_matricule", NationalId, 13, Never, |d| {
        let both: Vec<u8> = d[..11].iter().chain(&d[12..]).copied().collect();
        matches!(number(&d[..2]), 18..=20)
            && day(number(&d[4..6]), number(&d[6..8]))
            && luhn(&d[..12])
            && verhoeff(&both)
    }),
    rule("pk_cnic", NationalId, 13, Grouped(&[5, 7, 1]), |d| (1..=7).contains(&d[0]) && varied(d)),
    rule("my_nric", NationalId, 12, Grouped(&[6, 2, 4]), |d| {
        day(number(&d[2..4]), number(&d[4..6])) && matches!(number(&d[6..8]), 1..=16 | 21..=59 | 60..=99)
    }),
    rule("vn_cccd", NationalId, 12, Never, |d| d[0] == 0 && (1..=96).contains(&number(&d[..3]))),
    rule("lv_pk", NationalId, 11, Grouped(&[6, 5]), |d| {
        let check = (1 + weigh(d, &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9])) % 11 % 10;
        day(number(&d[2..4]), number(&d[..2])) && check == u32::from(d[10])
    }),
    rule("pe_ruc", TaxId, 11, Never, |d| {
        let sum = weigh(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
        matches!(number(&d[..2]), 10 | 15 | 16 | 17 | 20) && (11 - sum % 11) % 10 == u32::from(d[10])
    }),
    rule("do_cedula", NationalId, 11, Grouped(&[3, 7, 1]), |d| varied(d) && luhn(d)),
    rule("is_kennitala", NationalId, 10, Grouped(&[6, 4]), |d| {
        day(number(&d[2..4]), number(&d[..2]) % 40)
            && matches!(d[9], 0 | 8 | 9)
            && mod11(&d[..9], &[3, 2, 7, 6, 5, 4, 3, 2], None)
    }),
    rule("ec_ci", NationalId, 10, Never, |d| {
        matches!(number(&d[..2]), 1..=24 | 30) && d[2] < 6 && varied(d) && luhn(d)
    }),
    rule("co_nit", TaxId, 10, Grouped(&[3, 3, 3, 1]), |d| {
        let r = weigh(d, &[41, 37, 29, 23, 19, 17, 13, 7, 3]) % 11;
        varied(d) && u32::from(d[9]) == if r < 2 { r } else { 11 - r }
    }),
    rule("uk_utr", TaxId, 10, Never, |d| {
        const CHECK: &[u8; 11] = b"21987654321";
        u32::from(CHECK[(weigh(&d[1..], &[6, 7, 8, 9, 10, 5, 4, 3, 2]) % 11) as usize] - b'0')
            == u32::from(d[0])
    }),
    rule("sa_id", NationalId, 10, Never, |d| matches!(d[0], 1 | 2) && varied(d) && luhn(d)),
    rule("ir_melli", NationalId, 10, Never, |d| {
        let r = weigh(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        varied(d) && u32::from(d[9]) == if r < 2 { r } else { 11 - r }
    }),
    rule("hu_tax", TaxId, 10, Never, |d| {
        d[0] == 8 && weigh(d, &[1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11 == u32::from(d[9])
    }),
    rule("hu_taj", NationalId, 9, Grouped(&[3, 3, 3]), |d| {
        varied(&d[..8]) && weigh(d, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == u32::from(d[8])
    }),
    rule("cl_rut", NationalId, 9, Grouped(&[2, 3, 3, 1]), rut),
    rule("cl_rut", NationalId, 8, Grouped(&[1, 3, 3, 1]), rut),
    rule("uy_ci", NationalId, 8, Grouped(&[1, 3, 3, 1]), |d| {
        (10 - weigh(d, &[2, 9, 8, 7, 6, 3, 4]) % 10) % 10 == u32::from(d[7])
    }),
];

/// The remainder of a Chilean number: factors two to seven from the right; ten is written K.
pub(super) fn rut_check(body: &[u8]) -> u32 {
    11 - body.iter().rev().zip((2..=7).cycle()).map(|(&x, w)| u32::from(x) * w).sum::<u32>() % 11
}

fn rut(d: &[u8]) -> bool {
    let Some((&check, body)) = d.split_last() else { return false };
    varied(d) && rut_check(body) % 11 == u32::from(check)
}
