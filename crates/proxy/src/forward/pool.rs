//! Connections of one worker to one endpoint, under caps that count over all workers.
//!
//! The worker keeps its own idle connections and hands them out without a lock. Opening one takes a permit of
//! the endpoint's semaphore. At the cap the worker asks the others to give back an idle connection and waits,
//! within `pool.wait`, for whichever comes first: a connection of its own that becomes idle, or a permit.
//! While anyone waits anywhere, a connection that becomes idle is closed instead of kept, so that its permit
//! reaches the one who waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_core::clock::MonoMs;
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError, oneshot};
use tokio::time::timeout;

use super::connect::{self, ConnectError, Connected};
use super::endpoint::{EndpointShared, Protocol, UpstreamShared};
use super::h1::H1Connection;
use super::h2::{self, H2Pool, H2Stream};
use crate::worker::{Message, Worker};

/// An upstream as one worker sees it.
pub struct LocalUpstream {
    /// Its endpoints.
    pub endpoints: Vec<Rc<LocalEndpoint>>,
}

/// An endpoint as one worker sees it.
pub struct LocalEndpoint {
    /// What all workers know.
    pub shared: Arc<EndpointShared>,
    idle: RefCell<Vec<Idle>>,
    idle_max: usize,
    waiters: RefCell<VecDeque<oneshot::Sender<H1Connection>>>,
    /// It is no longer configured: what comes back is closed.
    retired: Cell<bool>,
    /// Multiplexed connections, where the endpoint speaks HTTP/2.
    pub h2: H2Pool,
}

struct Idle {
    connection: H1Connection,
    since: MonoMs,
}

/// A connection of the pool, and whether it has served before.
pub struct Pooled {
    /// The connection.
    pub connection: H1Connection,
    /// A connection that was used before may have died unnoticed.
    pub reused: bool,
}

/// A way to send one request.
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and is taken apart at once"
)]
pub enum Acquired {
    /// A connection to itself.
    H1(Pooled),
    /// A stream on a connection with others.
    H2(H2Stream),
}

impl LocalUpstream {
    /// Takes over the endpoints that are known already.
    pub fn new(
        shared: &UpstreamShared,
        known: &FxHashMap<*const EndpointShared, Rc<LocalEndpoint>>,
        workers: usize,
    ) -> Self {
        let local = |e: &Arc<EndpointShared>| {
            known
                .get(&Arc::as_ptr(e))
                .map_or_else(|| Rc::new(LocalEndpoint::new(Arc::clone(e), workers)), Rc::clone)
        };
        Self { endpoints: shared.endpoints.iter().map(local).collect() }
    }

    /// Closes connections that are idle for too long, too old, or dead.
    pub fn sweep(&self, now: MonoMs, worker: &Worker) {
        for endpoint in &self.endpoints {
            endpoint.sweep(now, worker);
        }
    }
}

impl LocalEndpoint {
    fn new(shared: Arc<EndpointShared>, workers: usize) -> Self {
        let idle_max = shared.settings.idle_max.div_ceil(workers.max(1));
        Self {
            shared,
            idle: RefCell::default(),
            idle_max,
            waiters: RefCell::default(),
            retired: Cell::new(false),
            h2: H2Pool::default(),
        }
    }

