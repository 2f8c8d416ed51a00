//! The listening socket of a proxy, which may refuse, or let handshakes come to nothing, on the same port.

use std::io;
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 1_024;
/// The kernel keeps one connection more than it was asked to.
const FULL_BACKLOG: u32 = 1;
const FILLERS: usize = FULL_BACKLOG as usize + 1;
/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// Far more looks than a handshake within the kernel takes.
const LOOKS_MAX: usize = 1_000_000;

pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// Bound and never listening: while nobody listens, the port is given to nobody else.
    _holder: TcpSocket,
    slot: Mutex<Slot>,
}

struct Slot {
    state: State,
    /// Of who accepts: it must look again when the state has changed.
    waker: Option<Waker>,
}

enum State {
    Open(TcpListener),
    Refusing,
    Full { _listener: TcpListener, _fillers: Vec<BlockingStream> },
}

impl Door {
    /// Open, on a free port of the loopback address.
    pub(super) fn open() -> io::Result<Self> {
        let holder = bound(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = holder.local_addr()?;
        let state = State::Open(bound(address)?.listen(BACKLOG)?);
        let slot = Mutex::new(Slot { state, waker: None });
        Ok(Self { address, _holder: holder, slot })
    }

    pub(super) fn listen(&self) -> io::Result<()> {
        self.switch(|| Ok(State::Open(bound(self.address)?.listen(BACKLOG)?)))
    }

    /// Connections that nobody has accepted yet are reset by the kernel.
    pub(super) fn refuse(&self) -> io::Result<()> {
        self.switch(|| Ok(State::Refusing))
    }

    /// Nobody accepts, and the kernel has no place left for another handshake.
    pub(super) fn fill(&self) -> io::Result<()> {
        self.switch(|| {
            let listener = bound(self.address)?.listen(FULL_BACKLOG)?;
            let fillers = (0..FILLERS).map(|_| BlockingStream::connect(self.address));
            let fillers = fillers.collect::<io::Result<_>>()?;
            let is_full = (0..LOOKS_MAX).any(|_| {
                std::thread::yield_now();
                waiting(self.address) == Some(FILLERS)
            });
            assert!(is_full, "fewer than {FILLERS} connections wait to be accepted");
            Ok(State::Full { _listener: listener, _fillers: fillers })
        })
    }

    pub(super) fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<TcpStream>> {
        let mut slot = self.slot();
        slot.waker = Some(cx.waker().clone());
        match &slot.state {
            State::Open(listener) => {
                let mut cx = Context::from_waker(cx.waker());
                listener.poll_accept(&mut cx).map_ok(|(stream, _)| stream)
            }
            State::Refusing | State::Full { .. } => Poll::Pending,
        }
    }

    fn switch(&self, to: impl FnOnce() -> io::Result<State>) -> io::Result<()> {
        let mut slot = self.slot();
        // The old socket goes first: there can be one listener on the port.
        slot.state = State::Refusing;
        slot.state = to()?;
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Beside the holder, and beside connections of an earlier listener.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// How many connections the listener on this port has that nobody has accepted yet, as the kernel says.
fn waiting(address: SocketAddr) -> Option<usize> {
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells of its sockets");
    table.lines().find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let is_it = columns.get(1)?.ends_with(&port) && *columns.get(3)? == LISTENING;
        let (_, waiting) = columns.get(4)?.split_once(':')?;
        is_it.then(|| usize::from_str_radix(waiting, 16).ok()).flatten()
    })
}
