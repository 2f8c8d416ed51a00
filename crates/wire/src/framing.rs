//! How long the body is: the one place where Content-Length and Transfer-Encoding are weighed.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::class::{TOKEN, trim};
use crate::connection::{members, tokens};
use crate::refusal::{Refusal, ResponseFault};

/// How the end of a message's body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body: none was announced, or the message cannot have one.
    None,
    /// So many bytes, possibly 0.
    Length(u64),
    /// Chunks, the last of them empty, then trailers.
    Chunked,
    /// Everything until the connection is closed. Responses only; a request is never framed so.
    UntilClose,
}

impl Framing {
    /// Whether at least one byte of body may follow.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

/// What the fields of a head say about framing and the connection, noted one by one.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    length: Option<u64>,
    /// The number was written with leading zeros.
    length_padded: bool,
    coding: Option<Coding>,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
}

impl Noted {
    pub(crate) fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), &'static str> {
        if *name == header::CONTENT_LENGTH {
            if self.length.is_some() {
                return Err("Content-Length stands twice.");
            }
            self.length = Some(content_length(value)?);
            self.length_padded = value.len() > 1 && value[0] == b'0';
        } else if *name == header::TRANSFER_ENCODING {
            if self.coding.is_some() {
                return Err("Transfer-Encoding stands twice.");
            }
            self.coding = Some(transfer_coding(value)?);
        } else if *name == header::CONNECTION {
            // Nearly all say one of these two words, and nothing else.
            match value {
                b"keep-alive" => self.keep_alive = true,
                b"close" => self.close = true,
                _ => self.note_options(value),
            }
        } else if *name == header::UPGRADE {
            self.upgrade_field = true;
        } else if matches!(name.as_str(), "content_length" | "transfer_encoding") {
            return Err("A field name is a look-alike of Content-Length or Transfer-Encoding.");
        }
        Ok(())
    }

    fn note_options(&mut self, value: &[u8]) {
        for option in tokens(value) {
            self.close |= option.eq_ignore_ascii_case("close");
            self.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
            self.upgrade_option |= option.eq_ignore_ascii_case("upgrade");
        }
    }

    pub(crate) fn request(&self, method: &Method, http10: bool) -> Result<Framing, Refusal> {
        let may_need_length = [Method::POST, Method::PUT, Method::PATCH].contains(method);
        match (self.coding, self.length) {
            (Some(_), Some(_)) => Err(Refusal::Malformed(BOTH)),
            (Some(_), None) if http10 => Err(Refusal::Malformed(CODING_IN_HTTP10)),
            (Some(Coding::Other), None) => Err(Refusal::NotImplemented(OTHER_CODING)),
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (None, None) if http10 && may_need_length => {
                Err(Refusal::Malformed("An HTTP/1.0 request with a body needs a Content-Length."))
            }
            (None, None) => Ok(Framing::None),
        }
    }

    pub(crate) fn response(
        &self,
        status: StatusCode,
        request_method: &Method,
        http10: bool,
    ) -> Result<Framing, ResponseFault> {
        let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
        match (self.coding, self.length) {
            (Some(_), Some(_)) => Err(ResponseFault::Malformed(BOTH)),
            (Some(_), None) if http10 => Err(ResponseFault::Malformed(CODING_IN_HTTP10)),
            (Some(Coding::Other), None) => Err(ResponseFault::Malformed(OTHER_CODING)),
            (Some(Coding::Chunked), None) | (None, Some(1..)) if bodiless => {
                Err(ResponseFault::Malformed("The response has a status without body and announces a body."))
            }
            _ if bodiless || *request_method == Method::HEAD || status == StatusCode::NOT_MODIFIED => {
                Ok(Framing::None)
            }
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (None, None) => Ok(Framing::UntilClose),
        }
    }

    /// Writes a padded length as a plain number: someone behind us may read a leading zero as octal.
    pub(crate) fn normalise(&self, headers: &mut HeaderMap) {
        if let (Some(length), true) = (self.length, self.length_padded) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }

    /// Whether the connection may carry another message after this one (RFC 9112 9.3).
    pub(crate) fn persistent(&self, http10: bool) -> bool {
        !self.close && (!http10 || self.keep_alive)
    }

    /// Whether an upgrade is asked for; HTTP/1.0 cannot (RFC 9110 7.8).
    pub(crate) fn upgrade(&self, http10: bool) -> bool {
        self.upgrade_option && self.upgrade_field && !http10
    }
}

