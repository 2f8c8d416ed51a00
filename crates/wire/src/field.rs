//! A block of field lines, in a head or in a trailer section: found byte by byte, then built in one go.
//!
//! [`FieldScan`] walks over the bytes as they arrive, remembers where names and values stand, and stops
//! at the first byte that makes the block invalid. [`build`] makes the map when the block is complete.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::class::{CR, HTAB, LF, SP, TOKEN, value_run};
use crate::refusal::FieldFault;

/// Where something stands in the head's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Heads are cut off at `u32::MAX` bytes before anything is remembered of them.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    #[inline]
    pub(crate) fn slice(self, head: &Bytes) -> Bytes {
        head.slice(self.range())
    }
}

/// One field line: its name, and its value without the whitespace around it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// What the next byte of a block is.
#[derive(Clone, Copy, Debug, Default)]
enum Expect {
    /// The first byte of a name, or the CR of the empty line.
    #[default]
    LineStart,
    /// A byte of the name that began at `start`, or the colon.
    Name {
        start: usize,
    },
    /// Whitespace before the value, or its first byte.
    ValueStart,
    /// A byte of the value that began at `start`, or the CR after it.
    Value {
        start: usize,
    },
    LineFeed,
    LastLineFeed,
}

/// Progress in a block of fields.
#[derive(Debug, Default)]
pub(crate) struct FieldScan {
    expect: Expect,
    name: Span,
    fields: Vec<Field>,
}

/// Room for fields that is kept from one head to the next of a connection (1 KiB).
const FIELDS_KEPT: usize = 64;

impl FieldScan {
    /// Walks on from `at` to the end of `window`; true when the block's empty line was found.
    ///
    /// After a fault `at` is the byte that caused it.
    pub(crate) fn advance(
        &mut self,
        window: &[u8],
        at: &mut usize,
        fields_max: usize,
    ) -> Result<bool, FieldFault> {
        while let Some(&byte) = window.get(*at) {
            match self.expect {
                Expect::LineStart => self.line_start(byte, at, fields_max)?,
                Expect::Name { start } => {
                    *at += TOKEN.run(&window[*at..]);
                    match window.get(*at) {
                        None => break,
                        Some(b':') => self.name = Span::new(start, *at),
                        Some(&other) => return Err(FieldFault::Malformed(not_a_name(other))),
                    }
                    *at += 1;
                    self.expect = Expect::ValueStart;
                }
                Expect::ValueStart if byte == SP || byte == HTAB => *at += 1,
                Expect::ValueStart => self.expect = Expect::Value { start: *at },
                Expect::Value { start } => {
                    *at += value_run(&window[*at..]);
                    match window.get(*at) {
                        None => break,
                        Some(&CR) => self.push(window, start, *at),
                        Some(&other) => return Err(FieldFault::Malformed(not_a_value(other))),
                    }
                    *at += 1;
                }
                Expect::LineFeed | Expect::LastLineFeed if byte != LF => {
                    return Err(FieldFault::Malformed(
                        "A carriage return stands alone in the header section.",
                    ));
                }
                Expect::LineFeed => {
                    *at += 1;
                    self.expect = Expect::LineStart;
                }
                Expect::LastLineFeed => {
                    *at += 1;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn line_start(&mut self, byte: u8, at: &mut usize, fields_max: usize) -> Result<(), FieldFault> {
        match byte {
            CR => {
                *at += 1;
                self.expect = Expect::LastLineFeed;
            }
            SP | HTAB if self.fields.is_empty() => {
                return Err(FieldFault::Malformed("There is whitespace before the first field."));
            }
            SP | HTAB => return Err(FieldFault::Malformed("A field value is folded over two lines.")),
            b':' => return Err(FieldFault::Malformed("A field has an empty name.")),
            _ if self.fields.len() >= fields_max => {
                return Err(FieldFault::TooLarge("There are more header fields than this server accepts."));
            }
            _ => self.expect = Expect::Name { start: *at },
        }
        Ok(())
    }

    fn push(&mut self, window: &[u8], start: usize, mut end: usize) {
        while end > start && matches!(window[end - 1], SP | HTAB) {
            end -= 1;
        }
        self.fields.push(Field { name: self.name, value: Span::new(start, end) });
        self.expect = Expect::LineFeed;
    }

    pub(crate) fn found(&self) -> &[Field] {
        &self.fields
    }

    pub(crate) fn reset(&mut self) {
        self.expect = Expect::LineStart;
        self.fields.clear();
        self.fields.shrink_to(FIELDS_KEPT);
    }
}

/// Whether these bytes can be the name of a field (RFC 9110, 5.1): what a message of HTTP/1 would be refused for.
/// Libraries of HTTP/2 are less strict, and a name from there may have to stand in a message of HTTP/1.
pub fn is_field_name(name: &[u8]) -> bool {
    TOKEN.spells(name)
}

fn not_a_name(byte: u8) -> &'static str {
    match byte {
        SP | HTAB => "There is whitespace in a field name or before its colon.",
        CR | LF => "A header line has no colon.",
        _ => "A field name has a byte that cannot stand in a name.",
    }
}

fn not_a_value(byte: u8) -> &'static str {
    match byte {
        LF => "A line ends with a bare line feed.",
        0 => "A field value has a NUL byte.",
        _ => "A field value has a control byte.",
    }
}

/// Fields that the gateway itself is likely to add; the map does not grow for them.
const FIELDS_SPARE: usize = 4;

/// Makes the map of a complete block; `keep` sees each field first and says whether it goes in.
pub(crate) fn build<E: From<FieldFault>>(
    head: &Bytes,
    fields: &[Field],
    mut keep: impl FnMut(&HeaderName, &[u8], Field) -> Result<bool, E>,
) -> Result<HeaderMap, E> {
    const TOO_MANY: FieldFault = FieldFault::TooLarge("There are more header fields than can be held.");
    let mut map = HeaderMap::new();
    if !fields.is_empty() {
        map = HeaderMap::try_with_capacity(fields.len() + FIELDS_SPARE).map_err(|_| TOO_MANY)?;
    }
    for &field in fields {
        // Token bytes were checked; what remains is the length that the name type can hold.
        let name = HeaderName::from_bytes(&head[field.name.range()])
            .map_err(|_| FieldFault::TooLarge("A field name is too long."))?;
        if !keep(&name, &head[field.value.range()], field)? {
            continue;
        }
        let mut value = HeaderValue::from_maybe_shared(field.value.slice(head))
            .map_err(|_| FieldFault::Malformed("A field value has a control byte."))?;
        value.set_sensitive(is_secret(&name));
        map.try_append(name, value).map_err(|_| TOO_MANY)?;
    }
    Ok(map)
}

/// Values of these are credentials whatever the configuration says: kept out of debug output and out of
/// HPACK tables.
fn is_secret(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION
        || *name == header::COOKIE
        || *name == header::SET_COOKIE
        || *name == header::PROXY_AUTHORIZATION
}

#[cfg(test)]
mod tests;
