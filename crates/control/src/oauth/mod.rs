//! The authorisation server (OAuth 2.0), mounted on the data plane under its issuer's host and path.
//!
//! Rules of this room:
//! - What is decided is decided by pure functions in files of their own: `form` reads, `client` says who asks,
//!   `scope`, `redirect`, `pkce` and `authorize` say whether they may, `schedule` when keys change. The rest
//!   (`token`, `pages`, `revoke`, `introspect`) asks the store and answers.
//! - RFC 9700 is the checklist; docs/adr/0012 goes through it. No implicit grant, no password grant, PKCE with S256 for
//!   everyone, redirect URIs compared exactly, every refresh token good for one use.
//! - An error has the form of RFC 6749, section 5.2. A store that cannot be asked is 503 `temporarily_unavailable`, never
//!   `invalid_client` and never `invalid_grant`: a client that is told those throws away what is still good.
//! - A secret comes in, is hashed, and is compared as its hash. Wrong ones are counted before the next one costs anything.
//! - Nothing here is on the path of a request to an api: tokens are verified there with the published keys alone.

mod access;
mod attempts;
mod authorize;
mod client;
mod error;
mod form;
mod introspect;
mod keys;
mod metadata;
mod pages;
mod pkce;
pub(crate) mod redirect;
mod revoke;
mod schedule;
mod scope;
mod server;
mod token;

#[cfg(test)]
mod tests;

pub use server::{Parts, Server, Settings, routes};
