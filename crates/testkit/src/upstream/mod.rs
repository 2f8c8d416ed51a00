//! Upstreams whose answers are scripted request by request, and which remember what they were asked.
//!
//! The rules of this room:
//!
//! - **A script is a function** of a request's head to a [`Reply`]. It may be exchanged while requests are running ([`Upstream::script`]);
//!   requests that have begun keep their reply. A reply's steps are those of its methods: read the body (unless
//!   [`early`](Reply::early)), wait for a slot, for the delay, for the gate; then the head, the body up to a pause or a reset, the end.
//! - **Everything is remembered** in the [`Log`], from the moment a head is complete; so a request counts before it is answered. Tests
//!   wait for what the log shall say with [`Upstream::until`].
//! - **A client that leaves is noticed** while its reply waits: the request is listed as cancelled, and nothing further is done.
//! - **Slots are a capacity that is known**: with [`Upstream::slots`], so many requests are worked on at once, each for the same
//!   time; others wait in order of arrival. What they did is in [`Log::worked`].
//! - An upstream speaks one protocol, over a socket of its own and over as many connections in memory ([`Upstream::dial`]) as
//!   are asked for. It reads HTTP/1.1 by itself: it must be able to disagree with the engine.
//! - **Times are tokio's.** Its tasks run on the runtime that it was started on, and end with it or with the upstream.

mod http1;
mod http2;
mod reply;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::duplex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

pub use self::reply::{Gate, Reply};
use crate::GUARD;
use crate::line::Line;
use crate::memory::{Dial, STREAM_BYTES};

const BACKLOG: u32 = 4_096;

/// What an upstream does with requests.
type Script = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Of all requests, from 0: its place in [`Log::requests`].
    pub number: usize,
    /// Counted from 0.
    pub connection: usize,
    /// Of the requests of its connection, from 1.
    pub nth: usize,
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What has come of it so far.
    pub body: Vec<u8>,
    /// The body has come to its end.
    pub is_whole: bool,
    /// When the head was complete.
    pub at: Instant,
}

impl Received {
    /// The first field of that name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// What an upstream remembers.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub requests: Vec<Received>,
    /// Connections so far.
    pub opened: usize,
    /// Connections that have ended, in that order.
    pub closed: Vec<usize>,
    /// Requests whose client left before they were answered.
    pub cancelled: Vec<usize>,
    /// Requests that were answered to the end.
    pub answered: Vec<usize>,
    /// What the slots have done, in the order of its end.
    pub worked: Vec<Work>,
}

/// What a slot did, for whatever it was worth to the client.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// The request that it was done for.
    pub number: usize,
    /// When the slot was taken.
    pub from: Instant,
    /// When it was free again: after the answer, or when the client had left.
    pub to: Instant,
}

/// An upstream. Dropping it ends it at once.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    /// Connections in memory.
    dialled: Arc<Mutex<Vec<AbortHandle>>>,
}

struct Shared {
    is_http2: bool,
    script: Mutex<Script>,
    slots: Mutex<Option<(Arc<Semaphore>, Duration)>>,
    log: watch::Sender<Log>,
}

impl Upstream {
    /// One that speaks HTTP/1.1, on a free port of the loopback address.
    ///
    /// # Panics
    /// When there is no port, and outside of a runtime.
    pub fn http1(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(false, Arc::new(script))
    }

    /// One that speaks HTTP/2 without TLS, with prior knowledge.
    ///
    /// # Panics
    /// When there is no port, and outside of a runtime.
    pub fn http2(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(true, Arc::new(script))
    }

