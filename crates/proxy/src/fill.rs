//! Reading into a buffer that grows with what comes: one way for both sides of the proxy.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use crate::stream::Stream;

/// Room that is made before each read.
pub const READ_BYTES: usize = 8 * 1024;
/// The same for bodies that fill it.
pub const READ_BYTES_LARGE: usize = 64 * 1024;

/// Reads once. A read that fills its room makes `room` larger for the next one.
pub fn poll_fill(
    stream: &mut Stream,
    input: &mut BytesMut,
    room: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // Room is made only for what is there: heads are slices of the buffer, so making room while a request runs
    // would mean a new one.
    ready!(stream.poll_read_ready(cx))?;
    input.reserve(*room);
    let free = input.capacity() - input.len();
    let read = ready!(pin!(stream.read_buf(input)).poll(cx));
    if matches!(read, Ok(n) if n == free) {
        *room = READ_BYTES_LARGE;
    }
    Poll::Ready(read)
}
