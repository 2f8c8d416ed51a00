//! How far a head has been read: kept between calls, so that no byte is looked at twice.

use crate::field::{FieldScan, Span};

/// Progress in the head that is arriving on a connection, and nothing once it was taken.
///
/// One belongs to each direction of a connection that heads arrive on. It is bound to the buffer it is used
/// with: between two calls bytes may only be added at the end. After a refusal it refuses everything.
/// A new one holds no memory; one that has seen heads keeps at most 1 KiB.
#[derive(Debug, Default)]
pub struct HeadScan {
    pub(crate) stage: Stage,
    /// The next byte to look at, counted from the first byte of the start line.
    pub(crate) at: usize,
    pub(crate) empty_lines: u8,
    pub(crate) line: StartLine,
    pub(crate) fields: FieldScan,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing of a head yet.
    #[default]
    Idle,
    Method,
    Path,
    Query,
    Version,
    Status,
    Reason,
    StatusLineFeed,
    Fields,
    Refused,
}

/// What the start line says, as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartLine {
    pub(crate) http10: bool,
    pub(crate) method_end: usize,
    /// Where the `?` stands.
    pub(crate) query_mark: Option<usize>,
    pub(crate) target_end: usize,
    /// Set for absolute-form.
    pub(crate) authority: Option<Span>,
    pub(crate) status: u16,
}

impl HeadScan {
    /// Whether at least one byte of a head has arrived that is not complete. Empty lines before a request
    /// do not count: a connection that sent nothing else is idle.
    pub fn is_mid_head(&self) -> bool {
        self.stage != Stage::Idle
    }

    /// From here on every call is refused, however much arrives: where the next head begins is unknown.
    pub(crate) fn refuse(&mut self) {
        self.reset();
        self.stage = Stage::Refused;
    }

    pub(crate) fn reset(&mut self) {
        self.stage = Stage::Idle;
        self.at = 0;
        self.empty_lines = 0;
        self.line = StartLine::default();
        self.fields.reset();
    }
}

/// Looks at most at so many bytes; offsets are kept in 32 bits.
pub(crate) fn window_bytes(available: usize, head_bytes_max: usize) -> usize {
    available.min(head_bytes_max).min(u32::MAX as usize)
}

/// Whether the limit, and not the lack of bytes, ended a window.
pub(crate) fn is_exhausted(window: usize, head_bytes_max: usize) -> bool {
    window >= head_bytes_max.min(u32::MAX as usize)
}

/// What every version begins with; the digit after it is 0 or 1.
pub(crate) const VERSION_PREFIX: &[u8; 7] = b"HTTP/1.";
