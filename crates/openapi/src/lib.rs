//! Reads OpenAPI 3.0 and 3.1 documents.
//!
//! Two rooms. [`tree`] turns YAML or JSON text into a tree in which every node knows its line and column, within
//! limits; it knows nothing of OpenAPI and is also the reader of the engine's own configuration files.

mod finding;
pub mod tree;

pub use finding::{Finding, Position};
pub use tree::Limits;
