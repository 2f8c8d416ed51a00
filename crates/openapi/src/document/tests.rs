//! Rows: a document and its operations or findings; then real documents, counted by other means.

use std::fs;
use std::path::{Path, PathBuf};

use super::read;
use crate::tree::Limits;

/// Operations as `METHOD path [id] line:column`, then findings as `code line:column`, `?` for warnings.
fn show(text: &str) -> Vec<String> {
    let (operations, findings) = match read(text, &Limits::default()) {
        Ok(document) => (document.operations, document.warnings),
        Err(findings) => {
            assert!(
                findings.iter().any(|finding| !finding.warning),
                "refused without an error: {findings:?}"
            );
            (Vec::new(), findings)
        }
    };
    let operations = operations.iter().map(|operation| {
        let id = operation.operation_id.as_ref().map(|id| format!("{id} ")).unwrap_or_default();
        format!("{} {} {id}{}", operation.method, operation.path, operation.position)
    });
    let findings = findings.iter().map(|finding| {
        let mark = if finding.warning { "?" } else { "" };
        format!("{}{mark} {}", finding.code, finding.position)
    });
    operations.chain(findings).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(show(text), expected, "{text}");
}

/// `paths` from line 3 on.
fn with_paths(paths: &str) -> String {
    format!("openapi: 3.0.3\ninfo: {{title: T, version: '1'}}\n{paths}")
}

#[track_caller]
fn check_paths(paths: &str, expected: &[&str]) {
    check(&with_paths(paths), expected);
}

