//! Clients, upstreams and streams for tests.
