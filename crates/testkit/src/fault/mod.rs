//! A network between the engine and an upstream that misbehaves on demand.
//!
//! [`FaultProxy`] is a TCP proxy on the loopback address; [`around`] does the same to an upstream in memory, where tokio's
//! paused time makes latencies exact and free. Both are told what goes wrong through their [`Switch`].
//!
//! The rules of this room:
//!
//! - **What goes wrong is a value.** [`Faults`] says it for both directions and replaces what was said before. It acts at once, on
//!   connections that are open too; only [`Switch::next`] gives one connection faults of its own, which then stay.
//! - **Bytes are counted per direction from the beginning of their connection.** A cut at byte N acts *instead of* the first byte
//!   from N on: N bytes arrive, and the cut when another one is due. So a cut of the answer at 0 waits for the answer, and on an
//!   open connection 0 means "from now on". What has ended before is not cut.
//! - **Bytes keep their order.** Latency delays each by the same time and costs no bandwidth; both may be given for a direction. What
//!   waits is bounded, then the sender waits: so a stalled network looks to a sender as a real one does.
//! - **An end is passed on as what it was**: a close in one direction as that, a reset as a reset of both sides. A reset goes out
//!   with `SO_LINGER` 0, so what the receiver's window did not hold is lost. In memory there are no resets: it is an end for
//!   who reads and an error for who writes.
//! - **Refusing and the full backlog are the port's**: they say nothing to connections that are open, and the port stays the same and
//!   reserved. A handshake that met a full backlog is tried again by the kernel after a second at the earliest.
//! - **Times are tokio's.** The proxy's tasks run on the runtime it was started on and end with it or with the proxy.

mod door;
mod pipe;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, duplex, split};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::door::Door;
use self::pipe::{Direction, End, Pipe};
use crate::GUARD;
use crate::line::Line;
use crate::memory::{Dial, STREAM_BYTES};

/// What goes wrong. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub arrival: Arrival,
    /// Requests.
    pub to_upstream: Way,
    /// Answers.
    pub to_client: Way,
}

/// What happens to a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrival {
    /// The upstream is connected to.
    #[default]
    Pass,
    /// It is reset; the upstream hears nothing.
    Reset,
    /// It is closed, in good order.
    Close,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    pub latency: Duration,
    pub bytes_per_s: Option<u64>,
    /// The end of the direction is passed on so much later than its last byte.
    pub close_delay: Duration,
    /// After so many bytes.
    pub cut: Option<(u64, Cut)>,
}

/// What comes instead of the next byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing, not even the end, for as long as the fault lasts; then it goes on.
    Stall,
    /// Both sides are reset.
    Reset,
    /// This direction ends, in good order; the other one goes on.
    HalfClose,
    /// Both directions end, in good order.
    Close,
    /// These bytes, and then both directions end.
    Garbage(Vec<u8>),
}

impl Faults {
    /// Connections are made, and nothing is ever heard.
    pub fn blackhole() -> Self {
        let way = Way { cut: Some((0, Cut::Stall)), ..Way::default() };
        Self { arrival: Arrival::Pass, to_upstream: way.clone(), to_client: way }
    }

    /// Answers take so much longer.
    pub fn slow(latency: Duration) -> Self {
        Self { to_client: Way { latency, ..Way::default() }, ..Self::default() }
    }

    /// So many bytes of the request arrive.
    pub fn cut_request(at: u64, cut: Cut) -> Self {
        Self { to_upstream: Way { cut: Some((at, cut)), ..Way::default() }, ..Self::default() }
    }

    /// So many bytes of the answer arrive.
    pub fn cut_answer(at: u64, cut: Cut) -> Self {
        Self { to_client: Way { cut: Some((at, cut)), ..Way::default() }, ..Self::default() }
    }
}

/// What has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub open: u64,
    /// Connections whose client has ended its direction.
    pub clients_ended: u64,
    pub to_upstream_bytes: u64,
    pub to_client_bytes: u64,
}

/// Says what goes wrong, and tells what has been seen.
#[derive(Clone)]
pub struct Switch(Arc<Shared>);

struct Shared {
    port: Port,
    faults: watch::Sender<Faults>,
    next: Mutex<VecDeque<Faults>>,
    /// Of all connections, by counting.
    resets: watch::Sender<u64>,
    counts: watch::Sender<Counts>,
}