const BOTH: &str = "Content-Length and Transfer-Encoding stand together.";
const CODING_IN_HTTP10: &str = "Transfer-Encoding does not exist in HTTP/1.0.";
const OTHER_CODING: &str = "The only transfer coding understood is chunked.";

fn content_length(value: &[u8]) -> Result<u64, &'static str> {
    const NO_NUMBER: &str = "Content-Length is not one decimal number.";
    if value.is_empty() {
        return Err("Content-Length is empty.");
    }
    let mut length = 0u64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(NO_NUMBER);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .ok_or("Content-Length is over 2^64 - 1.")?;
    }
    Ok(length)
}

/// Reads a list of transfer codings as far as needed to tell the malformed from the unknown.
fn transfer_coding(value: &[u8]) -> Result<Coding, &'static str> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Coding::Chunked);
    }
    let mut chunked_before = false;
    for coding in members(value) {
        let (name, parameters) = coding.split_at(TOKEN.run(coding));
        let parameters = trim(parameters);
        let well_formed = parameters.is_empty()
            || (parameters[0] == b';'
                && parameters.iter().all(|byte| TOKEN.has(*byte) || b";= \t".contains(byte)));
        if name.is_empty() || !well_formed {
            return Err("Transfer-Encoding is no list of codings.");
        }
        let chunked = name.eq_ignore_ascii_case(b"chunked");
        if chunked_before || (chunked && !parameters.is_empty()) {
            return Err("In Transfer-Encoding, chunked must stand once, last and without parameters.");
        }
        chunked_before = chunked;
    }
    Ok(Coding::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_one_plain_number() {
        for value in [
            "",
            "+3",
            "-1",
            "0x3",
            "1_0",
            "3,4",
            "3, 3",
            "3 3",
            "3;",
            "3a",
            "\"3\"",
            "1e3",
            "3.0",
            "18446744073709551616",
            "99999999999999999999999",
            "\u{663}",
        ] {
            assert!(content_length(value.as_bytes()).is_err(), "{value:?}");
        }
        for (value, length) in [("0", 0), ("42", 42), ("0042", 42), ("18446744073709551615", u64::MAX)] {
            assert_eq!(content_length(value.as_bytes()), Ok(length));
        }
    }

    #[test]
    fn transfer_codings() {
        for value in [
            &b""[..],
            b",",
            b",chunked",
            b"chunked,",
            b"chunked, identity",
            b"chunked, chunked",
            b"gzip, chunked, chunked",
            b"\"chunked\"",
            b"'chunked\"",
            b"\xa0chunked",
            b"chunked\xa0",
            b"chunked;a=b",
            b"gzip, chunked;x",
            b"gzip x",
            b"chunked chunked",
            b"chunked/1",
            b"gzip;q=\"1\"",
            b"gzip,,chunked",
        ] {
            assert!(transfer_coding(value).is_err(), "{value:?}");
        }
        for value in
            ["gzip", "identity", "xchunked", "chunked-x", "gzip, chunked", "gzip;level=1, br", "'chunked'"]
        {
            assert_eq!(transfer_coding(value.as_bytes()), Ok(Coding::Other), "{value:?}");
        }
        for value in ["chunked", "Chunked", "CHUNKED"] {
            assert_eq!(transfer_coding(value.as_bytes()), Ok(Coding::Chunked), "{value:?}");
        }
    }
}
