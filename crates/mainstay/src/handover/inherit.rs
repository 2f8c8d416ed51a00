//! The new side of a hand-over, and of a service manager's sockets: what this process was given when it was started.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mainstay_config::checked::ListenAddress;
use mainstay_proxy::accept::socket::{Kind, Sockets};

use super::line::{Line, Message, unexpected};
use super::{CONTROL, MARK, systemd};

/// How long the old process may take to hand over its sockets, and to let go of them.
const HANDED_WITHIN: Duration = Duration::from_secs(30);

/// Why nothing could be inherited.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// What the old process says, or does not say.
    #[error("the old process has not handed over: {0}")]
    Predecessor(io::Error),
    /// The mark is there, and nothing to talk to.
    #[error(
        "{MARK} is set, but standard input is no line to an old process: {0}. The engine sets it itself; unset it."
    )]
    NoLine(io::Error),
    /// Something that is no listening socket.
    #[error(
        "the service manager handed over something that cannot be listened on: {0}. Its socket unit must have ListenStream only."
    )]
    NoSocket(io::Error),
    /// Sockets that the configuration does not name.
    #[error(
        "the service manager handed over {0}, which neither server.listen nor control.listen names: clients would wait there for ever. Name it there, or take it out of the socket unit."
    )]
    Unused(String),
}

/// What was given.
#[derive(Default)]
pub struct Inherited {
    found: Vec<Found>,
    predecessor: Option<Line>,
}

struct Found {
    /// The listener's name; `None`: whoever has its address.
    listener: Option<String>,
    sockets: Vec<OwnedFd>,
}

impl Inherited {
    /// Looks at how this process was started. To be called once, on a tokio runtime, before other threads run.
    ///
    /// # Errors
    /// Something was given and cannot be used.
    pub async fn from_start() -> Result<Self, InheritError> {
        if std::env::var_os(MARK).is_none() {
            let given = systemd::sockets().map_err(InheritError::NoSocket)?;
            let found = given.into_iter().map(|socket| Found { listener: None, sockets: vec![socket] });
            return Ok(Self { found: found.collect(), predecessor: None });
        }
        let line = line_from_stdin().map_err(InheritError::NoLine)?;
        let found = tokio::time::timeout(HANDED_WITHIN, handed(&line))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(InheritError::Predecessor)?;
        Ok(Self { found, predecessor: Some(line) })
    }

    /// True when this process takes another one's place, which serves until then.
    pub fn is_succession(&self) -> bool {
        self.predecessor.is_some()
    }

    /// The sockets of a listener; `None`: it has to be bound.
    ///
    /// # Errors
    /// What was given for it is not what the configuration says.
    pub fn take(&mut self, address: &ListenAddress) -> io::Result<Option<Sockets>> {
        let kind = match address {
            ListenAddress::Tcp(_) => Kind::Tcp,
            ListenAddress::Unix(_) => Kind::Unix,
        };
        self.taken(&address.to_string(), kind, |socket| is_at(socket, address))
    }

    /// The control listener's socket.
    ///
    /// # Errors
    /// As [`Inherited::take`].
    pub fn take_control(&mut self, address: SocketAddr) -> io::Result<Option<std::net::TcpListener>> {
        let named = format!("{CONTROL} {address}");
        let at = ListenAddress::Tcp(address);
        let sockets = self.taken(&named, Kind::Tcp, |socket| is_at(socket, &at))?;
        Ok(sockets.and_then(|sockets| sockets.into_descriptors().into_iter().next()).map(Into::into))
    }

    fn taken(
        &mut self,
        name: &str,
        kind: Kind,
        is_at: impl Fn(&OwnedFd) -> bool,
    ) -> io::Result<Option<Sockets>> {
        let is_meant = |found: &Found| match &found.listener {
            Some(listener) => listener == name,
            None => found.sockets.iter().all(&is_at),
        };
        let Some(index) = self.found.iter().position(is_meant) else { return Ok(None) };
        Sockets::inherited(kind, self.found.swap_remove(index).sockets).map(Some)
    }

    /// Says to the old process that this one could serve, and waits until it may.
    ///
    /// # Errors
    /// The old process serves on; this one must end. Also when a service manager's sockets are left over.
    pub(crate) async fn may_serve(&mut self) -> Result<(), InheritError> {
        let Some(line) = &self.predecessor else {
            let left: Vec<_> = self.found.iter().flat_map(|found| &found.sockets).map(shown).collect();
            return if left.is_empty() { Ok(()) } else { Err(InheritError::Unused(left.join(", "))) };
        };
        // Listeners that the configuration does not name any more end with the old process.
        self.found.clear();
        let let_in = async {
            line.send(&Message::Ready, &[]).await?;
            line.expect(&Message::Yours).await
        };
        let let_in = tokio::time::timeout(HANDED_WITHIN, let_in).await;
        let_in.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(InheritError::Predecessor)
    }

    /// Says to the old process that this one serves.
    ///
    /// # Errors
    /// The old process has ended, or serves on: it will have thought that this one would never get here.
    pub(crate) async fn serving(self) -> Result<(), InheritError> {
        match self.predecessor {
            Some(line) => line.send(&Message::Serving, &[]).await.map_err(InheritError::Predecessor),
            None => Ok(()),
        }
    }
}

/// Takes the line away from standard input, which becomes empty.
fn line_from_stdin() -> io::Result<Line> {
    let line = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::net::sockopt::socket_type(&line)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Line::new(line)
}

async fn handed(line: &Line) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    loop {
        match line.receive().await? {
            (Message::Sockets { listener }, sockets) => {
                match found.iter_mut().find(|known| known.listener.as_deref() == Some(&listener)) {
                    Some(known) => known.sockets.extend(sockets),
                    None => found.push(Found { listener: Some(listener), sockets }),
                }
            }
            (Message::All, _) => return Ok(found),
            (message, _) => return Err(unexpected(&message)),
        }
    }
}

fn is_at(socket: &OwnedFd, address: &ListenAddress) -> bool {
    let Ok(at) = socket2::SockRef::from(socket).local_addr() else { return false };
    match address {
        ListenAddress::Tcp(address) => at.as_socket() == Some(*address),
        ListenAddress::Unix(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            at.as_pathname().is_some_and(|at| at == path || at == absolute)
        }
    }
}

fn shown(socket: &OwnedFd) -> String {
    let at = socket2::SockRef::from(socket).local_addr().ok();
    let at = at.as_ref();
    let path = || at.and_then(|at| at.as_pathname()).map(|path| format!("unix:{}", path.display()));
    let address = at.and_then(socket2::SockAddr::as_socket).map(|address| address.to_string());
    address.or_else(path).unwrap_or_else(|| "a socket without an address".to_owned())
}
