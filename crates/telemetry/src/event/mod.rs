//! Events: what an operator should know, one JSON line each on standard error.
//!
//! The kinds are a closed table ([`Event`]): a new one is a variant with its name, level, sentence and fields,
//! and nothing else. Each emission counts in `mainstay_events_total{event}`, also when the line itself is held
//! back because its kind comes too often (see [`EventLog`]). Fields hold no secrets and no bodies.

mod emit;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use emit::{EventClock, EventLog};

use crate::log::{push_float, push_ip, push_string, push_u64};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Part of normal operation.
    Info,
    /// Something to look at; the engine goes on.
    Warn,
    /// Something that should work does not.
    Error,
}

impl Level {
    /// The word in the line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A type that a field of an event may have.
trait Value {
    fn push(&self, out: &mut Vec<u8>);
}

impl Value for &str {
    fn push(&self, out: &mut Vec<u8>) {
        push_string(out, self);
    }
}

impl Value for u64 {
    fn push(&self, out: &mut Vec<u8>) {
        push_u64(out, *self);
    }
}

impl Value for f64 {
    fn push(&self, out: &mut Vec<u8>) {
        push_float(out, *self);
    }
}

impl Value for bool {
    fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Value for IpAddr {
    fn push(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        push_ip(out, *self);
        out.push(b'"');
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident $name:literal $level:ident $message:literal
        { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        /// Something that happened to the engine.
        #[derive(Clone, Copy, Debug)]
        pub enum Event<'a> {
            $($(#[$doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl Event<'_> {
            /// The names of all kinds: the closed label set of `mainstay_events_total`.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The name of its kind: a contract, like a problem's code.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)* }
            }

            /// How much it matters.
            pub const fn level(&self) -> Level {
                match self { $(Self::$variant { .. } => Level::$level,)* }
            }

            /// What it means, in a sentence.
            pub const fn message(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $message,)* }
            }

            /// Appends `,"field":value` for each field.
            fn push_fields(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field,)* } => {
                        $(
                            out.extend_from_slice(concat!(",\"", stringify!($field), "\":").as_bytes());
                            Value::push($field, out);
                        )*
                    })*
                }
            }
        }
    };
}

