//! What callers may do, after every check but that of the policies themselves.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `permissions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// What is enforced.
    pub policies: Option<PolicyFolder>,
    /// What is evaluated and reported.
    pub shadow: Option<PolicyFolder>,
}

/// A folder with policies, and what was in it. The texts are here, so that a configuration that is kept is kept whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFolder {
    /// Absolute, or relative to the working directory.
    pub path: PathBuf,
    /// In the order of their paths.
    pub files: Vec<PolicyFile>,
}

/// A file with policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// The name of the folder it is in: an api, or `_all`.
    pub folder: String,
    /// As reached from the configuration.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
}

/// `authorize` of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorize {
    /// What policies call it; `None`: its name.
    pub action: Option<String>,
    /// What policies may read of its body, by name.
    pub body: Vec<BodyField>,
}

/// A field of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyField {
    /// What policies call it.
    pub name: String,
    /// Where it is (RFC 6901).
    pub at: String,
    /// What it is.
    pub kind: FieldKind,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldKind {
    /// A whole number.
    Long,
    /// A number with up to four digits after the point.
    Decimal,
    /// A text.
    String,
    /// `true` or `false`.
    Bool,
}
