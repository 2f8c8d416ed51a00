//! What was wrong with a head, as a stable code and a fixed sentence.
//!
//! Sentences are constants: bytes of the peer never get into an answer, a log line or a metric from here.

use std::fmt;

/// Why a request's bytes were refused. The connection cannot be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no HTTP/1 request, or one that could be read in two ways (400).
    Malformed(&'static str),
    /// Host is missing, doubled, invalid, or disagrees with the target (400).
    Host(&'static str),
    /// The target holds a byte that must not stand there unencoded (400).
    Target(&'static str),
    /// The head or its number of fields is over the limit (431).
    TooLarge(&'static str),
    /// The target is over the limit (414).
    UriTooLong,
    /// Well formed, but something this server does not do (501).
    NotImplemented(&'static str),
    /// An expectation that cannot be met (417).
    Expectation,
}

impl Refusal {
    /// The problem code, as in the table of problems.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::Host(_) => "bad_host",
            Self::Target(_) => "ambiguous_path",
            Self::TooLarge(_) => "headers_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::NotImplemented(_) => "not_implemented",
            Self::Expectation => "expectation_failed",
        }
    }

    /// A sentence that says what exactly is wrong.
    pub fn detail(&self) -> &'static str {
        match self {
            Self::Malformed(detail)
            | Self::Host(detail)
            | Self::Target(detail)
            | Self::TooLarge(detail)
            | Self::NotImplemented(detail) => detail,
            Self::UriTooLong => "The request target is longer than this server accepts.",
            Self::Expectation => "The only expectation this server meets is 100-continue.",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}

/// Why an upstream's response head cannot be used. Its connection cannot be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    /// The bytes are no HTTP/1 response, or one that could be read in two ways.
    Malformed(&'static str),
    /// The head or its number of fields is over the limit.
    TooLarge(&'static str),
}

impl ResponseFault {
    /// The problem code, as in the table of problems: both are answered with 502.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "upstream_malformed",
            Self::TooLarge(_) => "upstream_too_large",
        }
    }

    /// A sentence that says what exactly is wrong.
    pub fn detail(&self) -> &'static str {
        match self {
            Self::Malformed(detail) | Self::TooLarge(detail) => detail,
        }
    }
}

impl fmt::Display for ResponseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for ResponseFault {}

/// What can be wrong in a block of fields, whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldFault {
    Malformed(&'static str),
    TooLarge(&'static str),
}

impl From<FieldFault> for Refusal {
    fn from(fault: FieldFault) -> Self {
        match fault {
            FieldFault::Malformed(detail) => Self::Malformed(detail),
            FieldFault::TooLarge(detail) => Self::TooLarge(detail),
        }
    }
}

impl From<FieldFault> for ResponseFault {
    fn from(fault: FieldFault) -> Self {
        match fault {
            FieldFault::Malformed(detail) => Self::Malformed(detail),
            FieldFault::TooLarge(detail) => Self::TooLarge(detail),
        }
    }
}
