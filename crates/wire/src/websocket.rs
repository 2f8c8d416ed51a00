//! Where one WebSocket frame ends and the next begins (RFC 6455, 5.2), and the frame that says goodbye.
//!
//! A tunnel passes frames on as they are. It only has to know whether it stands between two of them, because
//! a close frame in the middle of another would be read as its payload.

/// How far the bytes of one direction have come within a frame.
#[derive(Clone, Debug, Default)]
pub struct FrameScan {
    /// Bytes of the header that have come.
    header: [u8; 14],
    header_len: usize,
    /// Bytes of the payload that are still to come.
    payload_left: u64,
}

impl FrameScan {
    /// Walks over bytes.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let n = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= n as u64;
                bytes = &bytes[n..];
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            if self.header_len == self.header_needs() {
                self.payload_left = self.payload_len();
                self.header_len = 0;
            }
        }
    }

    /// True between two frames, and before the first.
    pub fn is_between_frames(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0
    }

    /// The length of the header, as far as its first bytes tell.
    fn header_needs(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        mask + match self.header[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn payload_len(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&self.header[2..10]);
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        }
    }
}

/// A close frame with status 1001, "going away" (RFC 6455, 7.4.1), as a server sends it.
pub const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// The same as a client sends it: masked (5.3).
pub fn going_away_masked(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    [0x88, 0x82, a, b, c, d, 0x03 ^ a, 0xe9 ^ b]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match payload {
            0..126 => bytes.push(mask_bit | payload as u8),
            126..65_536 => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend_from_slice(&[1, 2, 3, 4]);
        }
        bytes.extend(std::iter::repeat_n(0x88, payload));
        bytes
    }

    #[test]
    fn only_the_end_of_a_frame_is_between_frames() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536] {
            for masked in [false, true] {
                let bytes = frame(payload, masked);
                let mut scan = FrameScan::default();
                assert!(scan.is_between_frames());
                for byte in &bytes[..bytes.len() - 1] {
                    scan.advance(&[*byte]);
                    assert!(!scan.is_between_frames(), "{payload} {masked}");
                }
                scan.advance(&bytes[bytes.len() - 1..]);
                assert!(scan.is_between_frames(), "{payload} {masked}");
            }
        }
    }

    #[test]
    fn the_masked_goodbye_is_the_goodbye() {
        let masked = going_away_masked([9, 8, 7, 6]);
        assert_eq!([masked[6] ^ masked[2], masked[7] ^ masked[3]], GOING_AWAY[2..]);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(sizes in prop::collection::vec((0_usize..400, any::<bool>()), 1..8), cut in 1_usize..64) {
            let bytes: Vec<u8> = sizes.iter().flat_map(|(n, masked)| frame(*n, *masked)).collect();
            let mut scan = FrameScan::default();
            for piece in bytes.chunks(cut) {
                scan.advance(piece);
            }
            prop_assert!(scan.is_between_frames());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            FrameScan::default().advance(&bytes);
        }
    }
}
