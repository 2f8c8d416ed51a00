//! Listeners of the whole engine: opened, held, closed, handed on, while the workers run.
//!
//! A door is the control side's end of a listener. It keeps a copy of each socket, because a process that takes over must
//! get the very sockets in whose queues clients wait, and because a socket lives for as long as anyone holds it: what
//! is held and not accepted is not lost. Closing a door therefore gives the copies up, too.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::socket::{Socket, Sockets};
use crate::worker::{EngineShared, Message};

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They are.
    Open,
    /// They wait in the kernel's queue.
    Held,
    /// Never again.
    Closed,
}

/// A socket on its way to the worker that will accept on it.
pub struct Opened {
    /// The listener's name.
    pub name: Arc<str>,
    /// The socket.
    pub socket: Socket,
    /// Whether to accept.
    pub gate: watch::Receiver<Gate>,
    /// Told once it is there.
    pub done: oneshot::Sender<io::Result<()>>,
}

/// All listeners.
pub struct Doors {
    shared: Arc<EngineShared>,
    open: Mutex<Vec<Door>>,
    /// Closed, and perhaps still busy with who waited.
    closing: Mutex<Vec<watch::Sender<Gate>>>,
}

struct Door {
    name: Arc<str>,
    kept: Sockets,
    gate: watch::Sender<Gate>,
}

impl Doors {
    /// None yet.
    pub fn new(shared: Arc<EngineShared>) -> Self {
        Self { shared, open: Mutex::default(), closing: Mutex::default() }
    }

    /// Brings sockets to the workers. When it returns, each has what it needs to accept as soon as the gate opens.
    ///
    /// # Errors
    /// A worker cannot. Nothing accepts then.
    pub async fn open(&self, name: Arc<str>, sockets: Sockets, at: Gate) -> io::Result<()> {
        let kept = sockets.try_clone()?;
        let gate = watch::Sender::new(at);
        let mut waiting = Vec::new();
        // Another process may have had another number of workers: some get more than one, or none, and who has most
        // passes connections on.
        let workers = self.shared.workers.iter().cycle();
        for (worker, socket) in workers.zip(sockets.spread()) {
            let (done, told) = oneshot::channel();
            let opened = Opened { name: Arc::clone(&name), socket, gate: gate.subscribe(), done };
            worker.inbox.send(Message::Listen(opened)).await.map_err(|_| no_worker())?;
            waiting.push(told);
        }
        for told in waiting {
            told.await.map_err(|_| no_worker())??;
        }
        self.doors().push(Door { name, kept, gate });
        Ok(())
    }

    /// Accepts no more on this one. Who was accepted is served on.
    pub fn close(&self, name: &str) {
        self.doors().retain(|door| {
            let goes_on = *door.name != *name;
            if !goes_on {
                door.gate.send_replace(Gate::Closed);
            }
            goes_on
        });
    }

    /// Opens one that was brought to the workers closed.
    pub fn release(&self, name: &str) {
        for door in self.doors().iter().filter(|door| *door.name == *name) {
            door.gate.send_replace(Gate::Open);
        }
    }

    /// Accepts no more.
    pub fn close_all(&self) {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        for door in self.doors().drain(..) {
            door.gate.send_replace(Gate::Closed);
            closing.push(door.gate);
        }
    }

    /// Waits until every worker has accepted who waited when all were closed. Until then nobody can say that nothing runs.
    pub async fn closed(&self) {
        let closing = std::mem::take(&mut *self.closing.lock().unwrap_or_else(PoisonError::into_inner));
        for gate in closing {
            gate.closed().await;
        }
    }

    /// Accepts nobody for a while, or again.
    pub fn hold(&self, held: bool) {
        for door in self.doors().iter() {
            door.gate.send_replace(if held { Gate::Held } else { Gate::Open });
        }
    }

    /// Copies of all sockets, by the listener's name.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn copies(&self) -> io::Result<Vec<(Arc<str>, Sockets)>> {
        self.doors().iter().map(|door| Ok((Arc::clone(&door.name), door.kept.try_clone()?))).collect()
    }

    fn doors(&self) -> MutexGuard<'_, Vec<Door>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_worker() -> io::Error {
    io::Error::other("a worker's thread is not there")
}
