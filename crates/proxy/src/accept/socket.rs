//! Sockets to listen on: one per worker for an address, one in all for a path.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

use crate::stream::Plain;

/// Connections that may wait to be accepted, on each socket.
pub(crate) const BACKLOG: i32 = 4096;

/// Bound sockets of one listener.
pub enum Sockets {
    /// One per worker, on the same address.
    Tcp(Vec<std::net::TcpListener>),
    /// One, whose worker spreads what it accepts.
    Unix(StdUnixListener),
}

impl Sockets {
    /// Binds one socket per worker to an address. With a port of 0 the kernel chooses one; what it chose is given back.
    ///
    /// # Errors
    /// The address is in use, by whatever process; or it cannot be bound.
    pub fn tcp(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Self)> {
        // With SO_REUSEPORT a second engine of the same user would silently take half of the connections. A bind
        // without it is refused by the kernel as long as anyone listens.
        let address = probe(address)?;
        let sockets = (0..workers).map(|_| bind_shared(address)).collect::<io::Result<Vec<_>>>()?;
        Ok((address, Self::Tcp(sockets)))
    }

    /// Binds a path. A socket that was left behind there by a process that is gone is replaced.
    ///
    /// # Errors
    /// Somebody listens there, something else is there, or it cannot be bound.
    pub fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is no socket is there",
                ));
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let listener = StdUnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener))
    }

    /// Takes over sockets that another process has bound and listens on.
    ///
    /// # Errors
    /// One of them is not what it is said to be: a stream socket of this kind that listens.
    pub fn inherited(kind: Kind, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        if sockets.is_empty() || (kind == Kind::Unix && sockets.len() > 1) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the number of sockets it needs"));
        }
        let sockets =
            sockets.into_iter().map(|socket| checked(kind, socket)).collect::<io::Result<Vec<_>>>()?;
        match kind {
            Kind::Tcp => Ok(Self::Tcp(sockets.into_iter().map(Into::into).collect())),
            Kind::Unix => sockets
                .into_iter()
                .next()
                .map(|socket| Self::Unix(socket.into()))
                .ok_or_else(|| io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(sockets) => {
                Self::Tcp(sockets.iter().map(std::net::TcpListener::try_clone).collect::<io::Result<_>>()?)
            }
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    /// The address that the kernel knows; none for a path.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(sockets) => sockets.first()?.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The descriptors, to be handed to another process.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        match self {
            Self::Tcp(sockets) => sockets.into_iter().map(Into::into).collect(),
            Self::Unix(socket) => vec![socket.into()],
        }
    }

    /// The sockets one by one.
    pub(crate) fn spread(self) -> Vec<Socket> {
        match self {
            Self::Tcp(sockets) => sockets.into_iter().map(Socket::Tcp).collect(),
            Self::Unix(socket) => vec![Socket::Unix(socket)],
        }
    }
}

/// What is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address.
    Tcp,
    /// A path.
    Unix,
}

/// An inherited descriptor, if it is a socket of this kind that listens.
fn checked(kind: Kind, socket: OwnedFd) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::from(socket);
    let domain = socket.domain()?;
    let is_of_kind = match kind {
        Kind::Tcp => domain == socket2::Domain::IPV4 || domain == socket2::Domain::IPV6,
        Kind::Unix => domain == socket2::Domain::UNIX,
    };
    if !is_of_kind || socket.r#type()? != socket2::Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no listening socket of that kind"));
    }
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    if kind == Kind::Tcp {
        accept_without_delay(&socket)?;
    }
    Ok(socket)
}

fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    // A port of 0 is chosen here, and then bound for each worker.
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no socket address"))
}

fn bind_shared(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    accept_without_delay(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What is accepted sends small answers at once. Linux takes the option over from the listening socket, which saves a system call for each
/// connection.
fn accept_without_delay(listening: &socket2::Socket) -> io::Result<()> {
    listening.set_tcp_nodelay(true)
}

fn new_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// One worker's socket, before it is on the worker.
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A path.
    Unix(StdUnixListener),
}

/// One worker's socket, on the worker.
pub(crate) enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

impl Socket {
    /// Puts it on the runtime that this is called on.
    pub(crate) fn listen(self) -> io::Result<Listening> {
        Ok(match self {
            Self::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
            Self::Unix(socket) => Listening::Unix(UnixListener::from_std(socket)?),
        })
    }
}

impl Listening {
    /// The next connection, and the address it comes from; none over a unix socket.
    pub(crate) async fn accept(&self) -> io::Result<(Plain, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream.into(), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream.into(), None))
            }
        }
    }
}

/// A connection on its way to another worker.
pub enum Passed {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Passed {
    /// Takes a connection off its worker.
    pub(crate) fn from_plain(plain: Plain) -> io::Result<Self> {
        match plain {
            Plain::Tcp(stream) => stream.into_std().map(Self::Tcp),
            Plain::Unix(stream) => stream.into_std().map(Self::Unix),
            Plain::Memory(_) | Plain::Local(..) => {
                Err(io::Error::other("what lies in memory stays where it is"))
            }
        }
    }

    /// Puts it on the worker that this is called on.
    pub(crate) fn into_plain(self) -> io::Result<Plain> {
        match self {
            Self::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Plain::Tcp),
            Self::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Plain::Unix),
        }
    }
}
