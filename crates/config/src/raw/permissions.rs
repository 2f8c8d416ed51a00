//! `permissions`, and what policies may know of an operation.

use serde_json::Value;

use crate::decode::scalar::{Text, pattern, words};
use crate::decode::{Map, Naming, Refusal, Scalar, keys};

keys! {
    /// What callers may do, where scopes cannot say it: policies in Cedar, in a folder for each api.
    pub(crate) struct Permissions {
        /// The folder with the policies in force, relative to this file: `payments/*.cedar` is about the api `payments` alone,
        /// which is default deny once there is one; `_all/*.cedar` holds forbids for every api. They are read again when
        /// they change.
        policies: Text,
        /// A folder like `policies`, whose policies are evaluated and reported, never enforced.
        shadow: Text,
    }

    /// What policies may know of an operation's requests.
    pub(crate) struct Authorize {
        /// Fields of the JSON body, by the names that policies read them with: `context.body.NAME`.
        body: Map<FieldName, BodyField>,
        /// What policies call the operation, where its own name means something else to them.
        action: Text,
    }

    /// A field of the body.
    pub(crate) struct BodyField {
        /// Where it is: a JSON pointer, such as `/amount/value`.
        at: JsonPointer,
        /// What it is: `long`, `decimal`, `string` or `bool`. Anything else in its place denies.
        r#type: FieldKind,
    }
}

/// Names of fields, as policies write them.
#[derive(Clone, Debug)]
pub(crate) struct FieldName;

impl Naming for FieldName {
    const WHAT: &'static str = "name of a field: letters, digits and `_`, at most 64, no digit first";
    const PATTERN: &'static str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";

    fn fits(name: &str) -> bool {
        name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    }
}

/// Where something is in a JSON document (RFC 6901).
#[derive(Clone, Debug)]
pub(crate) struct JsonPointer(pub(crate) String);

/// Deeper pointers are no fields of a request.
const POINTER_BYTES_MAX: usize = 256;

impl Scalar for JsonPointer {
    const WHAT: &'static str = "a JSON pointer";

    fn read(text: &str, _plain: bool) -> Result<JsonPointer, Refusal> {
        let is_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if !text.starts_with('/') || !is_escaped || text.len() > POINTER_BYTES_MAX {
            let message = "expected a JSON pointer such as `/amount/value`: `/` before each name, `~0` for `~` and `~1` for `/` in one";
            return Err(Refusal::new("bad_pointer", message));
        }
        Ok(JsonPointer(text.to_owned()))
    }

    fn schema() -> Value {
        pattern("^(/([^~/]|~[01])*)+$")
    }
}

words! {
    /// What a field of a body is.
    pub(crate) enum FieldKind {
        Long = "long",
        Decimal = "decimal",
        String = "string",
        Bool = "bool",
    }
}