    /// The youngest idle connection that is still alive.
    pub fn take_idle(&self, worker: &Worker) -> Option<H1Connection> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            worker.cells.gauge_add(self.shared.metrics.pool_idle, -1);
            if idle.connection.is_alive() && !self.is_too_old(&idle.connection, worker) {
                return Some(idle.connection);
            }
        }
    }

    fn is_too_old(&self, connection: &H1Connection, worker: &Worker) -> bool {
        u128::from(worker.swept_ms().since(connection.opened))
            >= self.shared.settings.lifetime_max.as_millis()
    }

    /// A connection: idle, new, or waited for.
    ///
    /// # Errors
    /// Each cause of its own: see [`ConnectError`].
    pub async fn acquire(
        &self,
        worker: &Worker,
        connect_within: std::time::Duration,
        only_http1: bool,
    ) -> Result<Acquired, ConnectError> {
        if self.shared.speaks_h2() && !only_http1 {
            return h2::acquire(self, worker, connect_within).await;
        }
        if let Some(connection) = self.take_idle(worker) {
            return Ok(Acquired::H1(Pooled { connection, reused: true }));
        }
        match Arc::clone(&self.shared.slots).try_acquire_owned() {
            Ok(permit) => self.open(worker, permit, connect_within, only_http1).await,
            Err(TryAcquireError::NoPermits) => self.wait(worker, connect_within, only_http1).await,
            Err(TryAcquireError::Closed) => Err(ConnectError::PoolExhausted),
        }
    }

    /// Opens a connection that holds its place under the cap, and finds out what is spoken on it.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        &self,
        worker: &Worker,
        permit: OwnedSemaphorePermit,
        within: std::time::Duration,
        only_http1: bool,
    ) -> Result<Acquired, ConnectError> {
        let Connected { stream, is_h2 } = connect::connect(&self.shared, within, only_http1).await?;
        let is_h2 = match self.shared.settings.protocol {
            // A switch of protocols is asked for in HTTP/1.1 only (RFC 9113, 8.6).
            Protocol::H2 if only_http1 => return Err(ConnectError::Handshake),
            _ if only_http1 => false,
            Protocol::Http1 => false,
            // Over TLS it has to be agreed on (RFC 9113, 3.2).
            Protocol::H2 if self.shared.secure.is_some() && !is_h2 => return Err(ConnectError::Handshake),
            Protocol::H2 => true,
            Protocol::Auto => {
                self.shared.prefers_h2.store(is_h2, Ordering::Relaxed);
                is_h2
            }
        };
        if is_h2 {
            return h2::begin(self, worker, stream, permit, within).await.map(Acquired::H2);
        }
        let connection = H1Connection::new(stream, permit, worker.mono_ms());
        Ok(Acquired::H1(Pooled { connection, reused: false }))
    }

    async fn wait(
        &self,
        worker: &Worker,
        connect_within: std::time::Duration,
        only_http1: bool,
    ) -> Result<Acquired, ConnectError> {
        let _waiting = self.begin_waiting(worker);
        let (sender, receiver) = oneshot::channel();
        self.waiters.borrow_mut().push_back(sender);
        let permit = Arc::clone(&self.shared.slots).acquire_owned();
        let either = async {
            tokio::select! {
                biased;
                Ok(connection) = receiver => Ok(Ok(connection)),
                permit = permit => permit.map(Err).map_err(|_| ConnectError::PoolExhausted),
            }
        };
        match timeout(self.shared.settings.wait, either).await {
            Ok(Ok(Ok(connection))) => Ok(Acquired::H1(Pooled { connection, reused: true })),
            Ok(Ok(Err(permit))) => self.open(worker, permit, connect_within, only_http1).await,
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(ConnectError::PoolExhausted),
        }
    }

    /// Counts a request that waits for a connection, and asks the other workers for one.
    pub fn begin_waiting<'a>(&'a self, worker: &'a Worker) -> Waiting<'a> {
        let waiting = Waiting::begin(self, worker);
        self.ask_others(worker);
        waiting
    }

    /// Asks every other worker for an idle connection. A full inbox is no loss: that worker is busy, and
    /// connections that become idle there are given back as long as someone waits.
    fn ask_others(&self, worker: &Worker) {
        for (index, port) in worker.shared.workers.iter().enumerate() {
            if index != worker.index {
                let _ = port.inbox.try_send(Message::ReleaseIdle(Arc::clone(&self.shared)));
            }
        }
    }

    /// Takes back a connection after a request that left it clean.
    pub fn give_back(&self, connection: H1Connection, worker: &Worker) {
        let mut connection = connection;
        while let Some(waiter) = self.waiters.borrow_mut().pop_front() {
            match waiter.send(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
        let wanted_elsewhere = self.shared.waiting.load(Ordering::Relaxed) > 0;
        let mut idle = self.idle.borrow_mut();
        if self.retired.get()
            || wanted_elsewhere
            || idle.len() >= self.idle_max
            || self.is_too_old(&connection, worker)
        {
            return;
        }
        worker.cells.gauge_add(self.shared.metrics.pool_idle, 1);
        idle.push(Idle { connection, since: worker.swept_ms() });
    }

    /// Closes what is idle, and what becomes idle from now on. A reload has taken the endpoint away, but requests and
    /// connections that began before may hold it for long.
    pub fn retire(&self, worker: &Worker) {
        self.retired.set(true);
        let idle = self.idle.take();
        worker.cells.gauge_add(self.shared.metrics.pool_idle, -(idle.len() as i64));
        self.h2.retire(worker, &self.shared.metrics);
    }

    /// Closes one idle connection so that another worker may open one.
    pub fn release_one_idle(&self, worker: &Worker) {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            drop(idle.remove(0));
            worker.cells.gauge_add(self.shared.metrics.pool_idle, -1);
        }
        drop(idle);
        self.h2.release_one_idle();
    }

    fn sweep(&self, now: MonoMs, worker: &Worker) {
        let settings = &self.shared.settings;
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|it| {
            u128::from(now.since(it.since)) < settings.idle_timeout.as_millis()
                && !self.is_too_old(&it.connection, worker)
                && it.connection.is_alive()
        });
        let closed = before - idle.len();
        worker.cells.gauge_add(self.shared.metrics.pool_idle, -(closed as i64));
        drop(idle);
        let wanted = self.shared.waiting.load(Ordering::Relaxed) > 0;
        self.h2.sweep(now, worker, &self.shared, wanted);
    }
}

/// Counts a request that waits for a connection.
pub struct Waiting<'a> {
    endpoint: &'a LocalEndpoint,
    worker: &'a Worker,
}

impl<'a> Waiting<'a> {
    fn begin(endpoint: &'a LocalEndpoint, worker: &'a Worker) -> Self {
        endpoint.shared.waiting.fetch_add(1, Ordering::Relaxed);
        worker.cells.gauge_add(endpoint.shared.metrics.pool_waiting, 1);
        Self { endpoint, worker }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Those who no longer wait: connections that are never given back would let them pile up.
        let mut waiters = self.endpoint.waiters.borrow_mut();
        while waiters.front().is_some_and(oneshot::Sender::is_closed) {
            waiters.pop_front();
        }
        drop(waiters);
        self.endpoint.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        self.worker.cells.gauge_add(self.endpoint.shared.metrics.pool_waiting, -1);
    }
}