events! {
    /// The listeners are open.
    Started "started" Info "The engine serves." {
        /// The addresses, separated by blanks.
        listen: &'a str,
        /// The address of the control listener.
        control: &'a str,
        /// The digest of the configuration.
        config: &'a str,
        /// Threads of the data plane.
        workers: u64,
    }
    /// Another configuration serves.
    ConfigReloaded "config_reloaded" Info "A new configuration serves." {
        /// Counts loads since the start.
        generation: u64,
        /// The digest of the configuration.
        digest: &'a str,
    }
    /// A configuration was not taken over.
    ReloadRefused "reload_refused" Error "The new configuration was refused; the old one goes on. Run `mainstay check`." {
        /// How many problems it has.
        problems: u64,
        /// The first of them.
        first: &'a str,
    }
    /// A call of the admin API that changes something, or would have.
    AdminCall "admin_call" Info "A call of the admin API asked for a change." {
        /// What was asked for, such as `POST /admin/v1/reload`: a path of the description, never the one that was sent.
        call: &'a str,
        /// The caller's address.
        caller: IpAddr,
        /// The request's id, as the caller has it.
        request_id: &'a str,
        /// `ok`, or the code of the problem that it was refused with.
        result: &'a str,
    }
    /// The engine started from the last good snapshot, because the configuration could not be used.
    LastGoodUsed "last_good_used" Error
        "The configuration cannot be used; the engine started from the last good one. Run `mainstay check`." {
        /// The digest of what serves.
        digest: &'a str,
        /// When that was loaded (RFC 3339).
        loaded_at: &'a str,
        /// How many problems the configuration has.
        problems: u64,
        /// The first of them.
        first: &'a str,
    }
    /// The last good snapshot could not be written.
    SnapshotNotSaved "snapshot_not_saved" Error
        "The configuration that serves could not be saved; a restart with a bad file could not fall back to it." {
        /// The file.
        path: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// A listener could not be opened, or has died.
    ListenerFailed "listener_failed" Error "A listener cannot be used." {
        /// Its address.
        listener: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// A connection could not be accepted.
    AcceptFailed "accept_failed" Warn "A connection could not be accepted." {
        /// The listener's address.
        listener: &'a str,
        /// The system's error, with its number.
        cause: &'a str,
    }
    /// A client has sent more frames over HTTP/2 than its requests can call for.
    ClientFloods "client_floods" Warn "A client flooded its HTTP/2 connection, which was ended." {
        /// The listener's address.
        listener: &'a str,
        /// The client's address; empty over a unix socket.
        client: &'a str,
        /// What it was too much of: `control` or `streams`.
        flood: &'a str,
    }
    /// Certificate files have changed and are in use.
    CertificatesLoaded "certificates_loaded" Info
        "Certificate files have changed and are in use for new connections." {
        /// The key of the configuration that names them.
        key: &'a str,
    }
    /// Files with policies have changed and are in use.
    PoliciesLoaded "policies_loaded" Info
        "Policies have changed and decide about every new request." {
        /// What they are, as `mainstay_policies_info` shows it.
        digest: &'a str,
        /// How many files there are, shadow policies included.
        files: u64,
    }
    /// Files with policies have changed and cannot be used.
    PoliciesRefused "policies_refused" Error
        "Policies have changed and cannot be used; those before go on. They are tried again when they change." {
        /// The first thing that is wrong, with its place.
        cause: &'a str,
        /// How many things are wrong.
        problems: u64,
    }
    /// Certificate files have changed and cannot be used.
    CertificatesRefused "certificates_refused" Error
        "Certificate files have changed and cannot be used; those before go on. They are tried again until they can." {
        /// The key of the configuration that names them.
        key: &'a str,
        /// Which file, and what is wrong with it.
        cause: &'a str,
    }
    /// The store of the catalogue does not answer.
    CatalogueUnavailable "catalogue_unavailable" Error
        "The store of the catalogue cannot be read; who is known already goes on, changes are not seen. It is tried again." {
        /// What went wrong.
        cause: &'a str,
    }
    /// The store of the catalogue cannot be had at the start, and its last good snapshot is there.
    CatalogueSnapshotUsed "catalogue_snapshot_used" Error
        "The store of the catalogue cannot be had; the engine serves by what the last good snapshot knows, and takes no changes. The store is tried again." {
        /// How old that is, in seconds.
        age_s: u64,
        /// How many records it knows.
        records: u64,
        /// What is wrong with the store.
        cause: &'a str,
    }
    /// The snapshot of the catalogue cannot be written.
    CatalogueSnapshotFailed "catalogue_snapshot_failed" Warn
        "The snapshot of the catalogue cannot be written; a start without the store would know less. It is tried again." {
        /// What went wrong.
        cause: &'a str,
    }
    /// The store of the catalogue answers again.
    CatalogueRecovered "catalogue_recovered" Info "The store of the catalogue can be read again, and its changes are in use." {
    }
    /// The keys of an issuer of tokens cannot be had.
    KeySetFailed "key_set_failed" Error
        "The keys of an issuer of tokens cannot be had; those before go on as long as they may. It is tried again." {
        /// What its tokens say of it.
        issuer: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// The keys of an issuer of tokens can be had again.
    KeySetRecovered "key_set_recovered" Info "The keys of an issuer of tokens can be had again." {
        /// What its tokens say of it.
        issuer: &'a str,
    }
    /// A server cannot be asked about opaque tokens.
    IntrospectionFailed "introspection_failed" Error
        "A server cannot be asked about opaque tokens; those that are not known are answered 503. It is tried again with the next." {
        /// What it is called.
        issuer: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// A server can be asked about opaque tokens again.
    IntrospectionRecovered "introspection_recovered" Info "A server can be asked about opaque tokens again." {
        /// What it is called.
        issuer: &'a str,
    }
    /// An issuer of tokens has other keys than before.
    KeySetChanged "key_set_changed" Info "An issuer of tokens has other keys than before; they are in use." {
        /// What its tokens say of it.
        issuer: &'a str,
        /// How many there are.
        keys: u64,
    }
    /// Signing keys of the authorisation server cannot be read or made.
    SigningKeysFailed "signing_keys_failed" Error
        "Signing keys of the authorisation server cannot be read, made or opened; those before go on. It is tried again." {
        /// What went wrong.
        cause: &'a str,
    }
    /// The process may open fewer descriptors than its connections need.
    DescriptorLimit "descriptor_limit" Warn
        "The limit of open files is too low for server.limits.connections; raise it (ulimit -n, LimitNOFILE)." {
        /// The limit in force, after it was raised as far as allowed.
        limit: u64,
        /// How many descriptors the configuration needs.
        needed: u64,
    }
    /// Most traffic comes from one proxy that is not believed.
    UntrustedForwarder "untrusted_forwarder" Warn
        "Most requests come from one address that sends X-Forwarded-For and is not trusted, so limits and logs see the proxy for the client." {
        /// The proxy's address.
        address: IpAddr,
        /// Its share of the requests, 0.0 to 1.0.
        share: f64,
        /// The key to set.
        key: &'a str,
    }
    /// An upstream's endpoint cannot be connected to.
    UpstreamUnreachable "upstream_unreachable" Warn "An endpoint of an upstream cannot be reached." {
        /// The upstream's name.
        upstream: &'a str,
        /// The endpoint.
        endpoint: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// An upstream, or one of its operations, fails too often.
    CircuitOpened "circuit_opened" Warn "A circuit breaker has opened: nothing is sent for a while." {
        /// The upstream's name.
        upstream: &'a str,
        /// The operation, where each has a breaker of its own; else empty.
        operation: &'a str,
        /// The share of calls that failed, from 0 to 1.
        failure_ratio: f64,
        /// The share of calls that were slow, from 0 to 1.
        slow_ratio: f64,
        /// For how long.
        open_ms: u64,
    }
    /// The probes of a half-open breaker were all good.
    CircuitClosed "circuit_closed" Info "A circuit breaker has closed again." {
        /// The upstream's name.
        upstream: &'a str,
        /// The operation, where each has a breaker of its own; else empty.
        operation: &'a str,
    }
    /// Too many attempts in a row failed at one endpoint.
    EndpointEjected "endpoint_ejected" Warn "An endpoint failed too often and is left out for a while." {
        /// The upstream's name.
        upstream: &'a str,
        /// The endpoint.
        endpoint: &'a str,
        /// For how long.
        for_ms: u64,
    }
    /// The time of an ejection is over.
    EndpointReturned "endpoint_returned" Info "An endpoint that was left out gets requests again." {
        /// The upstream's name.
        upstream: &'a str,
        /// The endpoint.
        endpoint: &'a str,
    }
    /// Health checks failed often enough.
    EndpointUnhealthy "endpoint_unhealthy" Warn "An endpoint fails its health check and gets no requests." {
        /// The upstream's name.
        upstream: &'a str,
        /// The endpoint.
        endpoint: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// Health checks passed often enough.
    EndpointHealthy "endpoint_healthy" Info "An endpoint passes its health check and gets requests." {
        /// The upstream's name.
        upstream: &'a str,
        /// The endpoint.
        endpoint: &'a str,
    }
    /// Resident memory has reached `server.limits.memory`.
    MemoryLimitReached "memory_limit_reached" Error "Resident memory is over its limit: new requests are refused." {
        /// Bytes that are resident.
        resident_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    }
    /// Resident memory is below 95 % of the limit again.
    MemoryLimitOver "memory_limit_over" Info "Resident memory is below its limit again: requests are served." {
        /// Bytes that are resident.
        resident_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    }
    /// A service within the process panicked or gave an error.
    LocalServiceFailed "local_service_failed" Error "A service within the process failed; its request was not answered as a whole." {
        /// The name after `local:`.
        service: &'a str,
        /// The request's id, where one had come.
        request_id: &'a str,
        /// The panic's message, or the error.
        cause: &'a str,
    }
    /// A service within the process was given to the engine and no endpoint names it.
    LocalServiceUnused "local_service_unused" Warn
        "A service within the process is named by no endpoint (`local:NAME`), so nothing is sent to it." {
        /// Its name.
        service: &'a str,
    }
    /// A name did not resolve.
    DnsFailed "dns_failed" Warn "The name of an endpoint does not resolve; addresses known before are kept." {
        /// The upstream's name.
        upstream: &'a str,
        /// The name that was looked up.
        host: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// The engine has been told to end.
    Draining "draining" Info "The engine takes no more connections and finishes what runs." {
        /// Why: the signal's name, or `admin`.
        reason: &'a str,
        /// Open connections.
        connections: u64,
        /// Requests under way.
        requests: u64,
    }
    /// The engine has ended.
    Drained "drained" Info "The engine has ended." {
        /// How long draining took, in milliseconds.
        duration_ms: u64,
        /// Requests that were cut off.
        cut_short: u64,
    }
    /// A reload has changed where the engine listens.
    ListenersChanged "listeners_changed" Info "The engine listens on other addresses than before." {
        /// New ones, with a space in between.
        added: &'a str,
        /// Those that are no more.
        removed: &'a str,
    }
    /// Another process has taken over.
    HandedOver "handed_over" Info "Another process serves from now on; this one finishes what runs." {
        /// The new process.
        pid: u64,
    }
    /// Another process should have taken over, and has not.
    HandoverFailed "handover_failed" Error "The engine was not handed over to a new process; it serves on as before." {
        /// What went wrong, and what to do.
        cause: &'a str,
    }
    /// The access log begins to drop lines.
    LogDropping "log_dropping" Warn "The access log's output does not keep up; lines are dropped." {
        /// The output.
        output: &'a str,
    }
    /// The access log has room again.
    LogDropped "log_dropped" Warn "The access log has room again; some lines were dropped." {
        /// The output.
        output: &'a str,
        /// How many lines were dropped meanwhile.
        lines: u64,
    }
    /// The access log cannot be written.
    LogOutputFailed "log_output_failed" Error "The access log cannot be written; its lines are lost." {
        /// The output.
        output: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// The access log can be written again.
    LogOutputRecovered "log_output_recovered" Info "The access log is written again." {
        /// The output.
        output: &'a str,
        /// How many lines were lost meanwhile.
        lines: u64,
    }
    /// The access log's file could not be opened anew.
    LogReopenFailed "log_reopen_failed" Error "The access log could not be opened anew; the old file goes on." {
        /// The output.
        output: &'a str,
        /// What went wrong.
        cause: &'a str,
    }
    /// Code on a worker's thread panicked.
    WorkerPanicked "worker_panicked" Error "Code on a worker has panicked; please report this." {
        /// Which worker, from 0.
        worker: u64,
        /// What ended by it: `request` (answered 500 `internal`), `task` (mostly a connection), or `worker`.
        ended: &'a str,
        /// The request's id, where it was one.
        request_id: &'a str,
        /// The panic's message. Its place is in the lines that the process writes to standard error.
        cause: &'a str,
    }
}
