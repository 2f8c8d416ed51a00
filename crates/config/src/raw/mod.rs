//! The file as it is written: every key, its type, its default, and what it means.
//!
//! The doc comments here are the reference: they become the descriptions of the JSON Schema. A key is declared only
//! once it does something; keys of later work are unknown until then.

mod endpoint;
mod identity;
mod introspection;
mod listen;
mod network;
mod operation;
mod permissions;
mod probe;
mod resilience;
mod respond;
mod token;
mod values;

use crate::decode::scalar::{
    Date, Flag, Int, Lasting, OrAuto, OrNone, OrOff, Rate, Share, Size, Text, words,
};
use crate::decode::{BlockOrOff, List, Map, keys};

pub(crate) use endpoint::{EndpointSpec, EndpointUrl, ServerName};
pub(crate) use identity::{
    ApiKeys, Auth, AuthRule, AuthSpec, ConsumerEntry, Oauth, Plan, Preauth, PreauthOrOff, Scope,
    SecretKeySource, StoreUrl, Stores,
};
pub(crate) use introspection::IntrospectionServer;
pub(crate) use listen::ListenSpec;
pub(crate) use network::{Address, Host, HostName, NetworkSpec, Url};
pub(crate) use operation::{Sunsets, TimeoutsOrOff, Upgrades, timeouts_of};
pub(crate) use permissions::{Authorize, FieldKind, Permissions};
pub(crate) use probe::Statuses;
pub(crate) use resilience::{
    Backoff, BalanceSpec, Breaker, BreakerScope, Budget, Concurrency, Eject, FallbackSpec, HashOn, Health,
    HealthSpec, Hedge, Priority, Respond, Retries, RetryCause, When,
};
pub(crate) use token::{ClaimName, Forwarded, JwtAuth, JwtIssuer, KeyPlace, Outbound};
pub(crate) use values::{
    AbsolutePath, BasePath, HeaderName, LogField, LogTarget, MemorySpec, Name, OperationName, Origin,
    PoolOrOff, VersionName,
};

/// TLS to an upstream, or `off`.
pub(crate) type TlsOrOff = BlockOrOff<UpstreamTls>;

