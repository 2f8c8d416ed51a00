//! What keeps answers coming when an upstream fails: retries, breaker, health, and what is answered instead.

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::HeaderName;
use super::probe::{GrpcService, ProbePath, Statuses};
use super::respond::JsonBody;
use crate::decode::scalar::{
    Flag, Int, Lasting, OrAdaptive, OrOff, OrP95, Rate, Share, Size, Text, pattern, substitutable,
    unknown_word, words,
};
use crate::decode::{Decode, Decoder, Field, List, Refusal, Scalar, State, keys, substitute};
use crate::diagnostic::Report;

keys! {
    /// Further attempts after a failure. Methods that are not safe are sent again only if nothing of them arrived.
    pub(crate) struct Retries {
        /// Attempts in all, the first included.
        attempts_max: Int<1, 10> = "3",
        /// After what: no connection (`connect`), a connection that ended (`reset`), or an answer with one of the statuses
        /// `502`, `503` and `504`. An attempt that took too long counts as `504`, an answer that is no HTTP as `502`.
        on: List<RetryCause> = "[connect, reset, 502, 503, 504]",
        /// How long to wait between attempts. An upstream's `Retry-After` wins if it fits the time that is left.
        backoff: Backoff,
        /// How many further attempts there may be, counted over the upstream.
        budget: Budget,
        /// How much of a request body is kept for a further attempt. A larger one is sent once.
        replay_body: Size<0, 16_777_216> = "64KiB",
        /// Whether the upstream does a thing once that comes twice with the same `Idempotency-Key`: then requests that
        /// have one may be sent again, whatever their method.
        honours_idempotency_key: Flag = "false",
    }

    /// How long to wait between attempts: a random part of a span that doubles each time.
    pub(crate) struct Backoff {
        /// The first span.
        base: Lasting<1, 60_000> = "25ms",
        /// The longest one.
        max: Lasting<1, 600_000> = "1s",
    }

    /// How many further attempts there may be, counted over the upstream.
    pub(crate) struct Budget {
        /// What each first attempt adds to the budget; each further one takes 1.
        ratio: Share<true> = "0.2",
        /// Further attempts that are always allowed.
        floor: Rate<0, 36_000_000> = "1/s",
    }

    /// A second attempt beside one that is slow. Whichever answers first wins. For safe methods only.
    pub(crate) struct Hedge {
        /// After how long: `p95` is what 95 of 100 recent requests took, or a duration.
        after: OrP95<Lasting<1, 600_000>> = "p95",
        /// How many second attempts there may be for each request.
        max_ratio: Share<false> = "0.05",
    }

    /// Stops sending to an upstream that fails, and tries it again after a while.
    pub(crate) struct Breaker {
        /// How far back calls count.
        window: Lasting<1_000, 600_000> = "10s",
        /// Calls in the window below which nothing is concluded.
        requests_min: Int<1, 1_000_000> = "20",
        /// The share of calls that fail from which on it opens. Answers 4xx are no failures.
        failure_ratio: Share<false> = "0.5",
        /// From how long on a call counts as slow; `off`: none does.
        slow_call: OrOff<Lasting<1, 3_600_000>> = "2s",
        /// The share of slow calls from which on it opens.
        slow_ratio: Share<false> = "0.8",
        /// How long it stays open at first. It doubles each time the upstream is tried in vain.
        open: Lasting<100, 3_600_000> = "5s",
        /// How long it stays open at most.
        open_max: Lasting<100, 86_400_000> = "60s",
        /// Calls that try the upstream before it closes. All of them must succeed.
        probes: Int<1, 1_000> = "3",
        /// Whether there is one for the whole upstream, or one for each operation.
        scope: BreakerScope = "upstream",
    }

    /// Leaves out an endpoint that fails, for a while, but never the last healthy one.
    pub(crate) struct Eject {
        /// After how many failures in a row.
        consecutive_failures: Int<1, 10_000> = "5",
        /// For how long at first. It doubles each time.
        time: Lasting<100, 86_400_000> = "30s",
        /// For how long at most.
        time_max: Lasting<100, 604_800_000> = "300s",
        /// The share of endpoints that may be left out at once. One may always be, if another is healthy; `0` leaves out
        /// none.
        share_max: Share<true> = "0.5",
    }

    /// Asks each endpoint how it is. One of `path`, `grpc` and `tcp` says how.
    pub(crate) struct Health {
        /// A path that is asked for with GET, such as `/healthz`, with its query where it has one.
        path: ProbePath,
        /// The statuses that are good answers: numbers or ranges such as `200-299`. Only with `path`.
        status: List<Statuses> = "200-299",
        /// Asks the health service of gRPC (`grpc.health.v1.Health`) for this service; `""` is the server as a whole. The
        /// upstream speaks HTTP/2.
        grpc: GrpcService,
        /// Only connects, with TLS where the endpoint has it.
        tcp: Flag = "false",
        /// How often.
        interval: Lasting<100, 3_600_000> = "5s",
        /// How long the answer may take; shorter than `interval`.
        timeout: Lasting<10, 600_000> = "1s",
        /// How many good answers in a row make it healthy again.
        healthy_after: Int<1, 1_000> = "2",
        /// How many bad answers in a row make it unhealthy.
        unhealthy_after: Int<1, 1_000> = "3",
    }

    /// How much is sent at once. More waits in a queue, which is short, and is then refused by priority.
    pub(crate) struct Concurrency {
        /// Requests at once: a number, or `adaptive`, which finds the number from how latency changes.
        limit: OrAdaptive<Int<1, 1_000_000>> = "adaptive",
        /// What an adaptive limit never exceeds.
        max: Int<1, 1_000_000> = "512",
        /// Requests that may wait; `0`: none does.
        queue: Int<0, 1_000_000> = "256",
        /// How long one may wait.
        queue_wait: Lasting<0, 60_000> = "200ms",
    }

    /// A fixed answer.
    pub(crate) struct Respond {
        /// When it is given: only if nothing was sent (`undelivered`), so that it may say that nothing happened; or `always`.
        when: When = "undelivered",
        /// Its status.
        status: Int<200, 599> = "503",
        /// What `Retry-After` says, rounded up to seconds. Without it there is none.
        retry_after: Lasting<1, 86_400_000>,
        /// Its content: a mapping, a list or a text, which is sent as JSON. Without it: none.
        body: JsonBody,
    }
}

