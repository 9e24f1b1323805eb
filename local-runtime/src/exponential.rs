//! The exponential function for loops that the compiler turns into vector code: the library's is a call for each number.

/// `e^x` to about 2 units in the last place, branch-free so that loops over it become vector code; 0 below -87 and
/// `e^88` above 88. Range reduction to `2^n * e^r`, `|r| <= ln 2 / 2`, and a polynomial of degree 6
/// (Taylor's, its error there is below 2e-7).
#[inline(always)]
pub(crate) fn exponential(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    // ln 2 in two parts, so that the difference keeps its last bits.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let polynomial = 1.0 / 720.0;
    let polynomial = polynomial * r + 1.0 / 120.0;
    let polynomial = polynomial * r + 1.0 / 24.0;
    let polynomial = polynomial * r + 1.0 / 6.0;
    let polynomial = polynomial * r + 0.5;
    let polynomial = polynomial * r + 1.0;
    let polynomial = polynomial * r + 1.0;
    f32::from_bits(((n as i32 + 127) << 23) as u32) * polynomial
}

#[cfg(test)]
mod tests {
    use super::exponential;

    #[test]
    fn it_is_the_library_s_to_seven_digits() {
        for step in -8600..8700 {
            let x = step as f32 / 100.0;
            let (expected, found) = (f64::from(x).exp(), f64::from(exponential(x)));
            assert!((found / expected - 1.0).abs() < 5e-7, "{x}: {found} {expected}");
        }
        assert!(exponential(f32::NEG_INFINITY) < 1.3e-38);
    }
}
