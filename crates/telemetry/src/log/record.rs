//! What is known of a finished request, and how it becomes a line.

use std::fmt;
use std::net::IpAddr;

use mainstay_core::clock::UnixMs;
use mainstay_core::{ProblemCode, Trail};

use super::json::{push_chars, push_ip, push_ms, push_string, push_u64};
use super::stamp::push_stamp;
use super::text::write_text;

/// A finished request. What is `None` is left out of the line.
#[derive(Clone, Debug, Default)]
pub struct AccessRecord<'a> {
    /// When the request began.
    pub ts: UnixMs,
    /// The name of this engine among others (`server.node.name`).
    pub node: Option<&'a str>,
    /// Where it stands (`server.node.region`).
    pub region: Option<&'a str>,
    /// The digest of the configuration that served the request.
    pub config: Option<&'a str>,
    /// The request id, as it went to the upstream and back to the client.
    pub request_id: &'a str,
    /// The trace that the request belongs to, 32 hex digits.
    pub trace_id: Option<&'a str>,
    /// The method as it was sent; it may be any token.
    pub method: &'a str,
    /// The template of the path, version included; `None` where nothing matched.
    pub route: Option<&'a str>,
    /// The api's name.
    pub api: Option<&'a str>,
    /// The api's owner.
    pub owner: Option<&'a str>,
    /// The version's name.
    pub version: Option<&'a str>,
    /// The operation's name.
    pub operation: Option<&'a str>,
    /// Whether the credential was for real work (`live`) or for trying things out (`test`).
    pub mode: Option<&'a str>,
    /// The consumer who called, or the user where there is no consumer.
    pub consumer: Option<&'a str>,
    /// The id of the API key, never the key.
    pub key_id: Option<&'a str>,
    /// The OAuth client.
    pub client_id: Option<&'a str>,
    /// How the caller proved who they are.
    pub auth_method: Option<&'a str>,
    /// The client's address; `None` behind a unix socket.
    pub client: Option<IpAddr>,
    /// The status that the client was answered with; 0 (left out) where no answer was begun.
    pub status: u16,
    /// The problem that was answered.
    pub problem: Option<ProblemCode>,
    /// From the first byte of the request to the last of the answer, in microseconds.
    pub duration_us: u64,
    /// From sending to the upstream to its last byte, in microseconds, over all attempts.
    pub upstream_us: Option<u64>,
    /// The upstream's name and the endpoint that answered, or was tried last.
    pub upstream: Option<(&'a str, &'a str)>,
    /// How often the request was sent, the first time included.
    pub attempts: Option<u32>,
    /// What gave the answer in place of the upstream that should have.
    pub degraded: Option<&'a str>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Who broke off before the end, and where.
    pub aborted: Option<&'a str>,
    /// The decisions that were not plain.
    pub trail: Option<&'a Trail>,
}

impl AccessRecord<'_> {
    /// The decisions, where there are any.
    pub(crate) fn decisions(&self) -> Option<&Trail> {
        self.trail.filter(|trail| !trail.is_empty())
    }

    /// True when there is nothing to look into: no error status, no problem, no abort, no decision.
    pub fn is_plain(&self) -> bool {
        (1..400).contains(&self.status)
            && self.problem.is_none()
            && self.aborted.is_none()
            && self.degraded.is_none()
            && self.decisions().is_none()
    }
}

macro_rules! fields {
    ($($variant:ident $name:literal,)*) => {
        /// A field of the line, in the order in which they are written.
        #[derive(Clone, Copy)]
        pub(super) enum Field { $($variant,)* }

        /// The names of the fields, as `telemetry.log.redact` takes them.
        pub const FIELDS: &[&str] = &[$($name,)*];

        /// The names with what stands around them in JSON.
        const KEYS: &[&str] = &[$(concat!(",\"", $name, "\":"),)*];
    };
}

fields! {
    Ts "ts", Node "node", Region "region", Config "config", RequestId "request_id", TraceId "trace_id",
    Method "method", Route "route", Api "api", Owner "owner", Version "version", Operation "operation",
    Mode "mode", Consumer "consumer", KeyId "key_id", ClientId "client_id", AuthMethod "auth_method",
    Client "client", Status "status", Problem "problem", DurationMs "duration_ms", UpstreamMs "upstream_ms",
    Upstream "upstream", Attempts "attempts", Degraded "degraded", BytesIn "bytes_in", BytesOut "bytes_out",
    Aborted "aborted", Trail "trail",
}

