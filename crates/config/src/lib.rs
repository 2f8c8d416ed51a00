//! Configuration: text, raw, checked; diagnostics and JSON Schema.
