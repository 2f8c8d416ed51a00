//! The HTTP/1 wire format as a pure state machine over bytes.
