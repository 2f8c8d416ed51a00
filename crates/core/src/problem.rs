//! Every error the engine answers with, in one table.
//!
//! RFC 9457 bodies, documentation pages and tests are made from this table, so that a code means the same
//! everywhere. The code and its status are a contract; titles and help may be worded better at any time.

use std::borrow::Cow;

macro_rules! problems {
    ($($(#[$doc:meta])* $variant:ident $code:literal $status:literal $title:literal $help:literal;)*) => {
        /// The stable code of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ProblemCode { $($(#[$doc])* $variant,)* }

        impl ProblemCode {
            /// The whole table, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What a program matches on.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// A short summary, the same for each occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What the caller can do next.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

problems! {
    /// The bytes were no well-formed request.
    MalformedRequest "malformed_request" 400 "The request is malformed"
        "Check how the request is framed: one Content-Length or one chunked Transfer-Encoding, CRLF line ends, well-formed header fields. The connection is closed.";
    /// The path could be read in two ways.
    AmbiguousPath "ambiguous_path" 400 "The path is ambiguous"
        "Send the path without dot segments, encoded slashes or backslashes, control characters or raw non-ASCII bytes.";
    /// Host is missing, doubled or malformed.
    BadHost "bad_host" 400 "The Host header is missing or malformed"
        "Send exactly one Host header (or :authority) with a host name and an optional port.";
    /// Two credentials that are not one identity, or one of them several times.
    ConflictingCredentials "conflicting_credentials" 400 "The credentials contradict one another"
        "Send each credential once, and only credentials that belong to the same consumer.";
    /// A credential in the URL, where logs and histories keep it.
    KeyInQuery "key_in_query" 400 "Credentials do not belong in a URL"
        "Send the key or token in a header. Revoke the one that was in the URL: it may stand in logs.";
    /// The body is no JSON object, or one that could be read in two ways.
    MalformedBody "malformed_body" 400 "The body is malformed"
        "Send one JSON object in UTF-8, each of its fields once.";
    /// No credentials where some are asked for. On the control listener: the admin token is missing or wrong.
    Unauthenticated "unauthenticated" 401 "Credentials are missing or wrong"
        "Send the credentials that WWW-Authenticate in the answer asks for.";
    /// A credential that is not accepted: unknown, revoked, badly signed, or of a suspended consumer.
    InvalidCredentials "invalid_credentials" 401 "The credentials are not accepted"
        "Check that the key or token is the right one for this API, or ask for a new one.";
    /// A credential whose time is over.
    CredentialsExpired "credentials_expired" 401 "The credentials have expired"
        "Get a new token or key, and check this machine's clock.";
    /// A key that was not issued like this: a letter was lost or changed on the way.
    MalformedKey "malformed_key" 401 "The API key is misspelt"
        "Copy the whole key again; a checksum in it says that it is not as it was issued.";
    /// A web page of another origin called the admin API.
    OriginRefused "origin_refused" 403 "Web pages of other origins are not served here"
        "Call from a program or the command line; they send no Origin header.";
    /// The credential may not be used for this.
    PermissionMissing "permission_missing" 403 "A permission is missing"
        "Ask for a credential with the permission that the detail names.";
    /// Policies do not allow this, to this caller or now.
    PolicyDenied "policy_denied" 403 "Policies do not allow this"
        "The caller may not do this, or not so; ask whoever runs this API which rule says so.";
    /// A policy could not be evaluated, so nobody knows whether this is allowed.
    PolicyError "policy_error" 403 "It could not be decided whether this is allowed"
        "Send every field that the operation asks for, in JSON, of the type it asks for.";
    /// A test credential, and the version has nothing for it.
    NoSandbox "no_sandbox" 403 "This version has no sandbox"
        "Use a live credential, or a version with a sandbox; a test credential never reaches the live service.";
    /// The credential may not be used from where the client is.
    AddressNotAllowed "address_not_allowed" 403 "The credentials may not be used from this address"
        "Call from one of the networks that the key is restricted to, or ask for another key.";
    /// No operation for this path.
    NotFound "not_found" 404 "No such resource"
        "Check the path against the API's documentation; a trailing slash counts.";
    /// The version in the path does not exist.
    UnknownVersion "unknown_version" 404 "No such version of this API"
        "Use one of the versions named in the detail.";
    /// The path exists with other methods.
    MethodNotAllowed "method_not_allowed" 405 "The method is not allowed here"
        "Use one of the methods in the Allow header.";
    /// Head or body arrived too slowly.
    RequestTimeout "request_timeout" 408 "The request arrived too slowly"
        "Send the request again over a new connection.";
    /// It does not fit what is there already.
    Conflict "conflict" 409 "This does not fit what is there"
        "Read what is there, and decide whether it is what you want.";
    /// The version or operation is past its sunset.
    VersionRetired "version_retired" 410 "This version has been retired"
        "Move to the successor; the guide says how.";
    /// The record was changed by somebody else since it was read.
    PreconditionFailed "precondition_failed" 412 "The record has been changed since it was read"
        "Read it again, make the change to what it says now, and send the new ETag in If-Match.";
    /// The body is over the operation's limit.
    BodyTooLarge "body_too_large" 413 "The request body is too large"
        "Send a smaller body; the detail says how large it may be.";
    /// The request target is over the limit.
    UriTooLong "uri_too_long" 414 "The request target is too long"
        "Shorten the path or the query, or send the data in a body.";
    /// An Expect other than 100-continue.
    ExpectationFailed "expectation_failed" 417 "The expectation cannot be met"
        "Send the request without this Expect header.";
    /// The request was meant for another host: on the control listener, for one that is not loopback.
    Misdirected "misdirected" 421 "This host is not served here"
        "Open another connection for this host name; on the control listener use a loopback address or localhost.";
    /// A reload was asked for, and the new configuration has problems.
    ConfigurationRefused "configuration_refused" 422 "The configuration was not taken over"
        "Correct what 'problems' names and reload again; the configuration before it goes on serving.";
    /// Values that cannot be used.
    InvalidValue "invalid_value" 422 "A value cannot be used"
        "Correct what 'errors' names and send it again; nothing was changed.";
    /// Too many or too large header fields.
    HeadersTooLarge "headers_too_large" 431 "The request headers are too large"
        "Send fewer or smaller header fields (often: cookies).";
    /// Too many failed attempts to prove an identity.
    TooManyAttempts "too_many_attempts" 429 "Too many failed attempts"
        "Wait for Retry-After and check the credentials before the next attempt.";
    /// A failure inside the engine.
    Internal "internal" 500 "Something went wrong in the gateway"
        "Try again later; if it happens again, report the request id.";
    /// An unknown transfer coding or method.
    NotImplemented "not_implemented" 501 "Not implemented"
        "Use a standard method, and no transfer coding other than chunked.";
    /// Nobody listens at the upstream's address.
    UpstreamRefused "upstream_refused" 502 "The service refused the connection"
        "Try again later; nothing was sent to the service.";
    /// The upstream's address cannot be reached.
    UpstreamUnreachable "upstream_unreachable" 502 "The service cannot be reached"
        "Try again later; nothing was sent to the service.";
    /// The upstream's name does not resolve.
    UpstreamDns "upstream_dns" 502 "The service's name cannot be resolved"
        "Try again later; nothing was sent to the service.";
    /// No TLS connection to the upstream could be set up: its certificate, ours, or the versions do not fit.
    UpstreamTls "upstream_tls" 502 "No secure connection to the service"
        "Try again later; nothing was sent to the service.";
    /// The upstream closed the connection before its answer.
    UpstreamReset "upstream_reset" 502 "The service closed the connection before it answered"
        "Find out whether the request took effect before you send it again, unless it is safe to repeat.";
    /// The upstream's answer was no well-formed response.
    UpstreamMalformed "upstream_malformed" 502 "The service gave a malformed answer"
        "Find out whether the request took effect before you send it again, unless it is safe to repeat.";
    /// The upstream's answer has a head over the limit.
    UpstreamTooLarge "upstream_too_large" 502 "The service's answer is too large"
        "Find out whether the request took effect before you send it again, unless it is safe to repeat.";
    /// A service within the engine's own process panicked, gave an error, or went away without a whole answer.
    LocalServiceFailed "local_service_failed" 502 "The service failed before it answered"
        "Find out whether the request took effect before you send it again, unless it is safe to repeat.";
    /// A planned interruption of a version that will be retired.
    VersionBrownout "version_brownout" 503 "This version is switched off for a planned while"
        "Move to the successor before the sunset; the guide says how. This interruption is announced and ends by itself.";
    /// Nothing can be sent to: the upstream has no endpoint that could be tried.
    NoHealthyEndpoint "no_healthy_endpoint" 503 "No endpoint of the service is available"
        "Try again later; nothing was sent to the service.";
    /// The circuit breaker is open: the upstream has failed too often.
    CircuitOpen "circuit_open" 503 "The service fails and is given time to recover"
        "Try again after Retry-After; nothing was sent to the service.";
    /// Too many requests or connections in the engine.
    Overloaded "overloaded" 503 "The gateway is at its limit"
        "Try again after Retry-After; nothing was sent to the service.";
    /// The upstream has as many requests as it may, and the queue for a place is full or was for this request.
    QueueFull "queue_full" 503 "The service is at its limit, and so is the queue for it"
        "Try again after Retry-After; nothing was sent to the service.";
    /// No place among the upstream's requests became free in time.
    QueueTimeout "queue_timeout" 503 "The service is at its limit"
        "Try again after Retry-After; nothing was sent to the service.";
    /// No connection to the upstream became free in time.
    PoolExhausted "pool_exhausted" 503 "All connections to the service are busy"
        "Try again after Retry-After; nothing was sent to the service.";
    /// The engine is shutting down, and this request's turn will not come before the end.
    ///
    /// A drain alone refuses nothing. A request on a connection that was open before is served and its answer says
    /// `Connection: close` (HTTP/2: GOAWAY), because balancers go on sending until they have seen the drain, and a
    /// refusal would turn each deployment into errors; new connections are refused by the kernel, and
    /// `server.health_path` and `/readyz` are 503. The code is for what only a queue holds back: a request that
    /// still waits in one when the time to drain is up, of which nothing has been sent. Until there is such a
    /// queue, nothing is answered with it.
    Draining "draining" 503 "The gateway is shutting down"
        "Try again at once over a new connection; nothing was sent to the service.";
    /// What says whether a credential is good cannot be asked.
    IdentityUnavailable "identity_unavailable" 503 "The credentials cannot be checked now"
        "Try again after Retry-After; nothing was sent to the service.";
    /// The store does not answer, or cannot write.
    StoreUnavailable "store_unavailable" 503 "The store is not available"
        "Try again after Retry-After. Before you repeat a change, look whether it was made: its answer may be what was lost.";
    /// No connection within the connect timeout.
    UpstreamConnectTimeout "upstream_connect_timeout" 504 "The service did not accept a connection in time"
        "Try again later; nothing was sent to the service.";
    /// One attempt took too long.
    UpstreamTimeout "upstream_timeout" 504 "The service did not answer in time"
        "Find out whether the request took effect before you send it again, unless it is safe to repeat.";
    /// The request's whole time is used up.
    DeadlineExceeded "deadline_exceeded" 504 "The request took longer than it may"
        "Find out whether the request took effect before you send it again, unless it is safe to repeat.";
    /// Less time is left than the endpoint usually takes, so an attempt would be wasted.
    DeadlineTooShort "deadline_too_short" 504 "Too little time is left for the service to answer"
        "Allow more time; nothing was sent to the service.";
}

/// One occurrence of a problem: what the answer is made from.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which one.
    pub code: ProblemCode,
    /// What is wrong this time, in a sentence, without secrets and without echoing raw input.
    pub detail: Cow<'static, str>,
    /// After how many seconds trying again makes sense.
    pub retry_after_s: Option<u32>,
    /// The version that replaces a retired or browned-out one.
    pub successor: Option<Box<str>>,
    /// Where the migration guide is.
    pub guide: Option<Box<str>>,
    /// What the caller would need, and has not.
    pub permission: Option<Box<str>>,
    /// The policies that say no, by their names.
    pub violated_policies: Box<[std::sync::Arc<str>]>,
}

impl Problem {
    /// A problem with its sentence.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_s: None,
            successor: None,
            guide: None,
            permission: None,
            violated_policies: Box::default(),
        }
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a caller reads about the codes says what the engine answers.
    #[test]
    fn the_guide_has_the_table() {
        let rows: String = ProblemCode::ALL
            .iter()
            .map(|p| format!("| {} | `{}` | {}. {} |\n", p.status(), p.code(), p.title(), p.help()))
            .collect();
        let guide = include_str!("../../../docs/guides/problems.md");
        let table: String =
            guide.split_inclusive('\n').filter(|l| l.starts_with("| 4") || l.starts_with("| 5")).collect();
        assert!(table == rows, "docs/guides/problems.md needs these rows:\n{rows}");
    }

    #[test]
    fn codes_are_unique_and_every_entry_helps() {
        let mut codes: Vec<_> = ProblemCode::ALL.iter().map(|p| p.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        for problem in ProblemCode::ALL {
            assert!((400..=599).contains(&problem.status()), "{problem:?}");
            assert!(problem.help().ends_with('.') && !problem.title().ends_with('.'), "{problem:?}");
        }
    }
}
