//! Services within the process: what `local:NAME` endpoints of a Rust program lead to.
//!
//! A service sits behind a stream of bytes in memory: hyper is on its side, the engine's own client of upstreams on the
//! other. So pool, timeouts, limits, records and metrics are those of any other upstream, and there is no second way
//! of a request to keep right (docs/adr/0008-local-services-speak-http.md). A stream holds 64 KiB in each direction, and whoever is
//! faster waits.
//!
//! Rules of this room:
//! - A panic or an error of a service is its own: it is told as the event `local_service_failed`, the connection ends, and
//!   the client has a 502 `local_service_failed` or sees its answer break off.
//! - When the engine lets go of a connection (the client left, time is up), the future of the service is dropped.

mod body;
mod serve;

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::TokioExecutor;
use mainstay_proxy::accept::h2::LocalExec;
use mainstay_proxy::caught;
use mainstay_proxy::forward::endpoint::Dialer;
use mainstay_proxy::stream::{LocalEnd, Plain};
use mainstay_telemetry::EventLog;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tower_service::Service;

pub use self::body::{Body, BodyError};
use self::serve::{Reporter, Served, serve};
use crate::lower::Locals;

/// An error of a service or of its body, whichever it has.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can be behind a `local:NAME` endpoint: every `tower::Service` of HTTP requests that can be cloned, which an
/// `axum::Router` is. This trait is implemented by itself and only gives the requirements a name.
pub trait LocalService:
    Service<Request<Body>, Response = Response<Self::ResponseBody>, Error: Into<BoxError>, Future: 'static>
    + Clone
    + 'static
{
    /// The body of its answers.
    type ResponseBody: http_body::Body<Error: Into<BoxError>> + 'static;
}

impl<S, B> LocalService for S
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: 'static>
        + Clone
        + 'static,
    B: http_body::Body<Error: Into<BoxError>> + 'static,
{
    type ResponseBody = B;
}

/// Connections that may wait for a worker's own service. They are taken at once, on the same thread.
const BACKLOG: usize = 1024;

/// A service with its name, before the engine starts.
pub struct Given {
    /// The name after `local:`.
    pub name: String,
    needs_threads: bool,
    dialer: Box<dyn FnOnce(Ground) -> Dialer + Send>,
}

/// What a service stands on.
struct Ground {
    events: Events,
    threads: Option<Handle>,
}

/// Where failures are told: set once the engine has a log of events.
type Events = Arc<OnceLock<EventLog>>;

/// A service that runs on threads of its own.
pub fn given<S>(name: String, service: S) -> Given
where
    S: LocalService + Send,
    S::Future: Send,
    S::ResponseBody: Send,
    <S::ResponseBody as http_body::Body>::Data: Send,
{
    let service = Mutex::new(service);
    let service_name = Arc::from(name.as_str());
    let dialer = move |ground: Ground| -> Dialer {
        let reporter = Reporter::new(service_name, ground.events);
        Arc::new(move || {
            let threads = ground.threads.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            let cloned = || service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let service = caught::call(cloned).map_err(io::Error::other)?;
            let (near, end) = Plain::local();
            let served = Served::new(service, reporter.clone());
            threads.spawn(serve(end, served, TokioExecutor::new()));
            Ok(near)
        })
    };
    Given { name, needs_threads: true, dialer: Box::new(dialer) }
}

/// A service that each worker has an instance of, and that never leaves it.
pub fn given_per_worker<F, S>(name: String, factory: F) -> Given
where
    F: Fn() -> S + Send + Sync + 'static,
    S: LocalService,
{
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let service_name = Arc::from(name.as_str());
    let dialer = move |ground: Ground| -> Dialer {
        let reporter = Reporter::new(service_name, ground.events);
        Arc::new(move || {
            let here = match own_door(id) {
                Some(here) => here,
                None => {
                    let service = caught::call(&factory).map_err(io::Error::other)?;
                    open_door(id, Served::new(service, reporter.clone()))
                }
            };
            let (near, end) = Plain::local();
            here.try_send(end).map_err(|_| io::Error::other("too many connections wait"))?;
            Ok(near)
        })
    };
    Given { name, needs_threads: false, dialer: Box::new(dialer) }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This worker's instances, by the number of their factory. Only the way to them: the instance belongs to a task, and so
    /// ends with the worker's runtime and not after it.
    static DOORS: RefCell<Vec<(u64, mpsc::Sender<LocalEnd>)>> = const { RefCell::new(Vec::new()) };
}

fn own_door(id: u64) -> Option<mpsc::Sender<LocalEnd>> {
    DOORS.with_borrow(|doors| {
        let mine = doors.iter().find(|(known, door)| *known == id && !door.is_closed());
        mine.map(|(_, door)| door.clone())
    })
}

fn open_door<S: LocalService>(id: u64, served: Served<S>) -> mpsc::Sender<LocalEnd> {
    let (door, mut inbox) = mpsc::channel(BACKLOG);
    tokio::task::spawn_local(async move {
        while let Some(end) = inbox.recv().await {
            tokio::task::spawn_local(serve(end, served.clone(), LocalExec));
        }
    });
    DOORS.with_borrow_mut(|doors| {
        doors.retain(|(known, _)| *known != id);
        doors.push((id, door.clone()));
    });
    door
}

/// The services of an engine, and the threads that some of them run on.
#[derive(Default)]
pub struct Services {
    dialers: Locals,
    events: Events,
    threads: Threads,
}

impl Services {
    /// Makes them ready. Threads are started only where a service needs some.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(given: Vec<Given>, threads: usize) -> io::Result<Self> {
        let events = Events::default();
        let started = if given.iter().any(|given| given.needs_threads) {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            Some(builder.worker_threads(threads.max(1)).thread_name("local-service").enable_all().build()?)
        } else {
            None
        };
        let handle = started.as_ref().map(|runtime| runtime.handle().clone());
        let ground = || Ground { events: Arc::clone(&events), threads: handle.clone() };
        let dialers = given.into_iter().map(|given| (given.name, (given.dialer)(ground()))).collect();
        Ok(Self { dialers, events, threads: Threads(started) })
    }

    /// Adds a service of the engine itself, which runs where the control side does.
    pub(crate) fn add_own(&mut self, given: Given, control: Handle) {
        let ground = Ground { events: Arc::clone(&self.events), threads: Some(control) };
        self.dialers.insert(given.name, (given.dialer)(ground));
    }

    /// How each is reached.
    pub fn dialers(&self) -> &Locals {
        &self.dialers
    }

    /// Where failures are told, from now on.
    pub fn report_to(&self, events: &EventLog) {
        // A second log for the same services would be a second engine, which has services of its own.
        let _ = self.events.set(events.clone());
    }

    /// Ends the threads. Futures are dropped where they wait; what does not wait has `within`. Blocks.
    pub fn stop(mut self, within: Duration) {
        if let Some(threads) = self.threads.0.take() {
            threads.shutdown_timeout(within);
        }
    }
}

/// A runtime that may be dropped anywhere.
#[derive(Default)]
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            // Waiting here could block a runtime that is not ours.
            threads.shutdown_background();
        }
    }
}
