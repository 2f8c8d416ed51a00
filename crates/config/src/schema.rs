//! The JSON Schema of the configuration file, out of the declarations of its keys.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::raw::Root;

/// JSON Schema 2020-12 of the file, with descriptions, defaults and ranges. A copy is `docs/mainstay.schema.json`.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Root>();
    schema.insert("title".to_owned(), json!("Mainstay configuration"));
    schema.to_value()
}
