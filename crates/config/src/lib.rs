//! Configuration: text, raw, checked; diagnostics and JSON Schema.
//!
//! The way of a file: `read` turns text into spanned trees and these into typed keys (`raw`), with includes and
//! substitution; `check` resolves names, merges defaults, classes and entries, and looks at every rule; what comes
//! out is [`checked::Checked`], in which nothing can be wrong any more. Every problem of every file is found in one go.
//!
//! Rules of this crate:
//! - The environment, the clock and the host's name are inputs ([`Options`]).
//! - No problem stops the search for others, unless the text of a file cannot be read at all.
//! - A value that came from outside the file is never told, in no message.
//!
//! ```
//! use mainstay_config::{Options, load_memory, render_text};
//!
//! let text = "apis: { rates: { versions: { v1: { upstrem: rates } } } }";
//! let outcome = load_memory("mainstay.yaml".as_ref(), [("mainstay.yaml", text)], &Options::default());
//! assert!(outcome.checked.is_none());
//! assert!(render_text(&outcome.problems).contains("did you mean `upstream`?"));
//! ```

mod check;
pub mod checked;
mod decode;
mod diagnostic;
mod documents;
mod effect;
mod files;
mod init;
mod load;
mod path;
mod policies;
mod published;
mod raw;
mod read;
mod schema;
mod store;
#[cfg(test)]
mod tests;

pub use diagnostic::{Problem, Severity, problems_json, render_json, render_text};
pub use effect::{Change, Effective, diff, effective};
pub use init::{init_from_openapi, init_starter};
pub use load::{HostNamed, ListenPlaces, Options, Outcome, Variables, load, load_memory, load_text};
pub use policies::{NoPolicies, read_policies};
pub use published::{Published, published_of};
pub use schema::schema;