/// A failure after which another attempt may be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RetryCause {
    Connect,
    Reset,
    BadGateway,
    Unavailable,
    GatewayTimeout,
}

impl Scalar for RetryCause {
    const WHAT: &'static str = "one of `connect`, `reset`, `502`, `503`, `504`";

    fn read(text: &str, _plain: bool) -> Result<RetryCause, Refusal> {
        match text {
            "connect" => Ok(RetryCause::Connect),
            "reset" => Ok(RetryCause::Reset),
            "502" => Ok(RetryCause::BadGateway),
            "503" => Ok(RetryCause::Unavailable),
            "504" => Ok(RetryCause::GatewayTimeout),
            _ => Err(unknown_word(text, &["connect", "reset", "502", "503", "504"])),
        }
    }

    fn schema() -> Value {
        // Statuses are numbers to whoever reads the file as YAML.
        substitutable(&json!({ "enum": ["connect", "reset", 502, 503, 504, "502", "503", "504"] }))
    }
}

words! {
    /// What a breaker watches over.
    pub(crate) enum BreakerScope {
        Upstream = "upstream",
        Operation = "operation",
    }
}

words! {
    /// When a fixed answer is given.
    pub(crate) enum When {
        Undelivered = "undelivered",
        Always = "always",
    }
}

words! {
    /// Who is refused last when there is too much.
    pub(crate) enum Priority {
        Critical = "critical",
        High = "high",
        Normal = "normal",
        Low = "low",
    }
}

/// `upstreams.*.health`. A way of asking replaces that of a wider place, the other keys merge.
#[derive(Clone, Debug)]
pub(crate) struct HealthSpec(pub(crate) Health);

impl Health {
    fn says_how(&self) -> bool {
        !self.path.is_absent() || !self.grpc.is_absent() || !self.tcp.is_absent()
    }
}

impl Decode for HealthSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<HealthSpec> {
        Health::decode(node, cx).map(HealthSpec)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Health::schema(generator)
    }

    fn over(&self, under: &HealthSpec) -> HealthSpec {
        let mut under = under.0.clone();
        if self.0.says_how() {
            under.path.state = State::Absent;
            under.grpc.state = State::Absent;
            under.tcp.state = State::Absent;
            if self.0.path.is_absent() {
                under.status.state = State::Absent;
            }
        }
        HealthSpec(self.0.over(&under))
    }
}

/// `upstreams.*.balance`.
#[derive(Clone, Debug)]
pub(crate) enum BalanceSpec {
    LeastLoaded,
    RoundRobin,
    Hash(HashOn),
}

/// What is hashed.
#[derive(Clone, Debug)]
pub(crate) enum HashOn {
    Header(String),
    Path(String),
    Consumer,
}

keys! {
    /// Requests that have something in common go to one endpoint, as long as it is not overloaded.
    pub(crate) struct HashKeys {
        /// What they have in common: `header:NAME`, `path:PARAMETER` of the operation's path, or `consumer`, which is the
        /// client's address as long as there are no consumers.
        hash: HashOn,
    }
}

impl Scalar for HashOn {
    const WHAT: &'static str = "`header:NAME`, `path:PARAMETER` or `consumer`";

