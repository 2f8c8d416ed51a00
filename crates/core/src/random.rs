//! Randomness as an input: a generator per worker, seeded once, or with a fixed seed in tests.

use std::cell::RefCell;

/// A fast generator for request ids, jitter and sampling. Not for secrets.
#[derive(Debug)]
pub struct Random(RefCell<fastrand::Rng>);

impl Random {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self(RefCell::new(fastrand::Rng::new()))
    }

    /// The same sequence each time.
    pub fn seeded(seed: u64) -> Self {
        Self(RefCell::new(fastrand::Rng::with_seed(seed)))
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        self.0.borrow_mut().u64(..)
    }

    /// Evenly from `0.0` to below `1.0`.
    pub fn share(&self) -> f64 {
        self.0.borrow_mut().f64()
    }

    /// Evenly from `0` to below `end`; 0 when `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.borrow_mut().u64(..end) }
    }
}

/// A UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits, as 36 characters.
pub fn uuid_v7(unix_ms: i64, random: &Random) -> [u8; 36] {
    let time = unix_ms.max(0) as u64 & 0xffff_ffff_ffff;
    let (a, b) = (random.bits(), random.bits());
    let high = (time << 16) | 0x7000 | (a & 0x0fff);
    let low = 0x8000_0000_0000_0000 | (b >> 2);
    let (high, low) = (hex(high), hex(low));
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&high[..8]);
    text[9..13].copy_from_slice(&high[8..12]);
    text[14..18].copy_from_slice(&high[12..]);
    text[19..23].copy_from_slice(&low[..4]);
    text[24..].copy_from_slice(&low[4..]);
    text
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// 64 bits as 16 lower-case hex digits.
pub fn hex(bits: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (digits, byte) in text.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        digits.copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_carry_version_variant_and_time() {
        let text = uuid_v7(0x0188_1234_5678, &Random::seeded(1));
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(&text[..15], "01881234-5678-7");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert_eq!(text.bytes().filter(|b| *b == b'-').count(), 4);
        assert_ne!(text.as_bytes(), uuid_v7(0x0188_1234_5678, &Random::seeded(2)));
    }
}
