//! HTTP/2 frames as they pass by (RFC 9113, 4.1), and how many that ask for nothing a client may send.
//!
//! Reading HTTP/2 is the h2 crate's. It bounds what heads, data and resets cost; what is said about the connection itself,
//! such as PING, it takes for as long as it comes. So the bytes are looked at on their way to it, no further than to where
//! a frame begins and of what kind it is.
//!
//! What an honest client says of this sort follows from what goes on: it gives windows back for the DATA it got, measures the
//! line with a PING when DATA comes, sets the priority of a request or takes the request back. [`FrameBudget`] therefore
//! sets what comes off against what has gone on, and beyond that against time.

use mainstay_core::clock::MonoMs;

/// Payload, or its absence.
pub const DATA: u8 = 0;
/// A request or an answer begins, or has trailers.
pub const HEADERS: u8 = 1;
/// Settings of the connection.
pub const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// The length of what a client says before its first frame (3.4).
const PREFACE_BYTES: u32 = 24;
const HEAD_BYTES: usize = 9;

/// The beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// What it is (RFC 9113, 6).
    pub kind: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    payload_bytes: u32,
}

/// How far the bytes of one direction have come within a frame.
#[derive(Clone, Debug)]
pub struct FrameScan {
    head: [u8; HEAD_BYTES],
    head_len: u8,
    /// Bytes of the payload, or of the preface, that are still to come.
    skipped_left: u32,
}

impl FrameScan {
    /// For what a client sends, from its first byte on.
    pub fn of_client() -> Self {
        Self { skipped_left: PREFACE_BYTES, ..Self::of_server() }
    }

    /// For what a server sends.
    pub fn of_server() -> Self {
        Self { head: [0; HEAD_BYTES], head_len: 0, skipped_left: 0 }
    }

    /// Walks over bytes, and says what begins in them.
    pub fn advance(&mut self, mut bytes: &[u8], mut begins: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            if self.skipped_left > 0 {
                let n = bytes.len().min(self.skipped_left as usize);
                self.skipped_left -= n as u32;
                bytes = &bytes[n..];
                continue;
            }
            let known = usize::from(self.head_len);
            let n = bytes.len().min(HEAD_BYTES - known);
            self.head[known..known + n].copy_from_slice(&bytes[..n]);
            self.head_len += n as u8;
            bytes = &bytes[n..];
            if usize::from(self.head_len) == HEAD_BYTES {
                let head = read(self.head);
                self.head_len = 0;
                self.skipped_left = head.payload_bytes;
                begins(head);
            }
        }
    }

    /// True between two frames, and before the first.
    pub fn is_between_frames(&self) -> bool {
        self.head_len == 0 && self.skipped_left == 0
    }
}

fn read(head: [u8; HEAD_BYTES]) -> FrameHead {
    let [a, b, c, kind, _, s, t, u, v] = head;
    FrameHead {
        kind,
        // The first bit is reserved.
        stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
        payload_bytes: u32::from_be_bytes([0, a, b, c]),
    }
}

/// Frames that nothing has called for, at once.
pub const FRAMES_MAX: u32 = 1_000;
/// And as many more in each second.
pub const FRAMES_PER_SECOND: u32 = 100;
/// What a HEADERS frame of the client and a DATA frame to it call for: a window for the stream and one for the connection,
/// a measurement, a word on priority or the end.
pub const FRAMES_CALLED_FOR: u32 = 4;

const MS_PER_FRAME: u64 = 1_000 / FRAMES_PER_SECOND as u64;

/// What a client may still say about a connection.
#[derive(Clone, Debug)]
pub struct FrameBudget {
    /// Frames that have been called for and have not come. They are not forgotten: a client with a large window may give
    /// back all of it at the end.
    called_for: u32,
    /// Frames that have come beyond that, and that time has not made good.
    beyond: u32,
    /// Until when it has.
    made_good_until: MonoMs,
}

impl FrameBudget {
    /// That of a connection which begins now.
    pub fn new(now: MonoMs) -> Self {
        Self { called_for: 0, beyond: 0, made_good_until: now }
    }

    /// A frame goes to the client.
    pub fn sent(&mut self, head: FrameHead) {
        if head.kind == DATA {
            self.call();
        }
    }

    /// A frame has come from the client. False: it is one too many. What h2 counts itself is left to it: heads with their
    /// continuations, and DATA.
    #[must_use]
    pub fn received(&mut self, head: FrameHead, now: MonoMs) -> bool {
        match head.kind {
            HEADERS => self.call(),
            DATA | CONTINUATION => {}
            _ if self.called_for > 0 => self.called_for -= 1,
            _ => return self.go_beyond(now),
        }
        true
    }

    fn call(&mut self) {
        self.called_for = self.called_for.saturating_add(FRAMES_CALLED_FOR);
    }

