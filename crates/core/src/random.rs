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
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let time = unix_ms.max(0) as u64 & 0xffff_ffff_ffff;
    let (a, b) = (random.bits(), random.bits());
    let high = (time << 16) | 0x7000 | (a & 0x0fff);
    let low = 0x8000_0000_0000_0000 | (b >> 2);
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
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
