//! Admin API on a listener of its own.
