//! The listening socket, which can be closed and opened again on the same port while the service runs.
//!
//! Closing is immediate: after [`Gate::close`] returns, the kernel refuses connections to the port. The socket therefore lives
//! in a slot that the accept loop only looks into, instead of being owned by the loop.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

const BACKLOG: u32 = 1_024;

pub(crate) struct Gate {
    addr: SocketAddr,
    runtime: Handle,
    slot: Mutex<Slot>,
}

struct Slot {
    listener: Option<TcpListener>,
    /// Of the accept loop; it must look again when the listener has been put back.
    waker: Option<Waker>,
    /// Once shut, nothing opens the gate again.
    shut: bool,
}

impl Gate {
    /// Listens on `addr`. To be called on the runtime.
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let listener = listen(addr)?;
        let addr = listener.local_addr()?;
        let slot = Mutex::new(Slot { listener: Some(listener), waker: None, shut: false });
        Ok(Self { addr, runtime: Handle::current(), slot })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Refuses connections from now on. Those in the backlog are reset by the kernel.
    pub(crate) fn close(&self) {
        self.slot().listener = None;
    }

    /// Closes for good.
    pub(crate) fn shut(&self) {
        let mut slot = self.slot();
        slot.shut = true;
        slot.listener = None;
    }

    /// Listens on the same port again. Fails if another process has taken it meanwhile.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let _inside = self.runtime.enter();
        let mut slot = self.slot();
        if slot.listener.is_none() && !slot.shut {
            slot.listener = Some(listen(self.addr)?);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
        Ok(())
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let mut slot = self.slot();
        slot.waker = Some(cx.waker().clone());
        match &slot.listener {
            Some(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| stream),
            None => Poll::Pending,
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the closed listener may still linger on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}
