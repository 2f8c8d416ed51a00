//! Numbers in base 62, the highest digit first, in a fixed number of digits.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes a big-endian number of at most 32 bytes into `digits`, with zeros in front.
pub(super) fn encode(number: &[u8], digits: &mut [u8]) {
    let mut rest = [0; 32];
    rest[32 - number.len()..].copy_from_slice(number);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut rest {
            let part = remainder << 8 | u32::from(*byte);
            *byte = (part / 62) as u8;
            remainder = part % 62;
        }
        *digit = DIGITS[remainder as usize];
    }
}

/// Reads digits as a number of 256 bits, big-endian; `None` for another character or a larger number.
pub(super) fn decode_256(digits: &[u8]) -> Option<[u8; 32]> {
    let mut limbs = [0_u32; 8];
    for digit in digits {
        let mut carry = u64::from(value(*digit)?);
        for limb in limbs.iter_mut().rev() {
            let part = u64::from(*limb) * 62 + carry;
            *limb = part as u32;
            carry = part >> 32;
        }
        if carry != 0 {
            return None;
        }
    }
    let mut number = [0; 32];
    for (bytes, limb) in number.chunks_exact_mut(4).zip(limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    Some(number)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    }
}
