use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mainstay_config::{Options, load, render_text, schema};
use mainstay_policy::route::{Lookup, canonical_path};
use mainstay_proxy::plan::Snapshot;
use mainstay_telemetry::Registry;
use mainstay_telemetry::log::FIELDS;
use serde_json::Value;

use super::{Locals, Surroundings, lower};

/// The configuration and the log know the same fields: `telemetry.log.redact` takes each of them and nothing else,
/// or a field could not be redacted, or an accepted name would fail to lower.
#[test]
fn what_can_be_redacted_is_what_the_log_writes() {
    let schema = schema();
    let mut accepted = BTreeSet::new();
    enums(pointed(&schema, &schema["properties"]["telemetry"]), "redact", &schema, &mut accepted);
    let written: BTreeSet<String> = FIELDS.iter().map(|field| (*field).to_owned()).collect();
    assert_eq!(accepted, written);
}

/// Follows a reference within the schema.
fn pointed<'a>(schema: &'a Value, at: &'a Value) -> &'a Value {
    let target = at["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.map_or(at, |pointer| schema.pointer(pointer).expect("references lead somewhere"))
}

/// Collects the words of every `enum` below the property of this name.
fn enums(at: &Value, below: &str, schema: &Value, found: &mut BTreeSet<String>) {
    match at {
        Value::Object(members) => {
            for (name, value) in members {
                if name == below || (below.is_empty() && name != "enum") {
                    enums(pointed(schema, value), "", schema, found);
                } else if below.is_empty() {
                    found.extend(
                        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
                    );
                } else {
                    enums(pointed(schema, value), below, schema, found);
                }
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| enums(pointed(schema, item), below, schema, found));
        }
        _ => {}
    }
}

/// The documents, or a word on the terminal that the test was passed over.
fn adyen() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/adyen");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("passed over: there is no {}", folder.display());
    None
}

/// One operation of a document.
struct Described {
    method: String,
    path: String,
    id: String,
}

/// The operations as a reader of the lines would find them, without a parser of ours: two, four and six spaces deep.
fn described(text: &str) -> Vec<Described> {
    let mut found: Vec<Described> = Vec::new();
    let mut path = String::new();
    let lines = text.lines().skip_while(|line| *line != "paths:").skip(1);
    for line in lines.take_while(|line| line.is_empty() || line.starts_with(' ')) {
        if let Some(name) = line.strip_prefix("  /") {
            path = format!("/{}", name.trim_end_matches(':'));
        } else if let Some(key) = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')) {
            let method = key.trim_end_matches(':').to_uppercase();
            if ["GET", "POST", "PATCH", "PUT", "DELETE"].contains(&method.as_str()) {
                found.push(Described { method, path: path.clone(), id: String::new() });
            }
        } else if let Some(id) = line.strip_prefix("      operationId: ") {
            found.last_mut().expect("an operation has begun").id = id.trim().to_owned();
        }
    }
    found
}

/// Puts values into the parameters of a path; the same in the order of their names.
fn filled(template: &str, values: &[&str]) -> (String, Vec<(String, String)>) {
    let (mut path, mut params) = (String::new(), Vec::new());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a parameter ends");
        let value = values[params.len() % values.len()];
        path.push_str(before);
        path.push_str(value);
        params.push((name.to_owned(), value.to_owned()));
        rest = after;
    }
    path.push_str(rest);
    (path, params)
}

const HOST: &str = "api.example.com";

/// Four documents of two APIs on one host, two versions each.
fn four_documents(folder: &Path) -> Snapshot {
    let shown = folder.display();
    let text = format!(
        "upstreams: {{ checkout: {{ endpoints: http://127.0.0.1:9001 }}, transfers: {{ endpoints: http://127.0.0.1:9002 }} }}
apis:
  checkout:
    hosts: {HOST}
    defaults: {{ auth: none }}
    versions:
      v70: {{ upstream: checkout, openapi: {shown}/CheckoutService-v70.yaml }}
      v71: {{ upstream: checkout, openapi: {shown}/CheckoutService-v71.yaml }}
  transfers:
    hosts: {HOST}
    base_path: /btl
    defaults: {{ auth: none }}
    versions:
      v3: {{ upstream: transfers, openapi: {shown}/TransferService-v3.yaml }}
      v4: {{ upstream: transfers, openapi: {shown}/TransferService-v4.yaml }}
"
    );
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("mainstay.yaml");
    std::fs::write(&path, text).unwrap();
    let outcome = load(&path, &Options::default());
    let checked = outcome.checked.unwrap_or_else(|| panic!("{}", render_text(&outcome.problems)));
    let now = mainstay_core::clock::Clock::System.now();
    let with = Surroundings {
        registry: &Registry::new(),
        old: None,
        now,
        locals: &Locals::default(),
        scopes: &mainstay_core::ScopeNames::default(),
    };
    lower(&checked, 1, &with).unwrap()
}

/// What a request for this path meets, in words.
fn asked(snapshot: &Snapshot, method: &str, path: &str) -> (String, Vec<(String, String)>) {
    let canonical = canonical_path(path.as_bytes()).unwrap();
    match snapshot.router.find(Some(HOST), &canonical, method) {
        Lookup::Found { value, params } => {
            let names = &value.names;
            let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            (format!("{} {} {} {}", names.api, names.version, names.operation, names.route), params)
        }
        Lookup::MethodNotAllowed { allow } => (format!("405 {allow}"), Vec::new()),
        Lookup::NotFound => ("404".to_owned(), Vec::new()),
    }
}

#[test]
fn every_operation_of_real_documents_is_found_by_the_router() {
    let Some(folder) = adyen() else { return };
    let snapshot = four_documents(&folder);
    let mut with_parameters = 0;
    for (api, version, file, prefix, at_least) in [
        ("checkout", "v70", "CheckoutService-v70", "/v70", 25),
        ("checkout", "v71", "CheckoutService-v71", "/v71", 25),
        ("transfers", "v3", "TransferService-v3", "/btl/v3", 8),
        ("transfers", "v4", "TransferService-v4", "/btl/v4", 9),
    ] {
        let document = std::fs::read_to_string(folder.join(format!("{file}.yaml"))).unwrap();
        let operations = described(&document);
        assert!(operations.len() >= at_least, "{file}: {}", operations.len());
        for Described { method, path, id } in &operations {
            assert!(!id.is_empty(), "{file}: {method} {path} has no operationId");
            let template = format!("{prefix}{path}");
            let expected = format!("{api} {version} {id} {template}");
            // The last row looks like other paths of the documents, and is still a value.
            for values in [&["8536"][..], &["a.b~c-d_e", "x:y;z=1"], &["v71", "btl", "payments%21"]] {
                let (sent, params) = filled(&template, values);
                assert_eq!(asked(&snapshot, method, &sent), (expected.clone(), params), "{method} {sent}");
            }
            with_parameters += usize::from(template.contains('{'));
            let (sent, _) = filled(&template, &["8536"]);
            for nothing in [format!("{sent}/"), sent.replacen("/v", "/V", 1), format!("/v9{path}")] {
                assert_eq!(asked(&snapshot, method, &nothing).0, "404", "{method} {nothing}");
            }
            let (found, _) = asked(&snapshot, "TRACE", &sent);
            assert!(found.starts_with("405 ") && found.contains(method.as_str()), "TRACE {sent}: {found}");
        }
    }
    assert!(with_parameters >= 20, "{with_parameters}");
}
