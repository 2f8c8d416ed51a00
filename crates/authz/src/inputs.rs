//! What policies are built from: texts, and what is known of the operations they speak about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The folder whose policies touch every api.
pub const ALL: &str = "_all";

/// Everything that [`crate::Policies::build`] looks at.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The files of `permissions.policies`.
    pub policies: Vec<PolicyFile>,
    /// The files of `permissions.shadow`.
    pub shadow: Vec<PolicyFile>,
    /// Every operation of every version that is served, each once.
    pub operations: Vec<Operation>,
    /// The attributes that principals may have; `None`: whatever policies ask for (see the crate's documentation).
    pub attributes: Option<BTreeMap<String, DeclaredAttribute>>,
    /// The groups there are, where all are known; policies that name another one get a warning.
    pub groups: Option<Vec<String>>,
    /// The plans there are, where all are known; likewise.
    pub plans: Option<Vec<String>>,
}

/// One file with policies.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// The name of an api, or [`ALL`].
    pub folder: String,
    /// For findings, and its stem for the names of policies without `@id`.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// What policies can know of an operation.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// The api's name.
    pub api: String,
    /// Such as `v1`.
    pub version: String,
    /// Its `operationId`, or `METHOD /path`.
    pub name: String,
    /// What policies call it, where `authorize.action` says otherwise.
    pub action: Option<String>,
    /// The names of its path parameters.
    pub path: Vec<String>,
    /// What policies may read of its body.
    pub body: Vec<BodyField>,
    /// `auth: none`: whoever calls is nobody in particular.
    pub anonymous: bool,
}

impl Operation {
    /// What policies call it.
    pub fn action(&self) -> &str {
        self.action.as_deref().unwrap_or(&self.name)
    }
}

/// A field of the body that policies may read as `context.body.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyField {
    /// What policies call it.
    pub name: String,
    /// Where it is (RFC 6901), such as `/amount/value`.
    pub at: String,
    /// What it is.
    pub kind: FieldKind,
    /// Policies may read it without asking `context.body has NAME` first. That is about checking them only: a field that
    /// is missing all the same is an evaluation error, which denies. Recommended for what `authorize.body` names, and for
    /// what the document requires.
    pub required: bool,
}

/// What a body's field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// A whole number; see [`crate::strict::Number::long`].
    Long,
    /// A number with up to four digits after the point; see [`crate::strict::Number::decimal`].
    Decimal,
    /// A text.
    String,
    /// `true` or `false`.
    Bool,
}

impl FieldKind {
    /// The name in Cedar's schema language.
    pub const fn cedar(self) -> &'static str {
        match self {
            Self::Long => "Long",
            Self::Decimal => "decimal",
            Self::String => "String",
            Self::Bool => "Bool",
        }
    }
}

/// An attribute that principals may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredAttribute {
    /// What it is.
    pub kind: AttributeKind,
    /// Policies may read it without asking `principal has NAME` first; without it, reading it denies all the same.
    pub required: bool,
}

/// What an attribute of a principal is: [`mainstay_core::principal::Attribute`], seen by policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Long,
    /// A text.
    String,
    /// Several of one kind.
    Set(Box<Self>),
    /// Values by name.
    Record(BTreeMap<String, DeclaredAttribute>),
}