keys! {
    /// Everything an engine needs.
    pub(crate) struct Root {
        /// Further files, as patterns relative to this one, such as `teams/*/mainstay.yaml`. Their entries are merged;
        /// the same entry in two files is an error. Included files include nothing themselves.
        include: List<Text> = "[]",
        /// The data plane.
        server: Server,
        /// The control listener: admin API, metrics, health.
        control: Control,
        /// The developer portal.
        portal: Portal,
        /// Where lasting state is kept. They are opened when an operation asks for credentials, or when this is written.
        stores: Stores,
        /// Ways for callers to prove who they are.
        auth: Auth,
        /// Tiers of consumers, by name.
        plans: Map<Name, Plan>,
        /// Consumers that stand in this file; others are made with the command line or the admin API.
        consumers: List<ConsumerEntry> = "[]",
        /// What callers may do, where scopes cannot say it: policies in Cedar.
        permissions: Permissions,
        /// What lies under every upstream, key by key.
        upstream_defaults: UpstreamDefaults,
        /// Services to forward to, by name.
        upstreams: Map<Name, Upstream>,
        /// Named sets of operation keys. An operation names one class and may override its keys.
        classes: Map<Name, OperationKeys>,
        /// What is served, by name.
        apis: Map<Name, Api>,
        /// What the engine tells about itself.
        telemetry: Telemetry,
    }

    /// The data plane.
    pub(crate) struct Server {
        /// Where to listen: `host:port` with a literal address, `unix:path`, or a mapping with `address`, `tls` and
        /// `proxy_protocol`.
        listen: List<ListenSpec> = "0.0.0.0:8080",
        /// Worker threads; `auto` is one per core.
        workers: OrAuto<Int<1, 1024>> = "auto",
        /// Sets of certificates, by name; listeners name the set they use. Without any, everything is plain: HTTP/1.1, and
        /// HTTP/2 with prior knowledge.
        tls: Map<Name, TlsSet>,
        /// HTTP/2 of clients.
        http2: Http2,
        /// What clients may do.
        limits: Limits,
        /// How often one client address may try credentials that turn out to be wrong; `off`: as often as it likes.
        preauth: PreauthOrOff,
        /// Addresses and networks of proxies whose `X-Forwarded-For` and `Forwarded` are believed.
        trusted_proxies: List<NetworkSpec> = "[]",
        /// A path that answers load balancers on the data plane, such as `/healthz`.
        health_path: OrOff<AbsolutePath> = "off",
        /// How the engine stops.
        shutdown: Shutdown,
        /// Who this engine is, in the log.
        node: Node,
    }

    /// What a listener with TLS shows and asks for.
    pub(crate) struct TlsSet {
        /// The certificates; a client is shown the one for the name it asks for. At least one.
        certificates: List<CertificateFiles>,
        /// A PEM file with the authorities that sign client certificates, relative to this one. With it clients are asked
        /// for a certificate. Without it they are not.
        client_ca: Text,
    }

    /// A certificate and its private key. Both files are read again when they change.
    pub(crate) struct CertificateFiles {
        /// A PEM file with the certificate and its chain, relative to this one.
        cert: Text,
        /// A PEM file with its private key, relative to this one. Nobody but the engine should be able to read it.
        key: Text,
    }

    /// HTTP/2 of clients.
    pub(crate) struct Http2 {
        /// Requests at once on one connection.
        streams_max: Int<1, 10_000> = "100",
        /// Flow control window of a request body; that of a connection is twice as large.
        window: Size<16_384, 67_108_864> = "1MiB",
    }

    /// What clients may do.
    pub(crate) struct Limits {
        /// Connections at once, over all listeners.
        connections: Int<1, 10_000_000> = "20000",
        /// Connections at once from one address; `trusted_proxies` do not count.
        connections_per_client: Int<1, 10_000_000> = "1000",
        /// How long a connection may live; then it is told to close.
        connection_age: OrOff<Lasting<1_000, 2_592_000_000>> = "off",
        /// Size of all header fields of a request, with its request line.
        header_bytes: Size<1_024, 1_048_576> = "32KiB",
        /// Number of header fields of a request.
        headers: Int<10, 1_000> = "100",
        /// Length of the request target.
        uri_bytes: Size<128, 65_536> = "8KiB",
        /// Size of a request body. An operation may set its own.
        body: Size<0, 1_099_511_627_776> = "1MiB",
        /// From the first byte of a head to its end.
        header_timeout: Lasting<10, 600_000> = "10s",
        /// Longest silence while a body arrives, and while a client takes nothing of its answer.
        body_timeout: Lasting<10, 3_600_000> = "30s",
        /// Longest silence between requests.
        idle_timeout: Lasting<10, 86_400_000> = "75s",
        /// Requests at once.
        requests_in_flight: Int<1, 1_000_000> = "10000",
        /// Memory of the whole engine; while it has more, new requests are refused with 503. `auto` is 90 % of what its
        /// control group may have, where there is such a limit.
        memory: MemorySpec = "auto",
    }

    /// How the engine stops.
    pub(crate) struct Shutdown {
        /// How long it is not ready, but still serves, so that load balancers can leave.
        delay: Lasting<0, 600_000> = "0s",
        /// How long running requests may take to finish.
        drain: Lasting<0, 3_600_000> = "30s",
    }

    /// Who this engine is, in the log.
    pub(crate) struct Node {
        /// Its name; `auto` is the name of the host.
        name: OrAuto<Text> = "auto",
        /// Where it stands.
        region: OrNone<Text> = "none",
    }

    /// The control listener.
    pub(crate) struct Control {
        /// Its address, which must be on loopback unless there is `tls`.
        listen: Address = "127.0.0.1:9090",
        /// The set of `server.tls` that it is encrypted with. Without it it is plain.
        tls: Text,
        /// The file with the admin token, relative to this one. It is made at the first start.
        token_file: Text = "mainstay.token",
    }

    /// The developer portal.
    pub(crate) struct Portal {
        /// Its URL as integrators know it: the base of problem types and of links to guides.
        public_url: Url,
    }

    /// What lies under every upstream.
    pub(crate) struct UpstreamDefaults {
        /// HTTP/1.1 or HTTP/2.
        protocol: Protocol = "auto",
        /// The `Host` that the upstream sees.
        host: HostName = "endpoint",
        /// TLS to endpoints that are written `https://`.
        tls: TlsOrOff,
        /// Connections to each endpoint; `off` keeps none open between requests.
        pool: PoolOrOff,
        /// How long things may take; `off` is off for `attempt`, `total` and `idle`.
        timeouts: TimeoutsOrOff,
        /// Which endpoint is asked: the better of two by latency and requests in flight (`least_loaded`), one after the other
        /// (`round_robin`), or by what requests have in common: `{ hash: header:NAME }`, `{ hash: path:PARAMETER }`,
        /// `{ hash: consumer }`.
        balance: BalanceSpec = "least_loaded",
        /// How long an endpoint that has recovered gets less than its share; `off`: not at all.
        slow_start: OrOff<Lasting<0, 3_600_000>> = "10s",
        /// The share of healthy endpoints under which health is ignored and all are asked; `0`: never.
        panic_below: Share<true> = "0.3",
        /// What it may be sent, such as `500/s`; more waits in the queue of `concurrency`, and is then refused.
        rate_max: OrNone<Rate<1, 3_600_000_000>> = "none",
        /// Further attempts after a failure. Without it they are made as the defaults say.
        retries: BlockOrOff<Retries>,
        /// A second attempt beside one that is slow, for safe methods. Without it there is none.
        hedge: BlockOrOff<Hedge>,
        /// Stops sending while it fails. Without it, it does so as the defaults say.
        breaker: BlockOrOff<Breaker>,
        /// Leaves out endpoints that fail. Without it, they are left out as the defaults say.
        eject: BlockOrOff<Eject>,
        /// Asks each endpoint how it is. Without it only its answers to requests count.
        health: BlockOrOff<HealthSpec>,
        /// How much it is sent at once, and who waits. Without it only `pool` bounds that.
        concurrency: BlockOrOff<Concurrency>,
        /// What is tried in this order when nothing else helps: `stale` (an old answer; does nothing yet),
        /// `{ upstream: NAME }`, or `{ respond: .. }`. Without it the caller is told what went wrong.
        fallback: BlockOrOff<List<FallbackSpec>>,
    }

    /// A service to forward to.
    pub(crate) struct Upstream {
        /// Where it is: `http://host:port`, `https://host:port`, `dns:name:port` for all addresses of a name, `unix:path`
        /// for a Unix socket, or `local:name` for a service in the process. At least one.
        endpoints: List<EndpointSpec>,
        /// HTTP/1.1 or HTTP/2. `auto` is what both sides agree on over TLS (ALPN), and HTTP/1.1 without TLS.
        protocol: Protocol = "auto",
        /// The `Host` that it sees: that of the endpoint, the client's (`preserve`), or a name.
        host: HostName = "endpoint",
        /// TLS to its endpoints that are written `https://`; `off` takes away what `upstream_defaults` says.
        tls: TlsOrOff,
        /// Connections to each endpoint; `off` keeps none open between requests.
        pool: PoolOrOff,
        /// How long things may take; `off` is off for `attempt`, `total` and `idle`.
        timeouts: TimeoutsOrOff,
        /// Which endpoint is asked: the better of two by latency and requests in flight (`least_loaded`), one after the other
        /// (`round_robin`), or by what requests have in common: `{ hash: header:NAME }`, `{ hash: path:PARAMETER }`,
        /// `{ hash: consumer }`.
        balance: BalanceSpec = "least_loaded",
        /// How long an endpoint that has recovered gets less than its share; `off`: not at all.
        slow_start: OrOff<Lasting<0, 3_600_000>> = "10s",
        /// The share of healthy endpoints under which health is ignored and all are asked; `0`: never.
        panic_below: Share<true> = "0.3",
        /// What it may be sent, such as `500/s`; more waits in the queue of `concurrency`, and is then refused.
        rate_max: OrNone<Rate<1, 3_600_000_000>> = "none",
        /// Further attempts after a failure. Without it they are made as the defaults say.
        retries: BlockOrOff<Retries>,
        /// A second attempt beside one that is slow, for safe methods. Without it there is none.
        hedge: BlockOrOff<Hedge>,
        /// Stops sending while it fails. Without it, it does so as the defaults say.
        breaker: BlockOrOff<Breaker>,
        /// Leaves out endpoints that fail. Without it, they are left out as the defaults say.
        eject: BlockOrOff<Eject>,
        /// Asks each endpoint how it is. Without it only its answers to requests count.
        health: BlockOrOff<HealthSpec>,
        /// How much it is sent at once, and who waits. Without it only `pool` bounds that.
        concurrency: BlockOrOff<Concurrency>,
        /// What is tried in this order when nothing else helps: `stale` (an old answer; does nothing yet),
        /// `{ upstream: NAME }`, or `{ respond: .. }`. Without it the caller is told what went wrong.
        fallback: BlockOrOff<List<FallbackSpec>>,
        /// Another upstream that knows the idempotency keys of this one: unsafe requests that have one may be sent to either
        /// after the other.
        shares_idempotency_with: Text,
    }

    /// TLS to endpoints that are written `https://`.
    pub(crate) struct UpstreamTls {
        /// A PEM file with the authorities that sign the upstream's certificate, relative to this one. Without it: those
        /// that the system trusts.
        ca: Text,
        /// A PEM file with the engine's own certificate and its chain, relative to this one; only together with `key`.
        cert: Text,
        /// A PEM file with its private key, relative to this one. Nobody but the engine should be able to read it.
        key: Text,
        /// The name (or address) that the upstream is asked for and that its certificate must have. Without it: the host
        /// of the endpoint.
        server_name: ServerName,
    }

    /// Connections to each endpoint, over all workers.
    pub(crate) struct Pool {
        /// At once.
        connections_max: Int<1, 65_535> = "256",
        /// Kept open between requests.
        idle_max: Int<0, 65_535> = "64",
        /// How long an unused connection is kept.
        idle_timeout: Lasting<10, 3_600_000> = "60s",
        /// How long any connection is used.
        lifetime_max: Lasting<1_000, 2_592_000_000> = "1h",
        /// How long a request waits for a connection when all are busy.
        wait: Lasting<0, 60_000> = "200ms",
    }

    /// How long things may take.
    pub(crate) struct Timeouts {
        /// Until a connection stands.
        connect: Lasting<1, 300_000> = "1s",
        /// One attempt, until the head of the answer.
        attempt: OrOff<Lasting<1, 86_400_000>> = "5s",
        /// The whole request, attempts and waits included, until the head of the answer.
        total: OrOff<Lasting<1, 86_400_000>> = "10s",
        /// Longest silence while a body streams.
        idle: OrOff<Lasting<1, 86_400_000>> = "60s",
        /// How long an unsafe request may run on after its client has left.
        settle: Lasting<0, 3_600_000> = "30s",
    }

    /// Keys of an operation, as classes and defaults may set them.
    pub(crate) struct OperationKeys {
        /// Who may call it: `none` is anyone; `api_key` whoever has a key of the catalogue.
        auth: AuthSpec,
        /// What a credential must be for; all of them.
        scopes: List<Scope> = "[]",
        /// What policies may know of its requests.
        authorize: Authorize,
        /// Size of a request body. Without it `server.limits.body` applies.
        body: Size<0, 1_099_511_627_776>,
        /// How long things may take, over those of the upstream; `off` is off for `attempt`, `total` and `idle`.
        timeouts: TimeoutsOrOff,
        /// Send the path without base path and version. Without it the path is sent as it came.
        strip_prefix: Flag,
        /// Who is refused last when there is too much: `critical` after `high` after `normal` after `low`.
        priority: Priority = "normal",
        /// Protocols that a client may switch to with `Upgrade`, such as `websocket`; `off` is none. What is said in them
        /// passes no rule of the engine's.
        upgrade: Upgrades = "off",
    }

    /// What is served under one name.
    pub(crate) struct Api {
        /// Who to ask: shown in the log and by `explain`.
        owner: Text,
        /// Hosts it is served on: `*`, names, or `*.example.com` for what is below a name.
        hosts: List<Host> = "'*'",
        /// What stands before the version in the URL, such as `/payments`.
        base_path: OrNone<BasePath> = "none",
        /// Whether all operations of a document are served, or only those with an entry.
        expose: Expose = "all",
        /// Its versions; the name is the segment of the URL. At least one.
        versions: Map<VersionName, Version>,
        /// What browsers of other origins may do. Without it: nothing.
        cors: Cors,
        /// What lies under its operations' classes.
        defaults: OperationKeys,
        /// Entries for all versions, by `operationId`, or as `METHOD /path`.
        operations: Map<OperationName, Operation>,
    }

    /// One version of an api.
    pub(crate) struct Version {
        /// Its OpenAPI document. Without it exactly the entries are served.
        openapi: Text,
        /// The upstream it is forwarded to.
        upstream: Text,
        /// The upstream that requests with test keys are forwarded to. Without it they are refused.
        sandbox: Text,
        /// When it is announced to end, and when it does.
        lifecycle: Lifecycle,
        /// Send the path without base path and version. Without it the path is sent as it came.
        strip_prefix: Flag,
        /// Entries for this version, by `operationId`, or as `METHOD /path`; they win over those of the api.
        operations: Map<OperationName, Operation>,
    }

    /// When a version is announced to end, and when it does.
    pub(crate) struct Lifecycle {
        /// From when on it is deprecated.
        deprecated: Date,
        /// From when on it is gone (410). Once published it can only move later.
        sunset: Date,
        /// The version to move to.
        successor: Text,
        /// How to move: a file, or a URL.
        guide: Text,
        /// Short windows in which requests are refused, so that the end surprises nobody.
        brownouts: List<Brownout> = "[]",
    }

    /// A window in which requests are refused.
    pub(crate) struct Brownout {
        /// When it begins.
        from: Date,
        /// How long it lasts.
        r#for: Lasting<1_000, 604_800_000>,
        /// The share of requests that are refused.
        share: Share<false> = "1.0",
    }

    /// What browsers of other origins may do.
    pub(crate) struct Cors {
        /// Origins such as `https://dashboard.example.com`; `*` alone is any, never with credentials.
        origins: List<Origin>,
        /// Whether cookies and credentials may be sent.
        credentials: Flag = "false",
        /// Response headers that scripts may read, beside those the engine sets.
        expose: List<HeaderName> = "[]",
        /// Request headers that scripts may send. Without it: those that are asked for.
        headers: List<HeaderName> = "[]",
        /// How long browsers may remember the answer.
        max_age: Lasting<0, 86_400_000> = "10m",
    }

    /// An entry: what one operation does otherwise.
    pub(crate) struct Operation {
        /// The class whose keys it takes.
        class: Text,
        /// Who may call it: `none` is anyone; `api_key` whoever has a key of the catalogue.
        auth: AuthSpec,
        /// What a credential must be for; all of them.
        scopes: List<Scope> = "[]",
        /// What policies may know of its requests.
        authorize: Authorize,
        /// Size of a request body.
        body: Size<0, 1_099_511_627_776>,
        /// How long things may take; `off` is off for `attempt`, `total` and `idle`.
        timeouts: TimeoutsOrOff,
        /// Send the path without base path and version.
        strip_prefix: Flag,
        /// Who is refused last when there is too much: `critical` after `high` after `normal` after `low`.
        priority: Priority = "normal",
        /// Protocols that a client may switch to with `Upgrade`, such as `websocket`; `off` is none. What is said in them
        /// passes no rule of the engine's.
        upgrade: Upgrades = "off",
        /// Its own sunset: dates by version, or in the entry of a version the date alone.
        sunset: Sunsets,
        /// The versions an entry of the api is for. Without it: all.
        versions: List<Text>,
    }

    /// What the engine tells about itself.
    pub(crate) struct Telemetry {
        /// The access log.
        log: Log,
    }

    /// The access log.
    pub(crate) struct Log {
        /// JSON objects, or words for people.
        format: LogFormat = "json",
        /// `stdout`, `none`, or a file, relative to this one.
        output: LogTarget = "stdout",
        /// The share of plain successful requests that are logged.
        sample_success: Share<true> = "1.0",
        /// Fields whose values are replaced by `[redacted]`.
        redact: List<LogField> = "[]",
    }
}

words! {
    /// Which HTTP an upstream speaks.
    pub(crate) enum Protocol {
        Auto = "auto",
        Http1 = "http1",
        H2 = "h2",
    }
}

words! {
    /// Which operations of a document are served.
    pub(crate) enum Expose {
        All = "all",
        Listed = "listed",
    }
}

words! {
    /// How a line of the access log looks.
    pub(crate) enum LogFormat {
        Json = "json",
        Text = "text",
    }
}
