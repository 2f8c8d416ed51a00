//! The line for people: what one looks at first in fixed places, the rest as `name=value`.
//!
//! `2027-02-01T10:00:00.007Z 200 GET /payments/v1/payments/{id} 12.345ms config=3f2a... request_id=...`
//!
//! Nothing in it can forge a line or steer a terminal: whatever is not a plain word is quoted, and control
//! characters (C1 and line separators included) are escaped.

use std::net::IpAddr;

use mainstay_core::Trail;
use mainstay_core::clock::UnixMs;

use super::json::{push_display, push_ip, push_ms, push_u64};
use super::record::{AccessRecord, Field, Line, REDACTED, visit};
use super::stamp::push_stamp;

/// The fields that stand in front, without names.
const FRONT: u32 = Field::Ts.bit()
    | Field::Status.bit()
    | Field::Method.bit()
    | Field::Route.bit()
    | Field::DurationMs.bit();

pub(super) fn write_text(out: &mut Vec<u8>, record: &AccessRecord<'_>, redacted: u32) {
    let mut front = TextLine { out: &mut *out, redacted, skipped: 0, named: false };
    front.stamp(Field::Ts, record.ts);
    match record.status {
        0 => front.text(Field::Status, "-"),
        status => front.number(Field::Status, status.into()),
    }
    front.text(Field::Method, record.method);
    front.text(Field::Route, record.route.unwrap_or("-"));
    front.ms(Field::DurationMs, record.duration_us);
    visit(record, &mut TextLine { out: &mut *out, redacted, skipped: FRONT, named: true });
    out.push(b'\n');
}

struct TextLine<'a> {
    out: &'a mut Vec<u8>,
    redacted: u32,
    /// Fields that are not written.
    skipped: u32,
    /// Whether names are written.
    named: bool,
}

impl TextLine<'_> {
    /// Writes what stands before the value; false when there is nothing more to write.
    fn key(&mut self, field: Field) -> bool {
        if self.skipped & field.bit() != 0 {
            return false;
        }
        if self.named || !matches!(field, Field::Ts) {
            self.out.push(b' ');
        }
        if self.named {
            self.out.extend_from_slice(field.name().as_bytes());
            self.out.push(b'=');
        }
        let open = self.redacted & field.bit() == 0;
        if !open {
            self.out.extend_from_slice(REDACTED.as_bytes());
        }
        open
    }
}

impl Line for TextLine<'_> {
    fn stamp(&mut self, field: Field, at: UnixMs) {
        if self.key(field) {
            push_stamp(self.out, at);
        }
    }

    fn text(&mut self, field: Field, value: &str) {
        if self.key(field) {
            push_word(self.out, value);
        }
    }

    fn number(&mut self, field: Field, value: u64) {
        if self.key(field) {
            push_u64(self.out, value);
        }
    }

    fn ms(&mut self, field: Field, us: u64) {
        if self.key(field) {
            push_ms(self.out, us);
            self.out.extend_from_slice(b"ms");
        }
    }

    fn address(&mut self, field: Field, value: IpAddr) {
        if self.key(field) {
            push_ip(self.out, value);
        }
    }

    fn pair(&mut self, field: Field, (first, second): (&str, &str)) {
        if self.key(field) {
            push_word(self.out, &format!("{first} {second}"));
        }
    }

    fn trail(&mut self, field: Field, value: &Trail) {
        if self.key(field) {
            push_word(self.out, &value.to_string());
        }
    }
}

/// A value as it is where it is a plain word, else quoted and escaped.
fn push_word(out: &mut Vec<u8>, value: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    if !value.is_empty() && value.bytes().all(plain) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(b'"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                push_display(out, format_args!("{}", c.escape_default()));
            }
            c => push_display(out, format_args!("{c}")),
        }
    }
    out.push(b'"');
}