/// What clients connect to.
enum Port {
    Socket(Door),
    /// In memory; if it refuses.
    Memory(AtomicBool),
}

impl Switch {
    fn new(port: Port) -> Self {
        Self(Arc::new(Shared {
            port,
            faults: watch::Sender::default(),
            next: Mutex::default(),
            resets: watch::Sender::default(),
            counts: watch::Sender::default(),
        }))
    }

    /// Refuses connections from now on, as if nobody listened. Open ones go on.
    ///
    /// # Panics
    /// Never: it only closes.
    pub fn refuse(&self) {
        match &self.0.port {
            Port::Socket(door) => door.refuse().expect("closing cannot fail"),
            Port::Memory(refuses) => refuses.store(true, Ordering::SeqCst),
        }
    }

    /// Handshakes come to nothing from now on: the backlog is full. Open connections go on.
    ///
    /// # Panics
    /// In memory, where there are no handshakes; when the kernel does not let the backlog be filled.
    pub fn fill_backlog(&self) {
        match &self.0.port {
            Port::Socket(door) => door.fill().expect("a backlog that can be filled"),
            Port::Memory(_) => panic!("there are no handshakes in memory"),
        }
    }

    /// Accepts connections again.
    ///
    /// # Panics
    /// When the port is gone, although it is reserved.
    pub fn listen(&self) {
        match &self.0.port {
            Port::Socket(door) => door.listen().expect("the port is reserved"),
            Port::Memory(refuses) => refuses.store(false, Ordering::SeqCst),
        }
    }

    /// As when the process behind the port is killed: open connections are reset, new ones refused, until
    /// [`Switch::listen`].
    pub fn kill(&self) {
        self.refuse();
        self.reset_all();
    }

    /// Replaces what goes wrong, on connections that are open too.
    pub fn set(&self, faults: Faults) {
        self.0.faults.send_replace(faults);
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.set(Faults::default());
    }

    /// The next connection that nobody has spoken for has these faults, to its end.
    pub fn next(&self, faults: Faults) {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner).push_back(faults);
    }

    /// Resets all open connections.
    pub fn reset_all(&self) {
        self.0.resets.send_modify(|count| *count += 1);
    }

    /// What has been seen so far.
    pub fn counts(&self) -> Counts {
        *self.0.counts.borrow()
    }

    /// Waits until it has been seen.
    ///
    /// # Panics
    /// When it is not.
    pub async fn until(&self, is_so: impl Fn(&Counts) -> bool) -> Counts {
        let mut counts = self.0.counts.subscribe();
        let seen = tokio::time::timeout(GUARD, counts.wait_for(|counts| is_so(counts))).await;
        *seen
            .unwrap_or_else(|_| panic!("never came; seen so far: {:?}", self.counts()))
            .expect("we hold a sender")
    }

    /// The faults of a new connection. Their sender lives as long as the connection shall.
    fn take(&self) -> (Option<watch::Sender<Faults>>, watch::Receiver<Faults>) {
        match self.0.next.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            Some(own) => {
                let (sender, receiver) = watch::channel(own);
                (Some(sender), receiver)
            }
            None => (None, self.0.faults.subscribe()),
        }
    }

    /// One connection, from its first moment to its last.
    async fn carry<C: Line, U: Line>(self, client: C, upstream: impl Future<Output = io::Result<U>>) {
        let _open = Open::new(self.0.counts.clone());
        let mut resets = self.0.resets.subscribe();
        let (_own, faults) = self.take();
        let arrival = faults.borrow().arrival;
        match arrival {
            Arrival::Pass => {}
            Arrival::Reset => return client.reset(),
            Arrival::Close => return close(client).await,
        }
        // An upstream that refuses is nothing that could be passed on once we have accepted: a reset comes next to it.
        let Ok(upstream) = upstream.await else { return client.reset() };
        let mut pair = Pair::new(client, upstream, &faults, &self.0.counts);
        let end = tokio::select! {
            end = pair.run() => end,
            // Only we could close it.
            _ = resets.changed() => End::Reset,
        };
        if end == End::Reset {
            pair.reset();
        }
    }
}

