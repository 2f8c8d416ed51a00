//! The listening socket, which can be closed and opened again on the same port while the service runs.
//!
//! Closing is immediate: after [`Gate::close`] returns, the kernel refuses connections to the port. The socket therefore lives
//! in a slot that the accept loop only looks into, instead of being owned by the loop. While it is closed, a socket that is
//! bound and does not listen keeps the port from others.

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
    /// Keeps the port while it is closed.
    kept: Option<TcpSocket>,
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
        let slot = Mutex::new(Slot { listener: Some(listener), kept: None, waker: None, shut: false });
        Ok(Self { addr, runtime: Handle::current(), slot })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Refuses connections from now on. Those in the backlog are reset by the kernel.
    pub(crate) fn close(&self) {
        let mut slot = self.slot();
        if slot.listener.take().is_some() {
            // Without it the port is only less safe; opening it again will tell if it is lost.
            slot.kept = keep(self.addr).ok();
        }
    }

    /// Closes for good.
    pub(crate) fn shut(&self) {
        let mut slot = self.slot();
        slot.shut = true;
        slot.listener = None;
        slot.kept = None;
    }

    /// Listens on the same port again. Fails if another process has taken it meanwhile.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let _inside = self.runtime.enter();
        let mut slot = self.slot();
        if slot.listener.is_none() && !slot.shut {
            slot.listener = Some(match slot.kept.take() {
                Some(kept) => listen_on(kept)?,
                None => listen(self.addr)?,
            });
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

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the closed listener may still linger on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    bind(addr)?.listen(BACKLOG)
}

/// Takes the port without listening on it.
fn keep(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = bind(addr)?;
    // With it others could bind the port, too, and listen on it.
    socket.set_reuseaddr(false)?;
    Ok(socket)
}

fn listen_on(kept: TcpSocket) -> io::Result<TcpListener> {
    kept.set_reuseaddr(true)?;
    kept.listen(BACKLOG)
}
