//! Which operation a request is for: canonical path, host and method against the route table.
//!
//! # The path
//! Everything behind this point sees one spelling of a path, the one [`canonical_path`] gives (its doc has the rules).
//! What could be read in two ways is refused there and never repaired.
//!
//! # Segments
//! A path is cut at its slashes. `/a/b` has the segments `a` and `b`; `/a/` has `a` and an empty last one; `/` has only
//! the empty last one. An empty segment anywhere but at the end matches nothing, and neither does a path of more than
//! [`SEGMENTS_MAX`] segments. A trailing slash is significant: only a template that ends in a slash, or a wildcard,
//! matches a path that does.
//!
//! # Templates
//! A template is cut the same way. Each of its segments is one of:
//! - **static**: `payments`. Matches exactly this text.
//! - **affixed parameter**: `{id}:cancel`, `{name}.json`, `v{n}`. Matches a segment that begins and ends with the
//!   literal parts and has at least one character between them; an escape (`%C3`) is never cut in two.
//! - **parameter**: `{id}`. Matches any segment that is not empty.
//! - **wildcard**: `{*rest}`, only as the last segment. Matches all that is left of the path, slashes included. What
//!   is left may be empty, but the slash before it must be there: `/legacy/{*rest}` matches `/legacy/` and
//!   `/legacy/a/b/`, not `/legacy`.
//!
//! Literals are brought into the canonical form of paths, so `/a%7Eb` and `/a~b` are one template.
//!
//! # Which template wins
//! Compared from the left, segment by segment: static before affixed parameter (the one with more literal characters
//! first, then the longer prefix, then alphabetical order) before parameter before wildcard. The most specific
//! template that matches the path *and has the method* wins. A template has the method if it was entered for exactly
//! that one; or for `GET`, when `HEAD` is asked; or for any method. In this order, within one template.
//!
//! If templates match the path but none has the method, the answer is [`Lookup::MethodNotAllowed`] with the methods
//! of all of them together. If none matches: [`Lookup::NotFound`].
//!
//! # Hosts
//! Templates are entered under a [`HostPattern`]. The exact name is looked at first, then suffixes from the longest
//! to the shortest, then "any host". Whatever does not serve the request, be it for the path or for the method,
//! passes it on to the next; a request without a host is looked up under "any host" alone.
//!
//! # Cost
//! A table is a tree of segments per host pattern. A lookup does not allocate, and its usual cost is one hash per
//! segment, however many operations there are. The worst case is bounded by the table, not by the path: a node is
//! reached from its parent alone, so backtracking enters each node at most once and tries each affixed edge at most
//! once.

mod canonical;
mod decide;
mod plan;
mod template;
#[cfg(test)]
mod tests;

pub use canonical::{PathRefusal, canonical_path};
pub use decide::{Lookup, Params};
pub use plan::{Conflict, HostError, HostPattern, MethodSpec, Router, RouterBuilder};
pub use template::{Template, TemplateError};

/// Segments of a path or template; longer paths match nothing.
pub const SEGMENTS_MAX: usize = 64;

/// Parameters of a template, wildcard included.
pub const PARAMS_MAX: usize = 16;
