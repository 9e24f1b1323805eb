//! Check digit algorithms over digit values: weighted sums (mod 10, mod 11), Verhoeff, ISO 7064, and dates.

/// Sum of digit times weight.
pub(super) fn weigh(d: &[u8], weights: &[u32]) -> u32 {
    d.iter().zip(weights).map(|(&x, &w)| u32::from(x) * w).sum()
}

/// The value of a slice of digits.
pub(super) fn number(d: &[u8]) -> u64 {
    d.iter().fold(0, |a, &x| a.wrapping_mul(10).wrapping_add(u64::from(x)))
}

/// Whether `(yy, mm, dd)` may be a day.
pub(super) fn day(month: u64, day: u64) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day) && !(month == 2 && day > 29)
}

/// Luhn over all digits.
pub(super) use crate::sensitivity::cards::luhn;

/// The dihedral-group check of Verhoeff (1969), used by Aadhaar.
pub(super) fn verhoeff(d: &[u8]) -> bool {
    const D: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const P: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let c = d
        .iter()
        .rev()
        .enumerate()
        .fold(0_u8, |c, (i, &x)| D[usize::from(c)][usize::from(P[i % 8][usize::from(x)])]);
    c == 0
}

/// ISO 7064 MOD 11,10, used by the German tax number and the Croatian OIB.
pub(super) fn mod11_10(d: &[u8]) -> bool {
    let Some((&check, body)) = d.split_last() else { return false };
    let p = body.iter().fold(10_u32, |p, &x| {
        let s = (p + u32::from(x)) % 10;
        (if s == 0 { 10 } else { s }) * 2 % 11
    });
    u32::from(check) == (11 - p) % 10
}

/// Check digit is `(11 - sum mod 11) mod 11`, ten standing for `ten`.
pub(super) fn mod11(d: &[u8], weights: &[u32], ten: Option<u8>) -> bool {
    let Some((&check, body)) = d.split_last() else { return false };
    match (11 - weigh(body, weights) % 11) % 11 {
        10 => ten == Some(check),
        r => r == u32::from(check),
    }
}

/// Not one digit all over.
pub(super) fn varied(d: &[u8]) -> bool {
    d.windows(2).any(|w| w[0] != w[1])
}