impl Field {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }

    pub(super) const fn name(self) -> &'static str {
        FIELDS[self as usize]
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Words for people: time, status, method, route and duration, then `name=value`.
    Text,
}

/// A field name that [`FIELDS`] does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField(pub String);

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the access log has no field `{}`; it has {}", self.0, FIELDS.join(", "))
    }
}

impl std::error::Error for UnknownField {}

/// `telemetry.log`, prepared: which lines are written and how.
#[derive(Clone, Copy, Debug)]
pub struct LogPlan {
    pub(super) format: LogFormat,
    /// Bit n stands for field n, so that asking costs one instruction.
    pub(super) redacted: u32,
    /// A plain request is written when its random bits are not above this.
    sample_to: u64,
}

impl Default for LogPlan {
    /// JSON, every request, nothing redacted.
    fn default() -> Self {
        Self { format: LogFormat::Json, redacted: 0, sample_to: u64::MAX }
    }
}

impl LogPlan {
    /// A plan that writes every request, with `[redacted]` instead of the values of the named fields.
    ///
    /// # Errors
    /// The first name that is no field.
    pub fn new<S: AsRef<str>>(format: LogFormat, redact: &[S]) -> Result<Self, UnknownField> {
        let mut plan = Self { format, ..Self::default() };
        for name in redact.iter().map(AsRef::as_ref) {
            let at = FIELDS.iter().position(|field| *field == name);
            plan.redacted |= 1 << at.ok_or_else(|| UnknownField(name.to_owned()))?;
        }
        Ok(plan)
    }

    /// Writes only this share of the plain requests, 0.0 to 1.0 (`telemetry.log.sample_success`).
    #[must_use]
    pub fn sample_success(mut self, share: f64) -> Self {
        // A cast of a float saturates, so that a share outside the range means none or all.
        self.sample_to = (share * u64::MAX as f64) as u64;
        self
    }

    /// Whether the request is written; `random` are evenly distributed bits. What is not plain always is.
    #[inline]
    pub fn wants(&self, record: &AccessRecord<'_>, random: u64) -> bool {
        self.sample_to == u64::MAX || (self.sample_to > 0 && random <= self.sample_to) || !record.is_plain()
    }

    /// The same redactions as JSON.
    #[must_use]
    pub(crate) fn as_json(mut self) -> Self {
        self.format = LogFormat::Json;
        self
    }
}

/// What stands in place of a redacted value.
pub(super) const REDACTED: &str = "[redacted]";

/// Appends the record as one line, newline included.
#[inline]
pub fn write_record(out: &mut Vec<u8>, record: &AccessRecord<'_>, plan: &LogPlan) {
    match plan.format {
        LogFormat::Json => write_json(out, record, plan.redacted),
        LogFormat::Text => write_text(out, record, plan.redacted),
    }
}

/// A line being written: takes the fields that are present, one after the other.
pub(super) trait Line {
    fn stamp(&mut self, field: Field, at: UnixMs);
    fn text(&mut self, field: Field, value: &str);
    fn number(&mut self, field: Field, value: u64);
    fn ms(&mut self, field: Field, us: u64);
    fn address(&mut self, field: Field, value: IpAddr);
    /// Two words as one value.
    fn pair(&mut self, field: Field, value: (&str, &str));
    fn trail(&mut self, field: Field, value: &Trail);
}

