//! A request's context, which is also its record guard.
//!
//! Each request has exactly one [`RequestCx`], shared by `Rc` between its task, the body of its answer and, for
//! what has begun, the settling task. The record is written when the last of them lets go: whatever happened,
//! client gone included, there is one record and not two.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Method};
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Mode;
use mainstay_core::{Caller, Priority, ProblemCode, Stage, Trail};
use mainstay_telemetry::TraceParent;
use tokio::time::Instant;

use crate::plan::{CorsPlan, RoutePlan};
use crate::respond::record;
use crate::worker::{LocalSnapshot, Worker};

/// Everything that is known of one request while it runs.
pub struct RequestCx {
    /// Where it runs.
    pub worker: Rc<Worker>,
    /// The configuration it began with and keeps.
    pub snapshot: Rc<LocalSnapshot>,
    /// When its head was complete.
    pub started: Instant,
    /// The same as a date.
    pub started_at: UnixMs,
    /// `X-Request-Id`, kept or made.
    pub id: HeaderValue,
    /// Its place in a trace.
    pub trace: TraceParent,
    /// The client's `tracestate` goes on.
    pub trace_continued: bool,
    /// The client's address, after trusted proxies.
    pub client: Option<IpAddr>,
    /// Whether the peer's forwarding headers are believed.
    pub peer_trusted: bool,
    /// It is a gRPC call, and is answered as one.
    pub is_grpc: bool,
    /// It came over TLS.
    pub secure: bool,
    /// The peer's own address, as text.
    pub peer: Rc<str>,
    /// Its method.
    pub method: Method,
    /// Who calls; set once, by the stage that finds out.
    pub principal: OnceCell<Arc<Caller>>,
    /// What was chosen for it.
    pub route: OnceCell<Arc<RoutePlan>>,
    /// The origin that may read the answer, and by which rules.
    pub cors: OnceCell<(Arc<CorsPlan>, HeaderValue)>,
    /// Facts for the record.
    pub facts: Facts,
}

/// Facts for the record, filled in as they become known.
#[derive(Default)]
pub struct Facts {
    /// The status of the answer; 0 when none was given.
    pub status: Cell<u16>,
    /// The problem that was answered.
    pub problem: Cell<Option<ProblemCode>>,
    /// Bytes of the body that arrived.
    pub bytes_in: Cell<u64>,
    /// Bytes of the body that were passed on.
    pub bytes_out: Cell<u64>,
    /// Attempts that were made.
    pub attempts: Cell<u32>,
    /// Time until the upstream's response head, in the last attempt.
    pub upstream_us: Cell<Option<u64>>,
    /// Upstream and endpoint of the last attempt.
    pub endpoint: RefCell<Option<Arc<crate::forward::endpoint::EndpointShared>>>,
    /// What gave the answer in place of the upstream that should have: `stale`, `upstream` or `respond`.
    pub degraded: Cell<Option<&'static str>>,
    /// Who broke off, if someone did: `client`, `upstream` or `engine`.
    pub aborted: Cell<Option<&'static str>>,
    /// When the client's part was over.
    pub ended: Cell<Option<Instant>>,
    /// Decisions with reasons.
    pub trail: RefCell<Trail>,
}

impl RequestCx {
    /// Leaves a reason in the trail.
    pub fn trail(&self, stage: Stage, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.facts.trail.borrow_mut().add(stage, reason);
    }

    /// The client's part is over: its answer is complete, or it has left.
    pub fn client_done(&self) {
        if self.facts.ended.get().is_none() {
            self.facts.ended.set(Some(Instant::now()));
        }
    }

    /// Notes who broke off; the first one counts.
    pub fn aborted(&self, by: &'static str) {
        if self.facts.aborted.get().is_none() {
            self.facts.aborted.set(Some(by));
        }
    }

    /// Who calls, where somebody had to prove it.
    pub fn caller(&self) -> Option<&Caller> {
        self.principal.get().map(|caller| &**caller)
    }

    /// It came with a test credential: nothing live may be reached.
    pub fn is_test(&self) -> bool {
        self.caller().is_some_and(|caller| caller.mode == Mode::Test)
    }

    /// Whose turn comes first: as the operation says, else as the caller's plan says.
    pub fn priority(&self, of_operation: Option<Priority>) -> Priority {
        let of_plan = || {
            let tiers = &self.snapshot.plan.identity.tiers;
            let plan = self.caller().map_or(Some("anonymous"), |caller| caller.plan.as_deref())?;
            tiers.get(plan).map(|tier| tier.priority)
        };
        of_operation.or_else(of_plan).unwrap_or_default()
    }

    /// True for methods that change nothing (RFC 9110, 9.2.1).
    pub fn is_safe(&self) -> bool {
        self.method.is_safe()
    }
}

impl Drop for RequestCx {
    fn drop(&mut self) {
        record::write(self);
        self.worker.shared.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
