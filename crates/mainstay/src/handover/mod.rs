//! A new process takes the place of this one, and no client notices.
//!
//! The old process starts the new one and hands it every listening socket, so that nothing is ever bound again and who
//! waits in a socket's queue waits on. Then, in this order:
//!
//! 1. The new process loads its configuration, makes everything that can fail for a reason that lies in it, and says *ready*.
//! 2. The old one ends its control listener, flushes its log, accepts no more, and says *yours*. Who connects now waits in the queue.
//! 3. The new one accepts and says *serving*.
//! 4. The old one drains as on SIGTERM, except that it does not tell load balancers to look elsewhere.
//!
//! Whatever goes wrong before *serving* ends the new process, and the old one goes on as if nothing had been: it has
//! kept its sockets. A configuration that does not load is such a failure, and no last good one takes its place.

mod inherit;
mod line;
pub mod systemd;

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use inherit::{InheritError, Inherited};
use line::{DESCRIPTORS_MAX, Line, Message};

/// Tells a new process that its standard input is a [`Line`].
const MARK: &str = "MAINSTAY_HANDOVER";
/// The control listener, among the listeners.
pub(crate) const CONTROL: &str = "control";
/// How long the new process may take to load.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take from then on to accept: it opens the store, which this process has just given up, and loads who is
/// known, a million keys in some ten seconds. New clients wait meanwhile.
const SERVING_WITHIN: Duration = Duration::from_secs(30);

/// Why there was no hand-over. The engine serves as before.
#[derive(Debug)]
pub struct HandoverError(String);

impl HandoverError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HandoverError {}

/// A process that is to take over.
pub(crate) struct Successor {
    child: NewProcess,
    line: Line,
}

/// Dropped, it is ended, wherever that happens: also when nobody waits any more for its start.
struct NewProcess(Option<Child>);

impl Successor {
    /// Starts it and hands it the sockets.
    pub(crate) async fn start(
        mut command: Command,
        sockets: &[(String, Vec<OwnedFd>)],
    ) -> Result<Self, HandoverError> {
        let (line, theirs) =
            Line::pair().map_err(|error| HandoverError(format!("there is no socket pair: {error}")))?;
        // What the service manager handed over has been taken already, and is handed on below.
        for taken in systemd::VARIABLES {
            command.env_remove(taken);
        }
        command.env(MARK, "1").stdin(Stdio::from(theirs));
        let program = command.get_program().to_string_lossy().into_owned();
        let spawn = move || command.spawn().map(|child| NewProcess(Some(child)));
        let spawned = tokio::task::spawn_blocking(spawn).await.map_err(io::Error::other);
        let child =
            spawned.flatten().map_err(|error| HandoverError(format!("{program} does not start: {error}")))?;
        let successor = Self { child, line };
        successor.hand(sockets).await.map_err(|error| HandoverError(told("takes no sockets", &error)))?;
        Ok(successor)
    }

    async fn hand(&self, sockets: &[(String, Vec<OwnedFd>)]) -> io::Result<()> {
        for (listener, sockets) in sockets {
            for some in sockets.chunks(DESCRIPTORS_MAX) {
                let some: Vec<_> = some.iter().map(|socket| socket.as_fd()).collect();
                self.line.send(&Message::Sockets { listener: listener.clone() }, &some).await?;
            }
        }
        self.line.send(&Message::All, &[]).await
    }

    /// Waits until it has loaded.
    pub(crate) async fn ready(&self) -> Result<(), HandoverError> {
        self.said(&Message::Ready, READY_WITHIN).await
    }

    /// Lets it accept, and waits until it does. Its process id; from then on it lives on its own.
    pub(crate) async fn serve(mut self) -> Result<u32, HandoverError> {
        self.line
            .send(&Message::Yours, &[])
            .await
            .map_err(|error| HandoverError(told("has gone", &error)))?;
        self.said(&Message::Serving, SERVING_WITHIN).await?;
        self.child.0.take().map(|child| child.id()).ok_or_else(|| HandoverError::new("it is not there"))
    }

    async fn said(&self, wanted: &Message, within: Duration) -> Result<(), HandoverError> {
        match tokio::time::timeout(within, self.line.expect(wanted)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(HandoverError(told("did not get as far", &error))),
            Err(_) => Err(HandoverError(format!(
                "the new process was not as far within {} s: {wanted:?}",
                within.as_secs()
            ))),
        }
    }
}

fn told(what: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            format!("the new process {what}: it has ended; standard error says why")
        }
        _ => format!("the new process {what}: {error}"),
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It has nothing that could be lost, and must not begin to serve after all.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether this process can be replaced at all.
///
/// # Errors
/// It cannot; why, and what to do.
pub fn is_possible() -> Result<(), HandoverError> {
    if std::process::id() == 1 {
        return Err(HandoverError::new(
            "this is process 1: when it ends, everything in its container does. Replace the container instead, or run the engine under an init",
        ));
    }
    systemd::is_possible()
}
