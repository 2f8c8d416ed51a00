//! Names, paths and other texts with rules of their own.

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::Pool;
use crate::checked::MemoryLimit;
use crate::decode::scalar::{Int, Size, pattern, substitutable, unknown_word};
use crate::decode::substitute::is_off;
use crate::decode::{Decode, Decoder, Naming, Refusal, Scalar, Spanned, State};

/// Longer names fit no table and no label.
const NAME_BYTES_MAX: usize = 64;

/// Names of upstreams, classes and apis.
#[derive(Clone, Debug)]
pub(crate) struct Name;

impl Naming for Name {
    const WHAT: &'static str = "name: letters, digits, `_` and `-`, at most 64, a letter or digit first";
    const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";

    fn fits(name: &str) -> bool {
        name.len() <= NAME_BYTES_MAX
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    }
}

/// Names of versions, which are segments of the URL.
#[derive(Clone, Debug)]
pub(crate) struct VersionName;

impl Naming for VersionName {
    const WHAT: &'static str =
        "name of a version: small letters, digits, `.` and `-`, such as `v1`, at most 64";
    const PATTERN: &'static str = "^[a-z0-9][a-z0-9.-]{0,63}$";

    fn fits(name: &str) -> bool {
        let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        name.len() <= NAME_BYTES_MAX
            && name.starts_with(small)
            && name.chars().all(|c| small(c) || matches!(c, '.' | '-'))
    }
}

/// Names of entries: an `operationId`, or a method and a path. What they mean is found out where the document is.
#[derive(Clone, Debug)]
pub(crate) struct OperationName;

impl Naming for OperationName {
    const WHAT: &'static str = "name of an operation: an `operationId`, or `METHOD /path`";
    const PATTERN: &'static str = "^.{1,1024}$";

    fn fits(name: &str) -> bool {
        !name.trim().is_empty() && name.len() <= 1024 && !name.contains(char::is_control)
    }
}

/// Whether this is a path that requests can have as it stands: no escapes, no braces, no dot segments.
fn path_problem(text: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:@/".contains(c);
    if !text.starts_with('/') {
        Some("it begins with `/`")
    } else if !text.chars().all(allowed) {
        Some("it has letters, digits and `-._~!$&'()*+,;=:@`")
    } else if text[1..].split('/').any(crate::path::is_dot_segment) {
        Some("no request can match a segment `.` or `..`")
    } else if text.contains("//") {
        Some("it has no empty segment")
    } else {
        None
    }
}

/// A path of the engine's own.
#[derive(Clone, Debug)]
pub(crate) struct AbsolutePath(pub(crate) String);

impl Scalar for AbsolutePath {
    const WHAT: &'static str = "a path";

    fn read(text: &str, _plain: bool) -> Result<AbsolutePath, Refusal> {
        match path_problem(text) {
            Some(why) => Err(Refusal::new("bad_path", format!("expected a path such as `/healthz`: {why}"))),
            None => Ok(AbsolutePath(text.to_owned())),
        }
    }

    fn schema() -> Value {
        pattern("^/")
    }
}

/// A path without a trailing slash.
#[derive(Clone, Debug)]
pub(crate) struct BasePath(pub(crate) String);

impl Scalar for BasePath {
    const WHAT: &'static str = "a path";

    fn read(text: &str, _plain: bool) -> Result<BasePath, Refusal> {
        let slash = text.ends_with('/').then_some("it has no `/` at its end");
        match path_problem(text).or(slash) {
            Some(why) => Err(Refusal::new("bad_path", format!("expected a path such as `/payments`: {why}"))),
            None => Ok(BasePath(text.to_owned())),
        }
    }

    fn schema() -> Value {
        pattern("^/.*[^/]$")
    }
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// The name of a header field, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct HeaderName(pub(crate) String);

impl Scalar for HeaderName {
    const WHAT: &'static str = "the name of a header";

    fn read(text: &str, _plain: bool) -> Result<HeaderName, Refusal> {
        if text.is_empty() || text.len() > 128 || !text.chars().all(is_token) {
            return Err(Refusal::new("bad_header", "expected the name of a header, such as `x-request-id`"));
        }
        Ok(HeaderName(text.to_ascii_lowercase()))
    }

    fn schema() -> Value {
        pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
    }
}

/// An origin in lower case, or `*`.
#[derive(Clone, Debug)]
pub(crate) struct Origin(pub(crate) String);

impl Scalar for Origin {
    const WHAT: &'static str = "an origin";

