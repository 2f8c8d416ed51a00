//! An answer, then exactly one record.
//!
//! Problems get their shape ([`problem`]), every answer gets the engine's own fields ([`headers`]), its body is
//! passed on with the request's context inside ([`body`], [`h1`]), and when the last holder of that context lets
//! go, the record is written ([`record`]).

pub mod body;
pub mod h1;
pub mod headers;
pub mod problem;
pub mod record;
pub mod trailers;