    fn go_beyond(&mut self, now: MonoMs) -> bool {
        let frames = now.since(self.made_good_until) / MS_PER_FRAME;
        self.made_good_until.0 += frames * MS_PER_FRAME;
        self.beyond = self.beyond.saturating_sub(u32::try_from(frames).unwrap_or(u32::MAX));
        if self.beyond == FRAMES_MAX {
            return false;
        }
        self.beyond += 1;
        true
    }
}

const ENHANCE_YOUR_CALM: u8 = 11;

/// The frame that ends a connection because of a flood (6.8). Streams after `last_stream` were not looked at.
pub fn calm_down(last_stream: u32) -> [u8; 17] {
    let [s, t, u, v] = last_stream.to_be_bytes();
    [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, s, t, u, v, 0, 0, 0, ENHANCE_YOUR_CALM]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut bytes = (payload as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, 0xff]);
        bytes.extend((stream | 0x8000_0000).to_be_bytes());
        bytes.extend(std::iter::repeat_n(0xff, payload));
        bytes
    }

    fn seen(scan: &mut FrameScan, bytes: &[u8], cut: usize) -> Vec<(u8, u32)> {
        let mut seen = Vec::new();
        for piece in bytes.chunks(cut) {
            scan.advance(piece, |head| seen.push((head.kind, head.stream)));
        }
        seen
    }

    fn head(kind: u8) -> FrameHead {
        FrameHead { kind, stream: 0, payload_bytes: 0 }
    }

    /// How many frames may come at that time.
    fn taken(budget: &mut FrameBudget, kind: u8, now: u64) -> u32 {
        (0..1_000_000).find(|_| !budget.received(head(kind), MonoMs(now))).unwrap_or(u32::MAX)
    }

    #[test]
    fn what_nothing_has_called_for_is_bounded_and_time_makes_it_good() {
        for kind in [2, 3, SETTINGS, 5, PING, GOAWAY, 8, 10, 16, 255] {
            let mut budget = FrameBudget::new(MonoMs(5_000));
            for (now, expected) in [
                (5_000, FRAMES_MAX),
                (5_009, 0),
                (5_010, 1),
                (5_029, 1),
                (5_030, 1),
                // Time that goes back makes nothing good, twice neither.
                (4_000, 0),
                (6_030, FRAMES_PER_SECOND),
                (900_000, FRAMES_MAX),
            ] {
                assert_eq!(taken(&mut budget, kind, now), expected, "{kind} {now}");
            }
        }
    }

    #[test]
    fn what_goes_on_calls_for_frames_that_may_come_late() {
        let mut budget = FrameBudget::new(MonoMs(0));
        assert_eq!(taken(&mut budget, PING, 0), FRAMES_MAX);
        for _ in 0..10_000 {
            budget.sent(head(DATA));
        }
        // Only DATA does.
        budget.sent(head(HEADERS));
        budget.sent(head(PING));
        assert_eq!(taken(&mut budget, 8, 0), 10_000 * FRAMES_CALLED_FOR);
        assert!(budget.received(head(HEADERS), MonoMs(0)));
        assert_eq!(taken(&mut budget, 3, 0), FRAMES_CALLED_FOR);
    }

    #[test]
    fn what_is_counted_elsewhere_is_not_counted_here() {
        for kind in [DATA, HEADERS, CONTINUATION] {
            assert_eq!(taken(&mut FrameBudget::new(MonoMs(0)), kind, 0), u32::MAX, "{kind}");
        }
    }

    #[test]
    fn calm_down_is_a_frame_with_the_stream() {
        let mut scan = FrameScan::of_server();
        assert_eq!(seen(&mut scan, &calm_down(0x0102_0304), 1), [(GOAWAY, 0)]);
        assert!(scan.is_between_frames());
        assert_eq!(calm_down(0x0102_0304)[9..], [1, 2, 3, 4, 0, 0, 0, 11]);
    }

    #[test]
    fn only_the_end_of_a_frame_is_between_frames() {
        for payload in [0, 1, 255, 256, 65_536] {
            let (bytes, mut scan) = (frame(DATA, 1, payload), FrameScan::of_server());
            assert!(scan.is_between_frames());
            let (last, before) = bytes.split_last().unwrap();
            for byte in before {
                scan.advance(&[*byte], |_| {});
                assert!(!scan.is_between_frames(), "{payload}");
            }
            scan.advance(&[*last], |_| {});
            assert!(scan.is_between_frames(), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn every_frame_is_seen_however_bytes_are_cut(
            frames in prop::collection::vec((any::<u8>(), 0_u32..1 << 31, 0_usize..400), 0..8),
            cut in 1_usize..64,
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            bytes.extend(frames.iter().flat_map(|(kind, stream, payload)| frame(*kind, *stream, *payload)));
            let expected: Vec<(u8, u32)> = frames.iter().map(|(kind, stream, _)| (*kind, *stream)).collect();
            let mut scan = FrameScan::of_client();
            prop_assert_eq!(seen(&mut scan, &bytes, cut), expected);
            prop_assert!(scan.is_between_frames());
        }
    }
}