#[test]
fn what_is_no_document_is_refused() {
    for (text, expected) in [
        ("", "openapi_not_a_document 1:1"),
        ("- a", "openapi_not_a_document 1:1"),
        ("info: {}", "openapi_not_a_document 1:1"),
        ("swagger: '2.0'\npaths: {}", "openapi_version 1:1"),
        ("openapi: 2.0.0", "openapi_version 1:10"),
        ("openapi: 3.2.0", "openapi_version 1:10"),
        ("openapi: 3.10.0", "openapi_version 1:10"),
        ("openapi: [3]", "openapi_version 1:10"),
        ("openapi:", "openapi_version 1:8"),
        ("openapi: 3.0.0\nopenapi: 3.1.0\n", "yaml_duplicate_key 2:1"),
        ("openapi: 'x", "yaml_syntax 1:10"),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn a_document_with_nothing_to_route_is_refused() {
    check("openapi: 3.1.0\ninfo: {title: T}\nwebhooks: {a: {post: {}}}\n", &["openapi_nothing_to_route 1:1"]);
    check_paths("paths: {}", &["openapi_nothing_to_route 3:1"]);
    check_paths("paths:\n", &["openapi_nothing_to_route 3:1"]);
    check_paths("paths: {/a: {summary: x}}", &["openapi_nothing_to_route 3:1"]);
    check_paths("paths: {x-a: {get: {}}}", &["openapi_nothing_to_route 3:1"]);
    check_paths("paths: [/a]", &["openapi_structure 3:1"]);
}

#[test]
fn all_findings_come_at_once_and_in_order() {
    check_paths(
        "paths:\n  a: {get: {}}\n  /b/{x}{y}: {get: {}}\n  /c: 5\n  /d:\n    get: 5\n    GET: {}\n    pots: {}\n    <<: {get: {}}\n  /e: {get: {$ref: '#/a'}}\n  /f?x=1: {}\n",
        &[
            "openapi_path 4:3",
            "openapi_path 5:3",
            "openapi_structure 6:3",
            "openapi_structure 8:5",
            "openapi_structure 9:5",
            "openapi_unknown_key? 10:5",
            "openapi_structure 11:5",
            "openapi_structure 12:14",
            "openapi_ref_dangling? 12:20",
            "openapi_path 13:3",
        ],
    );
}

#[test]
fn what_two_operations_share_is_refused() {
    check_paths(
        "paths:\n  /a/{x}:\n    get: {operationId: o}\n  /a/{y}:\n    get: {}\n    put: {operationId: o}\n  /a/{z}:\n    get: {}\n    put: {operationId: o}\n",
        &[
            "openapi_duplicate_operation 7:5",
            "openapi_duplicate_id 8:24",
            "openapi_duplicate_operation 10:5",
            "openapi_duplicate_operation 11:5",
        ],
    );
    let message = |paths: &str| read(&with_paths(paths), &Limits::default()).unwrap_err()[0].message.clone();
    assert_eq!(
        message("paths:\n  /a/{x}: {get: {}}\n  /a/{y}: {get: {}}\n"),
        "`GET /a/{y}` matches the same requests as `GET /a/{x}` in line 4"
    );
    assert_eq!(
        message("paths:\n  /a: {get: {operationId: o}}\n  /b: {get: {operationId: o}}\n"),
        "operationId `o` is already that of `GET /a` in line 4"
    );
    check_paths(
        "paths:\n  /a/{x}: {get: {}}\n  /a/{y}: {put: {}}\n",
        &["GET /a/{x} 4:12", "PUT /a/{y} 5:12"],
    );
    check_paths(
        "paths:\n  /a: {get: {operationId: 5}}\n  /b: {get: {operationId: }}\n",
        &["openapi_structure 5:25"],
    );
}

#[test]
fn references_of_path_items_are_followed() {
    check_paths(
        "paths:\n  /a: {$ref: '#/paths/~1b~1%7Bid%7D'}\n  /b/{id}:\n    get: {operationId: getB}\n    x-y: 1\n",
        &["GET /a 6:5", "GET /b/{id} getB 6:5", "openapi_shared_operation? 6:24"],
    );
    check_paths(
        "paths:\n  /a:\n    $ref: '#/components/pathItems/one'\n    put: {}\ncomponents:\n  pathItems:\n    one: {$ref: '#/components/pathItems/two', post: {}}\n    two: {get: {}}\n",
        &["PUT /a 6:5", "POST /a 9:47", "GET /a 10:11"],
    );
    // Two paths that match the same requests, by a reference: the operation stands in one place, so the path is named.
    check_paths(
        "paths:\n  /a/{x}: {get: {}}\n  /a/{y}: {$ref: '#/paths/~1a~1{x}'}\n",
        &["openapi_duplicate_operation 5:3"],
    );
    // Merging two definitions of one method would be a guess.
    check_paths(
        "paths:\n  /a: {$ref: '#/paths/~1b', get: {}}\n  /b: {get: {}}\n",
        &["openapi_duplicate_operation 5:8"],
    );
}

#[test]
fn references_of_path_items_that_lead_nowhere_are_errors() {
    check_paths("paths: {/a: {$ref: '#/components/pathItems/x'}, /b: {get: {}}}", &["openapi_ref 3:20"]);
    check_paths("paths: {/a: {$ref: '#anchor'}, /b: {get: {}}}", &["openapi_ref 3:20"]);
    check_paths("paths: {/a: {$ref: 'a.yaml#/x'}, /b: {get: {}}}", &["openapi_ref_remote 3:20"]);
    check_paths("paths: {/a: {$ref: 'https://x.y/z'}, /b: {get: {}}}", &["openapi_ref_remote 3:20"]);
    check_paths("paths: {/a: {$ref: }, /b: {get: {}}}", &["openapi_structure 3:18"]);
    check_paths("paths: {/a: {$ref: '#/info/title'}, /b: {get: {}}}", &["openapi_structure 3:9"]);
    check_paths("paths: {/a: {$ref: '#/paths/~1a'}, /b: {get: {}}}", &["openapi_ref_cycle 3:9"]);
    check_paths(
        "paths: {/a: {$ref: '#/paths/~1b'}, /b: {$ref: '#/paths/~1a'}, /c: {get: {}}}",
        &["openapi_ref_cycle 3:9", "openapi_ref_cycle 3:36"],
    );
    let chain: String = (0..20).map(|n| format!("  /p{n}: {{$ref: '#/paths/~1p{}'}}\n", n + 1)).collect();
    let found = show(&with_paths(&format!("paths:\n{chain}  /p20: {{get: {{}}}}\n")));
    assert_eq!(found.iter().filter(|row| row.starts_with("openapi_ref_cycle")).count(), 5, "{found:?}");
}

#[test]
fn other_references_are_checked_where_they_are_references() {
    check_paths(
        r##"paths:
  /a:
    get:
      parameters: [{$ref: '#/components/parameters/p'}, {$ref: '#/components/parameters/no'}]
      responses:
        default: {$ref: '#/components/responses/no'}
        '200': {$ref: 'r.yaml'}
      x-note: {$ref: '#/no'}
components:
  parameters: {p: {schema: {$ref: '#named'}}}
  examples: {e: {value: {$ref: '#/no'}}, f: {$ref: '#/no/f'}}
  schemas:
    s:
      example: {$ref: '#/no'}
      examples: [{$ref: '#/no'}]
      enum: [{$ref: '#/no'}]
      properties:
        example: {$ref: '#/no/example'}
        $ref: {type: string}
        properties: {properties: {enum: {$ref: '#/no/enum'}}}
"##,
        &[
            "GET /a 5:5",
            "openapi_ref_dangling? 6:64",
            "openapi_ref_dangling? 8:25",
            "openapi_ref_remote? 9:23",
            "openapi_ref_dangling? 13:52",
            "openapi_ref_dangling? 20:25",
            "openapi_ref_dangling? 22:48",
        ],
    );
}

#[test]
fn many_findings_are_cut_but_an_error_stays() {
    let refs: String = (0..2_000).map(|n| format!("    s{n}: {{$ref: '#/no'}}\n")).collect();
    let text = with_paths(&format!("paths: {{/a: {{get: {{}}}}}}\ncomponents:\n  schemas:\n{refs}"));
    let document = read(&text, &Limits::default()).unwrap();
    assert_eq!(document.warnings.len(), 501);
    assert_eq!(document.warnings[500].message, "1500 more findings are not listed");
    let keys: String = (0..2_000).map(|n| format!("    k{n}: 1\n")).collect();
    let findings =
        read(&with_paths(&format!("paths:\n  /a:\n{keys}  b: {{}}\n")), &Limits::default()).unwrap_err();
    assert!(findings.iter().any(|finding| finding.code == "openapi_path"));
}

#[test]
fn what_routing_does_not_look_at_is_said() {
    check_paths(
        "paths:\n  /a:\n    servers: []\n    parameters: []\n    get: {servers: []}\n",
        &["GET /a 7:5", "openapi_servers_ignored? 5:5", "openapi_servers_ignored? 7:11"],
    );
    check("openapi: 3.1.0\npaths: {/a: {get: {}}}\n", &["GET /a 2:14", "openapi_structure? 1:1"]);
    check("openapi: 3.1.0\ninfo: {}\npaths: {/a: {get: {}}}\n", &["GET /a 3:14", "openapi_structure? 2:1"]);
    check_paths("servers: [{}]\npaths: {/a: {get: {}}}\n", &["openapi_structure 3:11"]);
    check_paths("servers: {url: /}\npaths: {/a: {get: {}}}\n", &["openapi_structure 3:1"]);
}

#[test]
fn everything_routing_needs_is_read() {
    let yaml = "
openapi: 3.1.0
info: { title: Payments, version: '2' }
servers: [{ url: 'https://{region}.example.com/v2' }, { url: /v2 }]
paths:
  x-internal: { get: {} }
  /payments/{id}:cancel:
    summary: shared
    post: { operationId: cancelPayment, summary: Cancel, deprecated: true }
    head: { deprecated: 'true', summary: }
";
    let json = r#"{"openapi": "3.1.0", "info": {"title": "Payments"},
        "servers": [{"url": "https:\/\/{region}.example.com/v2"}, {"url": "/v2"}],
        "paths": {"\/payments\/{id}:cancel": {
            "post": {"operationId": "cancelPayment", "summary": "Cancel", "deprecated": true}, "head": {}}}}"#;
    for text in [yaml, json] {
        let document = read(text, &Limits::default()).unwrap();
        assert_eq!((document.title.as_str(), document.openapi.as_str()), ("Payments", "3.1.0"));
        assert_eq!(document.servers, ["https://{region}.example.com/v2", "/v2"]);
        assert_eq!(document.warnings, []);
        let [post, head] = document.operations.try_into().unwrap();
        assert_eq!(
            (post.operation_id.as_deref(), post.summary.as_deref()),
            (Some("cancelPayment"), Some("Cancel"))
        );
        assert_eq!(
            (post.method.as_str(), post.path.as_str(), post.deprecated),
            ("POST", "/payments/{id}:cancel", true)
        );
        assert_eq!((head.operation_id, head.summary, head.deprecated), (None, None, false));
    }
    check("openapi: '3.0'\ninfo: {title: T}\npaths: {/: {trace: {}}}", &["TRACE / 3:13"]);
}

/// The real documents that development has at hand; a copy of the repository alone does not.
fn real_documents() -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/adyen");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return None;
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Some(files)
}

