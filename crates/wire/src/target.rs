//! The request target in its three forms (RFC 9112 3.2), split but not decoded.

use std::fmt;

use bytes::Bytes;
use http::Method;

use crate::class::{PATH, QUERY};
use crate::field::Span;
use crate::host::{self, Authority};
use crate::refusal::Refusal;
use crate::scan::StartLine;
use crate::text::Text;

/// What a request is about, exactly as it was sent, cut at the first `?`.
///
/// Escapes are neither decoded nor checked: that is the work of whoever makes the canonical path.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Begins with `/`, or is `*` (OPTIONS only). An absolute-form target without path gives `/`.
    pub path: Text,
    /// What follows the first `?`, which itself is left out. `Some("")` when nothing follows it.
    pub query: Option<Text>,
    /// The host that counts, for routing, authorisation and cache alike. `None` only for HTTP/1.0 without Host.
    pub authority: Option<Authority>,
}

impl Target {
    /// Makes a target of parts that came another way (`:path` and `:authority` of HTTP/2) by the same rules.
    ///
    /// # Errors
    /// [`Refusal::Target`] for a byte that must not stand there, [`Refusal::Malformed`] for a path that
    /// neither begins with `/` nor is `*`.
    pub fn from_parts(path_and_query: &Bytes, authority: Option<Authority>) -> Result<Self, Refusal> {
        let path_bytes = PATH.run(path_and_query);
        let (path, rest) = path_and_query.split_at(path_bytes);
        let query = match rest {
            [] => None,
            [b'?', query @ ..] => match query.get(QUERY.run(query)) {
                None => Some(path_and_query.slice(path_bytes + 1..)),
                Some(&byte) => return Err(forbidden(byte)),
            },
            [byte, ..] => return Err(forbidden(*byte)),
        };
        if path.first() != Some(&b'/') && path_and_query[..] != b"*"[..] {
            return Err(NO_FORM);
        }
        let path = Text::from_ascii(path_and_query.slice(..path_bytes));
        Ok(Self { path, query: query.map(Text::from_ascii), authority })
    }
}

/// Path and query as they go into a request line. No authority.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Without the query, in which some clients put credentials.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut target = f.debug_struct("Target");
        target.field("path", &self.path).field("authority", &self.authority).finish_non_exhaustive()
    }
}

const NO_FORM: Refusal = Refusal::Malformed("The request target is neither a path nor an http or https URL.");

/// Whether a target can begin so. Authority-form begins otherwise, or fails at its end.
pub(crate) fn may_begin(byte: u8) -> bool {
    matches!(byte, b'/' | b'*' | b'h' | b'H')
}

/// What to say of the first byte of a target that [`may_begin`] refuses.
pub(crate) fn bad_beginning(byte: u8) -> Refusal {
    if byte == b'?' || PATH.has(byte) { NO_FORM } else { forbidden(byte) }
}

/// What to say of a byte that cannot stand in a target.
pub(crate) fn forbidden(byte: u8) -> Refusal {
    match byte {
        b'\r' | b'\n' => Refusal::Malformed("The request line ends after the target, without a version."),
        b'#' => Refusal::Target("The request target has a fragment."),
        b' ' => Refusal::Target("The request target has a raw space."),
        0x80.. => Refusal::Target("The request target has a byte that is not ASCII."),
        0..0x20 | 0x7f => Refusal::Target("The request target has a control byte."),
        _ => Refusal::Target("The path has a byte that must be percent-encoded there."),
    }
}

/// Checks the form of a target whose bytes were checked, and finds the authority of absolute-form.
pub(crate) fn check_form(head: &[u8], line: &mut StartLine) -> Result<(), Refusal> {
    let start = line.method_end + 1;
    let before_query = &head[start..line.query_mark.unwrap_or(line.target_end)];
    match before_query.first() {
        Some(b'/') => Ok(()),
        Some(b'*') if before_query.len() > 1 || line.query_mark.is_some() => Err(NO_FORM),
        Some(b'*') if &head[..line.method_end] == b"OPTIONS" => Ok(()),
        Some(b'*') => Err(Refusal::Malformed("The target * goes only with OPTIONS.")),
        _ => {
            let authority = absolute_authority(before_query).ok_or(NO_FORM)?;
            host::check(&before_query[authority.range()]).map_err(Refusal::Host)?;
            let range = authority.range();
            line.authority = Some(Span::new(start + range.start, start + range.end));
            Ok(())
        }
    }
}

/// Where the authority stands in `http://authority/path`.
fn absolute_authority(target: &[u8]) -> Option<Span> {
    let colon = memchr::memchr(b':', target)?;
    let scheme = &target[..colon];
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let start = colon + 3;
    if !known || target.get(colon..start)? != b"://" {
        return None;
    }
    let length = memchr::memchr(b'/', &target[start..]).unwrap_or(target.len() - start);
    Some(Span::new(start, start + length))
}

/// Cuts path and query out of a complete head.
pub(crate) fn cut(head: &Bytes, line: &StartLine, method: &Method, authority: Option<Authority>) -> Target {
    let start = line.authority.map_or(line.method_end + 1, |authority| authority.range().end);
    let path_end = line.query_mark.unwrap_or(line.target_end);
    let query = line.query_mark.map(|mark| Text::from_ascii(head.slice(mark + 1..line.target_end)));
    let path = if start < path_end {
        head.slice(start..path_end)
    } else if query.is_none() && *method == Method::OPTIONS {
        // RFC 9112 3.2.4: OPTIONS of a URL without path is about the server as a whole.
        Bytes::from_static(b"*")
    } else {
        Bytes::from_static(b"/")
    };
    Target { path: Text::from_ascii(path), query, authority }
}
