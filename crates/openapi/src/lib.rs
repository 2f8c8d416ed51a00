//! Reads OpenAPI 3.0 and 3.1 documents.
//!
//! Two rooms. [`tree`] turns YAML or JSON text into a tree in which every node knows its line and column, within
//! limits; it knows nothing of OpenAPI and is also the reader of the engine's own configuration files. [`read`] takes
//! from such a tree what routing needs, and reports everything in the document that would make routing guess.
//!
//! ```
//! use mainstay_openapi::{Limits, read};
//!
//! let text = "
//! openapi: 3.1.0
//! info: { title: Payments, version: '1' }
//! paths:
//!   /payments/{id}:
//!     get: { operationId: getPayment, responses: { '200': { description: A payment } } }
//! ";
//! let document = read(text, &Limits::default()).unwrap();
//! let operation = &document.operations[0];
//! assert_eq!((operation.method.as_str(), operation.path.as_str()), ("GET", "/payments/{id}"));
//! assert_eq!(operation.position.to_string(), "6:5");
//! ```

mod document;
mod finding;
pub mod template;
pub mod tree;

pub use document::{Document, Operation, read};
pub use finding::{Finding, Position};
pub use tree::Limits;
