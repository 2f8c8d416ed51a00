//! A service manager that speaks systemd's protocols: it is told how things stand, and may hand over sockets.
//!
//! `sd_notify(3)` and `sd_listen_fds(3)`. Without `NOTIFY_SOCKET` and `LISTEN_FDS` nothing here does anything.

use std::io;
use std::os::fd::OwnedFd;

use sd_notify::NotifyState;

use super::HandoverError;

/// What it sets for sockets that it hands over.
pub(super) const VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// How things stand.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// The engine serves.
    Ready,
    /// It loads its configuration again.
    Reloading,
    /// It ends.
    Stopping,
    /// Another process serves from now on.
    Successor(u32),
}

/// Tells the service manager, if there is one.
pub fn tell(state: State) {
    let told = match state {
        State::Ready => sd_notify::notify(&[NotifyState::Ready]),
        State::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        State::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        State::Successor(pid) => sd_notify::notify(&[NotifyState::MainPid(pid)]),
    };
    // A manager that does not listen is its own misfortune: the engine serves all the same.
    let _ = told;
}

/// A manager that runs this service and cannot be told of another main process would take the hand-over for an end.
pub(super) fn is_possible() -> Result<(), HandoverError> {
    let is_set = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    if is_set("INVOCATION_ID") && !is_set("NOTIFY_SOCKET") {
        return Err(HandoverError::new(
            "systemd runs this engine and cannot be told its new main process (MAINPID): set Type=notify in its unit",
        ));
    }
    Ok(())
}

/// The sockets that were handed over, if they are for this process.
///
/// # Errors
/// One of them is no stream socket.
pub(super) fn sockets() -> io::Result<Vec<OwnedFd>> {
    let mut found = listenfd::ListenFd::from_env();
    let unix = |found: &mut listenfd::ListenFd, index| {
        found.take_unix_listener(index).map(|socket| socket.map(OwnedFd::from))
    };
    let mut sockets = Vec::with_capacity(found.len());
    for index in 0..found.len() {
        let tcp = found.take_tcp_listener(index).map(|socket| socket.map(OwnedFd::from));
        sockets.extend(tcp.or_else(|_| unix(&mut found, index))?);
    }
    Ok(sockets)
}
