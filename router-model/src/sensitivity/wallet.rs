//! Cryptocurrency addresses: Base58Check (double SHA-256), Bech32/Bech32m (BIP 173, BIP 350), Ethereum (EIP-55 form).

use policies::EntityKind::CryptoWallet;
use sha2::{Digest, Sha256};

use super::Raw;
use super::doc::{Doc, Sink};

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    for tok in &doc.toks {
        let b = doc.bytes(*tok);
        let sub = match b.len() {
            42 if (b.starts_with(b"0x") || b.starts_with(b"0X"))
                && b[2..].iter().all(u8::is_ascii_hexdigit) =>
            {
                let zeros = b[2..].iter().filter(|c| **c == b'0').count();
                if zeros > 30 { None } else { Some("ethereum") }
            }
            26..=35 if !tok.digits && b"123DLMXn9tT".contains(&b[0]) && base58check(b) => Some("base58"),
            39..=90 if bech32(b) => Some("bech32"),
            95 | 106 if b[0] == b'4' && b.iter().all(|c| BASE58.contains(c)) => Some("monero"),
            _ => None,
        };
        if let Some(sub) = sub {
            out.push(Raw::new(tok.s, tok.e, CryptoWallet, 0.97).sub(sub));
        }
    }
}

fn base58check(b: &[u8]) -> bool {
    // Big-endian base 256, 25 bytes: version, 20 bytes of hash, 4 bytes of checksum.
    let mut num = [0_u8; 25];
    for c in b {
        let Some(v) = BASE58.iter().position(|x| x == c) else { return false };
        let mut carry = v as u32;
        for byte in num.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xFF) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return false;
        }
    }
    let hash = Sha256::digest(Sha256::digest(&num[..21]));
    hash[..4] == num[21..]
}

fn bech32(b: &[u8]) -> bool {
    let lower = b.to_ascii_lowercase();
    let Some(sep) = memchr::memrchr(b'1', &lower) else { return false };
    let (hrp, data) = (&lower[..sep], &lower[sep + 1..]);
    let known =
        [&b"bc"[..], b"tb", b"ltc", b"cosmos", b"osmo", b"addr", b"dgb", b"vtc", b"age"].contains(&hrp);
    if !known || data.len() < 6 {
        return false;
    }
    let mut chk = 1_u32;
    let mut step = |v: u32| {
        const G: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = chk >> 25;
        chk = (chk & 0x1ff_ffff) << 5 ^ v;
        for (i, g) in G.iter().enumerate() {
            if top >> i & 1 == 1 {
                chk ^= g;
            }
        }
    };
    hrp.iter().for_each(|c| step(u32::from(c >> 5)));
    step(0);
    hrp.iter().for_each(|c| step(u32::from(c & 31)));
    for c in data {
        match BECH32.iter().position(|x| x == c) {
            Some(v) => step(v as u32),
            None => return false,
        }
    }
    hrp != b"age" && (chk == 1 || chk == 0x2bc8_30a3)
}