/// Gives every field that is present to the line, in the contract's order.
#[inline]
pub(super) fn visit(record: &AccessRecord<'_>, line: &mut impl Line) {
    let mut text = |field, value: Option<&str>| {
        if let Some(value) = value {
            line.text(field, value);
        }
    };
    text(Field::Node, record.node);
    text(Field::Region, record.region);
    text(Field::Config, record.config);
    text(Field::RequestId, Some(record.request_id));
    text(Field::TraceId, record.trace_id);
    text(Field::Method, Some(record.method));
    text(Field::Route, record.route);
    text(Field::Api, record.api);
    text(Field::Owner, record.owner);
    text(Field::Version, record.version);
    text(Field::Operation, record.operation);
    // One question for all of them: an anonymous caller has none.
    if record.auth_method.is_some() {
        text(Field::Mode, record.mode);
        text(Field::Consumer, record.consumer);
        text(Field::KeyId, record.key_id);
        text(Field::ClientId, record.client_id);
        text(Field::AuthMethod, record.auth_method);
    }
    if let Some(client) = record.client {
        line.address(Field::Client, client);
    }
    if record.status != 0 {
        line.number(Field::Status, record.status.into());
    }
    if let Some(problem) = record.problem {
        line.text(Field::Problem, problem.code());
    }
    line.ms(Field::DurationMs, record.duration_us);
    if let Some(us) = record.upstream_us {
        line.ms(Field::UpstreamMs, us);
    }
    if let Some(upstream) = record.upstream {
        line.pair(Field::Upstream, upstream);
    }
    if let Some(attempts) = record.attempts {
        line.number(Field::Attempts, attempts.into());
    }
    if let Some(degraded) = record.degraded {
        line.text(Field::Degraded, degraded);
    }
    line.number(Field::BytesIn, record.bytes_in);
    line.number(Field::BytesOut, record.bytes_out);
    if let Some(aborted) = record.aborted {
        line.text(Field::Aborted, aborted);
    }
    if let Some(trail) = record.decisions() {
        line.trail(Field::Trail, trail);
    }
}

fn write_json(out: &mut Vec<u8>, record: &AccessRecord<'_>, redacted: u32) {
    // The buffer is kept from line to line, so this reserves once; a line has about 600 bytes.
    out.reserve(768);
    let start = out.len();
    let mut line = JsonLine { out, redacted };
    line.stamp(Field::Ts, record.ts);
    visit(record, &mut line);
    out[start] = b'{';
    out.extend_from_slice(b"}\n");
}

struct JsonLine<'a> {
    out: &'a mut Vec<u8>,
    redacted: u32,
}

impl JsonLine<'_> {
    /// Writes the key; false when the value is written too, because it is redacted.
    #[inline(always)]
    fn key(&mut self, field: Field) -> bool {
        self.out.extend_from_slice(KEYS[field as usize].as_bytes());
        let open = self.redacted & field.bit() == 0;
        if !open {
            push_string(self.out, REDACTED);
        }
        open
    }
}

impl Line for JsonLine<'_> {
    #[inline]
    fn stamp(&mut self, field: Field, at: UnixMs) {
        if self.key(field) {
            self.out.push(b'"');
            push_stamp(self.out, at);
            self.out.push(b'"');
        }
    }

    #[inline]
    fn text(&mut self, field: Field, value: &str) {
        if self.key(field) {
            push_string(self.out, value);
        }
    }

    #[inline]
    fn number(&mut self, field: Field, value: u64) {
        if self.key(field) {
            push_u64(self.out, value);
        }
    }

    #[inline]
    fn ms(&mut self, field: Field, us: u64) {
        if self.key(field) {
            push_ms(self.out, us);
        }
    }

    #[inline]
    fn address(&mut self, field: Field, value: IpAddr) {
        if self.key(field) {
            self.out.push(b'"');
            push_ip(self.out, value);
            self.out.push(b'"');
        }
    }

    #[inline]
    fn pair(&mut self, field: Field, (first, second): (&str, &str)) {
        if self.key(field) {
            self.out.push(b'"');
            push_chars(self.out, first);
            self.out.push(b' ');
            push_chars(self.out, second);
            self.out.push(b'"');
        }
    }

    fn trail(&mut self, field: Field, value: &Trail) {
        if !self.key(field) {
            return;
        }
        let mut before = b'[';
        for (stage, reason) in value.entries() {
            self.out.push(before);
            self.out.extend_from_slice(b"{\"stage\":");
            push_string(self.out, stage.name());
            self.out.extend_from_slice(b",\"reason\":");
            push_string(self.out, reason);
            self.out.push(b'}');
            before = b',';
        }
        if value.left_out() > 0 {
            self.out.push(before);
            self.out.extend_from_slice(b"{\"left_out\":");
            push_u64(self.out, value.left_out() as u64);
            self.out.push(b'}');
        }
        self.out.push(b']');
    }
}
