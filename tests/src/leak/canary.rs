//! Valid values of every kind that the policies know by itself, each unique.

use std::fmt::Write as _;

use fastrand::Rng;

/// A value that must not go where its kind may not go.
#[derive(Debug, Clone)]
pub struct Canary {
    /// Entity kind, as policies write it.
    pub kind: &'static str,
    /// The value.
    pub value: String,
    /// What people write before it.
    pub before: &'static str,
}

/// Every kind that is planted.
pub const KINDS: &[&str] =
    &["EMAIL", "CREDIT_CARD", "IBAN", "US_SSN", "MEDICAL_ID", "PHONE", "SECRET", "IP_ADDRESS", "VEHICLE_ID"];

impl Canary {
    /// A canary of a kind.
    ///
    /// # Panics
    /// For a kind that is not in [`KINDS`].
    #[must_use]
    pub fn new(kind: &'static str, rng: &mut Rng) -> Self {
        let (before, value) = match kind {
            "EMAIL" => ("write to ", format!("{}.{}@{}.com", word(rng, 7), word(rng, 9), word(rng, 11))),
            "CREDIT_CARD" => ("my card number is ", card(rng)),
            "IBAN" => ("transfer it to IBAN ", iban(rng)),
            "US_SSN" => ("my social security number is ", ssn(rng)),
            "MEDICAL_ID" => ("the patient's MRN: ", digits(rng, 9)),
            "PHONE" => ("call me at ", format!("+49 30 {} {}", rng.u32(2_000..9_999), rng.u32(1_000..9_999))),
            "SECRET" => ("the api key is ", secret(rng)),
            "IP_ADDRESS" => {
                let part = |rng: &mut Rng| rng.u8(11..=250);
                ("the server is at ", format!("{}.{}.{}.{}", 212, part(rng), part(rng), part(rng)))
            }
            "VEHICLE_ID" => ("the car's VIN is ", vin(rng)),
            other => panic!("no canary of kind {other}"),
        };
        Self { kind, value, before }
    }
}

fn word(rng: &mut Rng, length: usize) -> String {
    (0..length).map(|_| char::from(b'a' + rng.u8(..26))).collect()
}

fn digits(rng: &mut Rng, length: usize) -> String {
    let first = char::from(b'1' + rng.u8(..9));
    std::iter::once(first).chain((1..length).map(|_| char::from(b'0' + rng.u8(..10)))).collect()
}

/// A number with the check digit of ISO/IEC 7812-1, Annex B.
fn card(rng: &mut Rng) -> String {
    let body = format!("4{}", digits(rng, 14));
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * (2 - (place as u32 & 1));
            digit / 10 + digit % 10
        })
        .sum();
    let number = format!("{body}{}", (10 - sum % 10) % 10);
    format!("{} {} {} {}", &number[..4], &number[4..8], &number[8..12], &number[12..])
}

/// A German account number with the check digits of ISO 7064, MOD 97-10.
fn iban(rng: &mut Rng) -> String {
    let account = format!("37040044{}", digits(rng, 10));
    let rest = format!("{account}131400")
        .bytes()
        .fold(0_u32, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    let number = format!("DE{:02}{account}", 98 - rest);
    number.as_bytes().chunks(4).fold(String::new(), |mut out, four| {
        let _ = write!(out, "{}{}", if out.is_empty() { "" } else { " " }, String::from_utf8_lossy(four));
        out
    })
}

fn ssn(rng: &mut Rng) -> String {
    format!("{:03}-{:02}-{:04}", rng.u32(520..665), rng.u32(1..100), rng.u32(1_000..10_000))
}

fn secret(rng: &mut Rng) -> String {
    let tail: String = (0..36).map(|_| rng.alphanumeric()).collect();
    format!("ghp_{tail}")
}

/// A vehicle identification number with the check digit of 49 CFR 565.15.
fn vin(rng: &mut Rng) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHJKLMNPRSTUVWXYZ";
    const VALUES: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9];
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let mut vin: Vec<u8> = b"1HG".to_vec();
    vin.extend((0..5).map(|_| SIGNS[rng.usize(..SIGNS.len())]));
    vin.push(b'0');
    vin.extend([SIGNS[rng.usize(..8)], SIGNS[rng.usize(..8)]]);
    vin.extend(digits(rng, 6).bytes());
    let value = |sign: u8| match SIGNS.iter().position(|known| *known == sign) {
        Some(place) => VALUES[place],
        None => u32::from(sign - b'0'),
    };
    let sum: u32 = vin.iter().zip(WEIGHTS).map(|(sign, weight)| value(*sign) * weight).sum();
    vin[8] = if sum % 11 == 10 { b'X' } else { b'0' + (sum % 11) as u8 };
    String::from_utf8_lossy(&vin).into_owned()
}
