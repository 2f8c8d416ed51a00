//! What a connection is carried by: a socket, or memory.

use mainstay_proxy::stream::Plain;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends the connection with a reset. In memory there is none: it is gone.
    fn reset(self);
}

impl Line for TcpStream {
    fn reset(self) {
        // Fails only on a socket that is gone already.
        drop(self.set_zero_linger());
    }
}

impl Line for DuplexStream {
    fn reset(self) {}
}

impl Line for Plain {
    fn reset(self) {}
}