    fn read(text: &str, _plain: bool) -> Result<Origin, Refusal> {
        let refused = || {
            Refusal::new("bad_origin", "expected an origin such as `https://dashboard.example.com`, or `*`")
        };
        if text == "*" {
            return Ok(Origin(text.to_owned()));
        }
        let (scheme, authority) = text.split_once("://").ok_or_else(refused)?;
        let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
        if authority.ends_with('/') {
            return Err(refused().help("an origin has no `/` at its end"));
        }
        if !scheme_fits || authority.is_empty() || !authority.chars().all(host) {
            return Err(refused().help("a scheme, a host and where needed a port; nothing more"));
        }
        Ok(Origin(text.to_ascii_lowercase()))
    }

    fn schema() -> Value {
        pattern(r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://[^/]+)$")
    }
}

/// `telemetry.log.output`.
#[derive(Clone, Debug)]
pub(crate) enum LogTarget {
    Stdout,
    None,
    File(String),
}

impl Scalar for LogTarget {
    const WHAT: &'static str = "`stdout`, `none` or a file";

    fn read(text: &str, plain: bool) -> Result<LogTarget, Refusal> {
        match text {
            "stdout" => Ok(LogTarget::Stdout),
            "none" => Ok(LogTarget::None),
            "off" if plain => Ok(LogTarget::None),
            // A file of these names would surprise whoever meant the stream.
            "stderr" | "-" => Err(Refusal::new("bad_text", "expected `stdout`, `none` or a file")),
            _ => crate::decode::scalar::Text::read(text, plain).map(|text| LogTarget::File(text.0)),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// `server.limits.memory`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemorySpec(pub(crate) MemoryLimit);

/// From 16 MiB, in which no engine runs, to 1 PiB.
type MemorySize = Size<16_777_216, 1_125_899_906_842_624>;

impl Scalar for MemorySpec {
    const WHAT: &'static str = "`auto`, `off` or a size";

    fn read(text: &str, plain: bool) -> Result<MemorySpec, Refusal> {
        match text {
            "auto" => Ok(MemorySpec(MemoryLimit::Auto)),
            "off" if plain => Ok(MemorySpec(MemoryLimit::Off)),
            _ => match MemorySize::read(text, plain) {
                Ok(size) => Ok(MemorySpec(MemoryLimit::Bytes(size.0))),
                Err(refusal) => {
                    let message = format!("{}, or `auto`, or `off`", refusal.message);
                    Err(Refusal { message, ..refusal })
                }
            },
        }
    }

    fn schema() -> Value {
        let mut size = <MemorySize as Scalar>::schema();
        let description = size.as_object_mut().and_then(|size| size.remove("description"));
        json!({ "anyOf": [size, { "enum": ["auto", "off"] }], "description": description })
    }
}

/// The fields of the access log, in the order of its lines.
const LOG_FIELDS: &[&str] = &[
    "ts",
    "node",
    "region",
    "config",
    "request_id",
    "trace_id",
    "method",
    "route",
    "api",
    "owner",
    "version",
    "operation",
    "mode",
    "consumer",
    "key_id",
    "client_id",
    "auth_method",
    "client",
    "status",
    "problem",
    "duration_ms",
    "upstream_ms",
    "upstream",
    "attempts",
    "degraded",
    "bytes_in",
    "bytes_out",
    "aborted",
    "trail",
];

/// A field of the access log.
#[derive(Clone, Debug)]
pub(crate) struct LogField(pub(crate) String);

impl Scalar for LogField {
    const WHAT: &'static str = "a field of the access log";

    fn read(text: &str, _plain: bool) -> Result<LogField, Refusal> {
        if LOG_FIELDS.contains(&text) {
            Ok(LogField(text.to_owned()))
        } else {
            Err(unknown_word(text, LOG_FIELDS))
        }
    }

    fn schema() -> Value {
        substitutable(&json!({ "enum": LOG_FIELDS }))
    }
}

/// A pool, or `off`: then no connection is kept.
#[derive(Clone, Debug)]
pub(crate) struct PoolOrOff(pub(crate) Pool);

impl Decode for PoolOrOff {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<PoolOrOff> {
        if !is_off(node, cx)? {
            return Pool::decode(node, cx).map(PoolOrOff);
        }
        let mut pool = Pool::absent();
        pool.idle_max.state =
            State::Given(Spanned { value: Int(0), at: cx.place(node.span()), written: None });
        Some(PoolOrOff(pool))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let block = Pool::schema(generator);
        json_schema!({ "anyOf": [block, { "const": "off" }] })
    }

    fn over(&self, under: &PoolOrOff) -> PoolOrOff {
        PoolOrOff(self.0.over(&under.0))
    }
}