    fn read(text: &str, plain: bool) -> Result<HashOn, Refusal> {
        if text == "consumer" {
            return Ok(HashOn::Consumer);
        }
        if let Some(name) = text.strip_prefix("header:") {
            return HeaderName::read(name, plain).map(|name| HashOn::Header(name.0));
        }
        match text.strip_prefix("path:") {
            Some(name) if is_parameter(name) => Ok(HashOn::Path(name.to_owned())),
            Some(_) => {
                let refusal = Refusal::new("bad_balance", "expected the name of a parameter behind `path:`");
                Err(refusal.help("without braces: `path:id` for `/payments/{id}`"))
            }
            None => Err(Refusal::new("bad_balance", format!("expected {}", Self::WHAT))),
        }
    }

    fn schema() -> Value {
        pattern("^(consumer|header:.+|path:[^{}*/]+)$")
    }
}

fn is_parameter(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && !name.contains(|c: char| c.is_control() || "{}*/ ".contains(c))
}

impl Decode for BalanceSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<BalanceSpec> {
        if !node.is_mapping() {
            return BalanceWord::decode(node, cx).map(|word| word.0);
        }
        let keys = HashKeys::decode(node, cx)?;
        if keys.hash.is_absent() {
            let at = cx.place(node.span());
            let report = Report::error("missing_key", &at, "the mapping says what is hashed");
            cx.report(report.help("such as `{ hash: header:x-account }`"));
        }
        keys.hash.get().map(|hash| BalanceSpec::Hash(hash.value.clone()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut keys = HashKeys::schema(generator);
        keys.remove("description");
        json_schema!({ "anyOf": [json!(<BalanceWord as Scalar>::schema()), keys] })
    }
}

/// The same in one word; `hash: ...` too, because a variable holds nothing else.
#[derive(Clone, Debug)]
struct BalanceWord(BalanceSpec);

impl Scalar for BalanceWord {
    const WHAT: &'static str = "`least_loaded`, `round_robin` or `{ hash: .. }`";

    fn read(text: &str, plain: bool) -> Result<BalanceWord, Refusal> {
        match text {
            "least_loaded" => Ok(BalanceWord(BalanceSpec::LeastLoaded)),
            "round_robin" => Ok(BalanceWord(BalanceSpec::RoundRobin)),
            _ => match text.strip_prefix("hash:") {
                Some(on) => HashOn::read(on.trim_start(), plain).map(|on| BalanceWord(BalanceSpec::Hash(on))),
                None => {
                    let refusal = unknown_word(text, &["least_loaded", "round_robin"]);
                    Err(Refusal { message: format!("expected {}", Self::WHAT), ..refusal })
                }
            },
        }
    }

    fn schema() -> Value {
        let hash = pattern("^hash: ?(consumer|header:.+|path:[^{}*/]+)$");
        json!({ "anyOf": [{ "enum": ["least_loaded", "round_robin"] }, hash] })
    }
}

/// An entry of `upstreams.*.fallback`.
#[derive(Clone, Debug)]
pub(crate) enum FallbackSpec {
    Stale,
    Upstream(Field<Text>),
    Respond(Box<Field<Respond>>),
}

keys! {
    /// What is tried when nothing else helps: one of these.
    pub(crate) struct FallbackKeys {
        /// Another upstream, for requests that are safe or of which nothing was sent; others go there only with an
        /// idempotency key that it knows too (`shares_idempotency_with`).
        upstream: Text,
        /// A fixed answer.
        respond: Respond,
    }
}

impl Decode for FallbackSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<FallbackSpec> {
        let what = "`stale`, `{ upstream: NAME }` or `{ respond: .. }`";
        if node.is_sequence() {
            cx.expected(node, what);
            return None;
        }
        if !node.is_mapping() {
            let word = substitute::scalar(node, what, cx)?;
            if word.text == "stale" {
                return Some(FallbackSpec::Stale);
            }
            let report = Report::error("unknown_word", &word.at, format!("expected {what}"));
            let help = format!("an upstream is named as `{{ upstream: {} }}`", word.text);
            cx.report(if word.written.is_none() { report.help(help) } else { report });
            return None;
        }
        let FallbackKeys { upstream, respond } = FallbackKeys::decode(node, cx)?;
        match (upstream.is_absent(), respond.is_absent()) {
            (false, true) => Some(FallbackSpec::Upstream(upstream)),
            (true, false) => Some(FallbackSpec::Respond(Box::new(respond))),
            (is_absent, _) => {
                let (code, found) =
                    if is_absent { ("missing_key", "none") } else { ("conflicting_keys", "both") };
                let at = cx.place(node.span());
                cx.report(Report::error(code, &at, format!("expected {what}, found {found}")));
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut keys = FallbackKeys::schema(generator);
        keys.remove("description");
        json_schema!({ "anyOf": [{ "const": "stale" }, keys, { "type": "string", "pattern": r"\$\{" }] })
    }
}
