//! The committed copy of the schema, and the schema against what it describes.

use std::path::Path;

use serde_json::Value;

use crate::schema;

#[test]
fn the_committed_copy_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mainstay.schema.json");
    let current = serde_json::to_string_pretty(&schema()).expect("serialises") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).expect("written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "docs/mainstay.schema.json is out of date: run this test with UPDATE=1");
}

#[test]
fn every_key_has_a_title_and_a_description() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let blocks = schema["$defs"].as_object().expect("definitions").values().chain([&schema]);
    let mut keys = 0;
    for block in blocks {
        assert_eq!(block["additionalProperties"], Value::Bool(false));
        for (name, key) in block["properties"].as_object().expect("properties") {
            let described = |what: &str| key[what].as_str().is_some_and(|text| !text.is_empty());
            assert!(described("title") && described("description"), "{name}");
            keys += 1;
        }
    }
    assert!(keys > 80, "{keys}");
}

#[test]
fn defaults_and_ranges_are_there() {
    let schema = schema();
    let key = |block: &str, name: &str| schema["$defs"][block]["properties"][name].clone();
    assert_eq!(key("Limits", "connections")["default"], 20_000);
    assert_eq!(key("Limits", "body")["default"], "1MiB");
    assert_eq!(key("Server", "trusted_proxies")["default"], serde_json::json!([]));
    assert_eq!(key("Cors", "credentials")["default"], false);
    let description = key("Timeouts", "connect")["description"].clone();
    assert_eq!(description, "Until a connection stands. Range 1ms to 5m.");
    let include = schema["properties"]["include"]["title"].clone();
    assert_eq!(include, "Further files, as patterns relative to this one, such as `teams/*/mainstay.yaml`");
    assert!(key("Brownout", "for").is_object());
}
