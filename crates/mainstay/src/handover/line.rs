//! What two processes say to each other during a hand-over: packets of JSON over a socket pair, descriptors beside them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

/// Descriptors that go with one packet; the kernel takes 253.
pub(super) const DESCRIPTORS_MAX: usize = 64;
/// A packet is a listener's name, and little else.
const PACKET_BYTES_MAX: usize = 4096;

/// What is said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Message {
    /// Old to new: sockets of a listener. One with many comes in several packets.
    Sockets {
        /// As the configuration names it, or [`super::CONTROL`].
        listener: String,
    },
    /// Old to new: there are no more.
    All,
    /// New to old: everything is loaded; what is left cannot fail for a reason that lies in the configuration.
    Ready,
    /// Old to new: nobody accepts any more, and the log is flushed.
    Yours,
    /// New to old: it accepts.
    Serving,
}

/// One end. The type says stream because there is none for packets; only its readiness is used.
pub(super) struct Line(UnixStream);

impl Line {
    /// An end of this process, and one for another.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// An end that came from another process.
    pub(super) fn new(end: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&end, true)?;
        UnixStream::from_std(end.into()).map(Self)
    }

    /// Says something.
    pub(super) async fn send(&self, message: &Message, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        self.0
            .async_io(tokio::io::Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !beside.is_empty() && !control.push(SendAncillaryMessage::ScmRights(beside)) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let packet = [io::IoSlice::new(&text)];
                rustix::net::sendmsg(self.0.as_fd(), &packet, &mut control, SendFlags::NOSIGNAL)?;
                Ok(())
            })
            .await
    }

    /// Listens. `UnexpectedEof`: the other process is gone, or has given up.
    pub(super) async fn receive(&self) -> io::Result<(Message, Vec<OwnedFd>)> {
        self.0.async_io(tokio::io::Interest::READABLE, || receive(self.0.as_fd())).await
    }

    /// Listens for one thing.
    pub(super) async fn expect(&self, wanted: &Message) -> io::Result<()> {
        let (message, _) = self.receive().await?;
        if message == *wanted { Ok(()) } else { Err(unexpected(&message)) }
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<(Message, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; PACKET_BYTES_MAX];
    let mut packet = [io::IoSliceMut::new(&mut text)];
    let received = rustix::net::recvmsg(socket, &mut packet, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut beside = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            beside.extend(descriptors);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = serde_json::from_slice(&text[..received.bytes.min(PACKET_BYTES_MAX)])
        .map_err(|_| io::Error::other("the other process speaks another language: is it another release?"))?;
    Ok((message, beside))
}

/// What should not have been said now.
pub(super) fn unexpected(message: &Message) -> io::Error {
    io::Error::other(format!("the other process said {message:?} out of turn"))
}