/// Operations by indentation alone: in the block of `paths`, a method stands four columns in.
fn count_by_lines(text: &str) -> usize {
    let paths = text
        .lines()
        .skip_while(|line| *line != "paths:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '));
    let methods = ["get:", "put:", "post:", "delete:", "options:", "head:", "patch:", "trace:"];
    paths
        .filter(|line| line.strip_prefix("    ").is_some_and(|rest| methods.contains(&rest.trim_end())))
        .count()
}

#[test]
fn real_documents_load_whole() {
    let Some(files) = real_documents() else { return };
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let document =
            read(&text, &Limits::default()).unwrap_or_else(|findings| panic!("{file:?}: {findings:?}"));
        let counted = count_by_lines(&text);
        assert!(counted >= 10, "{file:?}: the count by lines is broken: {counted}");
        assert_eq!(document.operations.len(), counted, "{file:?}");
        assert!(document.operations.iter().all(|operation| operation.operation_id.is_some()), "{file:?}");
        assert_eq!(document.servers.len(), 1, "{file:?}");
        let lines: Vec<&str> = text.lines().collect();
        for operation in &document.operations {
            let line = lines[operation.position.line as usize - 1];
            assert_eq!(line.trim(), format!("{}:", operation.method.to_lowercase()), "{file:?}");
        }
    }
}