/// Ends a connection in good order: with bytes that nobody has read, the kernel would reset it.
async fn close(mut client: impl Line) {
    // A client that has reset it is as gone as one that has closed it.
    drop(client.shutdown().await);
    drop(tokio::io::copy(&mut client, &mut tokio::io::sink()).await);
}

/// A connection that counts as open.
struct Open(watch::Sender<Counts>);

impl Open {
    fn new(counts: watch::Sender<Counts>) -> Self {
        counts.send_modify(|counts| {
            counts.accepted += 1;
            counts.open += 1;
        });
        Self(counts)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.open -= 1);
    }
}

/// Both directions of a connection.
struct Pair<C, U> {
    requests: Pipe<ReadHalf<C>, WriteHalf<U>>,
    answers: Pipe<ReadHalf<U>, WriteHalf<C>>,
}

impl<C: Line, U: Line> Pair<C, U> {
    fn new(client: C, upstream: U, faults: &watch::Receiver<Faults>, counts: &watch::Sender<Counts>) -> Self {
        let (client_read, client_write) = split(client);
        let (upstream_read, upstream_write) = split(upstream);
        let pipe_up = (client_read, upstream_write);
        let pipe_down = (upstream_read, client_write);
        Self {
            requests: Pipe::new(pipe_up, Direction::ToUpstream, faults.clone(), counts.clone()),
            answers: Pipe::new(pipe_down, Direction::ToClient, faults.clone(), counts.clone()),
        }
    }

    async fn run(&mut self) -> End {
        match self.pass_on().await {
            End::Close => match tokio::try_join!(self.requests.finish(), self.answers.finish()) {
                Ok(_) => End::Ended,
                Err(_) => End::Reset,
            },
            end => end,
        }
    }

    /// Ends when both directions have ended, or when one ends for both.
    async fn pass_on(&mut self) -> End {
        let ended = |end| if end == End::Ended { Ok(()) } else { Err(end) };
        let requests = async { ended(self.requests.run().await) };
        let answers = async { ended(self.answers.run().await) };
        tokio::try_join!(requests, answers).err().unwrap_or(End::Ended)
    }

    fn reset(self) {
        self.requests.from.unsplit(self.answers.to).reset();
        self.answers.from.unsplit(self.requests.to).reset();
    }
}

/// A TCP proxy in front of an upstream: its [`Switch`], with an address.
pub struct FaultProxy {
    /// Where it listens. It stays the same.
    pub address: SocketAddr,
    switch: Switch,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port; nothing goes wrong yet.
    ///
    /// # Panics
    /// When there is no port, and outside of a runtime.
    pub fn start(upstream: SocketAddr) -> Self {
        let door = Door::open().expect("a free port");
        let address = door.address;
        let switch = Switch::new(Port::Socket(door));
        let accepting = tokio::spawn(accept(switch.clone(), upstream));
        Self { address, switch, accepting }
    }
}

impl Deref for FaultProxy {
    type Target = Switch;

    fn deref(&self) -> &Switch {
        &self.switch
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Others may hold the switch, and with it the socket.
        self.switch.refuse();
        self.accepting.abort();
    }
}

async fn accept(switch: Switch, upstream: SocketAddr) {
    let Port::Socket(door) = &switch.0.port else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = poll_fn(|cx| door.poll_accept(cx)) => {
                // A client that has left meanwhile is none.
                let Ok(client) = accepted else { continue };
                let switch = switch.clone();
                connections.spawn(async move {
                    // Without it, the kernel would add its own latency to short writes.
                    drop(client.set_nodelay(true));
                    switch.carry(client, connect(upstream)).await;
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connect(upstream: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The same in memory: a network around an upstream, as the engine reaches it, and its switch.
pub fn around(upstream: &Dial) -> (Dial, Switch) {
    let switch = Switch::new(Port::Memory(AtomicBool::new(false)));
    let (upstream, inside) = (Arc::clone(upstream), switch.clone());
    let dial: Dial = Arc::new(move || {
        if matches!(&inside.0.port, Port::Memory(refuses) if refuses.load(Ordering::SeqCst)) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = duplex(STREAM_BYTES);
        let (upstream, inside) = (Arc::clone(&upstream), inside.clone());
        tokio::spawn(async move { inside.carry(far, async move { upstream() }).await });
        Ok(near.into())
    });
    (dial, switch)
}
