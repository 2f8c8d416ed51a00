//! Servers are asked about opaque tokens (RFC 7662), beside the traffic.
//!
//! What is asked, and what an answer counts for, is [`mainstay_proxy::introspection`]'s; here it is done. A token is asked about at
//! one server after the other until one vouches for it. One that fails leaves open whose the token is, so the
//! outcome is then a failure unless another vouches; it is an event once and a metric each time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use mainstay_config::checked::{Checked, IntrospectionServer};
use mainstay_core::catalogue::Sha256;
use mainstay_identity::introspection::{self, ANSWER_BYTES_MAX, Active, ServerPlan};
use mainstay_identity::jwt::TokenRefusal;
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_proxy::introspection::{Answer, Introspection, Question};
use mainstay_proxy::plan::Snapshot;
use mainstay_proxy::worker::EngineShared;
use mainstay_telemetry::{Cells, Counter, Event, EventLog, Registry};
use tokio::sync::Semaphore;

use crate::outbound::{Bounds, Outbound};

/// Questions that are under way at once; others wait for their turn.
const AT_ONCE_MAX: usize = 32;
/// How long one server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Who asks.
struct Asker {
    introspection: Weak<Introspection>,
    shared: Weak<EngineShared>,
    servers: Vec<Server>,
    outbound: Outbound,
    events: EventLog,
    /// For one thread at a time.
    cells: Mutex<Cells>,
}

struct Server {
    place: IntrospectionServer,
    authorization: HeaderValue,
    is_failing: AtomicBool,
    counts: Counts,
}

/// By what was said.
struct Counts {
    active: Counter,
    inactive: Counter,
    failed: Counter,
}

/// Asks for a configuration's servers, if nobody does yet.
pub(crate) fn start(
    checked: &Checked,
    snapshot: &Snapshot,
    shared: &Arc<EngineShared>,
    registry: &Arc<Registry>,
    events: &EventLog,
    resolver: &Resolver,
) {
    let Some(introspection) = &snapshot.identity.tokens.introspection else { return };
    let Some(mut questions) = introspection.questions() else { return };
    let servers = &checked.identity.introspection;
    let asker = Arc::new(Asker {
        introspection: Arc::downgrade(introspection),
        shared: Arc::downgrade(shared),
        servers: servers.iter().map(|server| Server::new(server, registry)).collect(),
        outbound: Outbound::new(&checked.identity.outbound, resolver.clone()),
        events: events.clone(),
        cells: Mutex::new(registry.worker()),
    });
    let turns = Arc::new(Semaphore::new(AT_ONCE_MAX));
    tokio::spawn(async move {
        // Ends with the last configuration that has these servers.
        while let Some(question) = questions.recv().await {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let asker = Arc::clone(&asker);
            tokio::spawn(async move {
                // Whatever becomes of this task: a token whose question never ended would be 503 for ever.
                let ends = Ends { asker: &asker, hash: question.hash };
                asker.answer(question).await;
                drop((ends, turn));
            });
        }
    });
}

/// Ends a question with the task that asks.
struct Ends<'a> {
    asker: &'a Asker,
    hash: Sha256,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if let Some((introspection, shared)) = self.asker.known() {
            introspection.give_up(&self.hash, shared.clock.now());
        }
    }
}

impl Server {
    fn new(server: &IntrospectionServer, registry: &Registry) -> Self {
        let counter = |result| {
            let help = "Questions to introspection servers, by what they said.";
            let labels = [("issuer", &*server.issuer), ("result", result)];
            registry.counter("mainstay_introspections_total", help, &labels)
        };
        // RFC 6749, section 2.3.1: both are form-encoded first.
        let pair =
            format!("{}:{}", form(server.client_id.as_bytes()), form(server.client_secret.0.as_bytes()));
        let basic = format!("Basic {}", BASE64_STANDARD.encode(pair));
        let mut authorization =
            HeaderValue::try_from(basic).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        authorization.set_sensitive(true);
        Self {
            place: server.clone(),
            authorization,
            is_failing: AtomicBool::new(false),
            counts: Counts {
                active: counter("active"),
                inactive: counter("inactive"),
                failed: counter("failed"),
            },
        }
    }
}

impl Asker {
    /// What is asked for, while it is still wanted.
    fn known(&self) -> Option<(Arc<Introspection>, Arc<EngineShared>)> {
        self.introspection.upgrade().zip(self.shared.upgrade())
    }

    async fn answer(&self, Question { hash, token }: Question) {
        let mut answer = None;
        for (number, server) in self.servers.iter().enumerate() {
            let Some((introspection, shared)) = self.known() else { return };
            let Some(plan) = introspection.servers().get(number) else { continue };
            match self.ask(server, plan, &token, &shared).await {
                Ok(Ok(active)) => {
                    answer = Some(Answer::Active(number, Arc::new(active)));
                    break;
                }
                Ok(Err(refusal)) => answer = answer.or(Some(Answer::Refused(refusal))),
                Err(()) => answer = Some(Answer::Failed),
            }
        }
        if let Some((introspection, shared)) = self.known() {
            introspection.answered(&hash, answer.unwrap_or(Answer::Failed), shared.clock.now());
        }
    }

    /// What one server says. A failure is told here.
    async fn ask(
        &self,
        server: &Server,
        plan: &ServerPlan,
        token: &[u8],
        shared: &EngineShared,
    ) -> Result<Result<Active, TokenRefusal>, ()> {
        let said = self.exchange(server, plan, token, shared).await;
        let issuer = &*server.place.issuer;
        let counts = &server.counts;
        match said {
            Ok(said) => {
                self.count(if said.is_ok() { counts.active } else { counts.inactive });
                if server.is_failing.swap(false, Ordering::Relaxed) {
                    self.events.emit(&Event::IntrospectionRecovered { issuer });
                }
                Ok(said)
            }
            Err(cause) => {
                self.count(counts.failed);
                if !server.is_failing.swap(true, Ordering::Relaxed) {
                    self.events.emit(&Event::IntrospectionFailed { issuer, cause: &cause });
                }
                Err(())
            }
        }
    }

    fn count(&self, counter: Counter) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).inc(counter);
    }

    async fn exchange(
        &self,
        server: &Server,
        plan: &ServerPlan,
        token: &[u8],
        shared: &EngineShared,
    ) -> Result<Result<Active, TokenRefusal>, String> {
        let url = &server.place.url;
        let body = format!("token={}&token_type_hint=access_token", form(token));
        let request = Request::post("/")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, server.authorization.clone())
            .body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| error.to_string())?;
        let bounds = Bounds { bytes_max: ANSWER_BYTES_MAX, within: ANSWER_WITHIN };
        let answer = self.outbound.ask(url, request, bounds, shared.clock.now()).await;
        let answer = answer.map_err(|error| format!("{url}: {error}"))?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(format!(
                    "{url}: the answer is {}: see whether client_id and client_secret are right, and may ask",
                    answer.status.as_u16()
                ));
            }
            status => return Err(format!("{url}: the answer is {}, not 200", status.as_u16())),
        }
        introspection::read(&answer.body, plan, shared.clock.now())
            .map_err(|introspection::NoAnswer| format!("{url}: the answer is no JSON object with `active`"))
    }
}

/// As forms have it (application/x-www-form-urlencoded).
fn form(text: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