    fn start(is_http2: bool, script: Script) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(BACKLOG).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            is_http2,
            script: Mutex::new(script),
            slots: Mutex::default(),
            log: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting, dialled: Arc::default() }
    }

    /// A way to it in memory.
    pub fn dial(&self) -> Dial {
        let (shared, dialled) = (Arc::clone(&self.shared), Arc::clone(&self.dialled));
        Arc::new(move || {
            let (near, far) = duplex(STREAM_BYTES);
            let serving = tokio::spawn(Arc::clone(&shared).serve(far));
            lock(&dialled).push(serving.abort_handle());
            Ok(near.into())
        })
    }

    /// Another script for requests from now on.
    pub fn script(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// From now on so many requests are worked on at once, each for so long.
    pub fn slots(&self, count: usize, service_time: Duration) {
        *lock(&self.shared.slots) = Some((Arc::new(Semaphore::new(count)), service_time));
    }

    /// A copy of what it remembers.
    pub fn log(&self) -> Log {
        self.shared.log.borrow().clone()
    }

    /// Waits until it remembers that.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn until(&self, is_so: impl Fn(&Log) -> bool) -> Log {
        let mut log = self.shared.log.subscribe();
        let seen = timeout(GUARD, log.wait_for(|log| is_so(log))).await;
        seen.unwrap_or_else(|_| panic!("never came; so far: {:#?}", self.log()))
            .expect("we hold a sender")
            .clone()
    }

    /// Waits for that many requests.
    pub async fn requests(&self, count: usize) -> Vec<Received> {
        self.until(|log| log.requests.len() >= count).await.requests
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
        for connection in lock(&self.dialled).drain(..) {
            connection.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that has left meanwhile is none.
                let Ok((stream, _)) = accepted else { continue };
                // Without it, the kernel would hold back short writes.
                drop(stream.set_nodelay(true));
                connections.spawn(Arc::clone(&shared).serve(stream));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: impl Line) {
        let mut connection = 0;
        self.log.send_modify(|log| {
            connection = log.opened;
            log.opened += 1;
        });
        let _closing = Closing { log: self.log.clone(), connection };
        if self.is_http2 {
            http2::serve(stream, Arc::clone(&self), connection).await;
        } else {
            http1::serve(stream, &self, connection).await;
        }
    }

    /// Remembers the request and asks the script.
    fn ask(&self, mut request: Received) -> (usize, Reply) {
        let script = Arc::clone(&lock(&self.script));
        self.log.send_modify(|log| {
            request.number = log.requests.len();
            log.requests.push(request.clone());
        });
        (request.number, script(&request))
    }

    fn body(&self, number: usize, bytes: &[u8], is_whole: bool) {
        self.log.send_modify(|log| {
            let request = &mut log.requests[number];
            request.body.extend_from_slice(bytes);
            request.is_whole |= is_whole;
        });
    }

    fn answered(&self, number: usize) {
        self.log.send_modify(|log| log.answered.push(number));
    }

    fn cancelled(&self, number: usize) {
        self.log.send_modify(|log| log.cancelled.push(number));
    }

    /// Everything that comes before the answer. The slot is kept until it has been given.
    async fn wait(&self, reply: &Reply, number: usize) -> Option<Slot> {
        let slots = lock(&self.slots).clone();
        let slot = match slots {
            Some((slots, service_time)) => {
                let permit = slots.acquire_owned().await.expect("slots are never closed");
                let slot = Slot { _permit: permit, log: self.log.clone(), number, from: Instant::now() };
                sleep(service_time).await;
                Some(slot)
            }
            None => None,
        };
        if !reply.delay.is_zero() {
            sleep(reply.delay).await;
        }
        if let Some(gate) = &reply.gate {
            gate.passed().await;
        }
        slot
    }
}

/// A slot that is taken. Tells the log of its work, however that ends.
struct Slot {
    _permit: OwnedSemaphorePermit,
    log: watch::Sender<Log>,
    number: usize,
    from: Instant,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let work = Work { number: self.number, from: self.from, to: Instant::now() };
        self.log.send_modify(|log| log.worked.push(work));
    }
}

/// Tells the log of a connection's end, however it ends.
struct Closing {
    log: watch::Sender<Log>,
    connection: usize,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.log.send_modify(|log| log.closed.push(self.connection));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
