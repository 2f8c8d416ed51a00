//! What only a store in PostgreSQL has: a server that may be away.

mod outage;
mod server;
mod url;
