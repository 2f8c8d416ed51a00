//! Any text as a document. What is accepted is whole, what is refused says why and where, and the tree stays within
//! its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_openapi::tree::{self, Node, Value};
use mainstay_openapi::{Finding, Limits, Position, read, template};

const LIMITS: Limits = Limits { bytes_max: 1 << 16, depth_max: 32, nodes_max: 4_096 };

fuzz_target!(|text: &str| {
    let lines = u32::try_from(text.matches(['\n', '\r']).count() + 1).unwrap();
    match tree::parse(text, &LIMITS) {
        Ok(root) => assert!(check(&root, lines, 1) <= LIMITS.nodes_max),
        Err(findings) => {
            assert!(!findings.is_empty() && findings.iter().all(|finding| !finding.warning));
            findings.iter().for_each(|finding| check_place(finding, lines));
        }
    }
    match read(text, &LIMITS) {
        Ok(document) => {
            assert!(!document.operations.is_empty());
            assert!(document.warnings.iter().all(|finding| finding.warning));
            let mut routes: Vec<(String, String)> = Vec::new();
            for operation in document.operations {
                let route =
                    (operation.method, template::shape(&operation.path).expect("checked by the reader"));
                assert!(!routes.contains(&route), "{route:?} twice");
                routes.push(route);
            }
        }
        Err(findings) => {
            assert!(findings.iter().any(|finding| !finding.warning), "refused without an error");
            findings.iter().for_each(|finding| check_place(finding, lines));
        }
    }
});

fn check_place(finding: &Finding, lines: u32) {
    assert!(is_within(finding.position, lines), "{finding} of {lines} lines");
    assert!(!finding.message.is_empty());
}

fn is_within(place: Position, lines: u32) -> bool {
    (1..=lines + 1).contains(&place.line) && place.column >= 1
}

/// Returns the number of nodes.
fn check(node: &Node, lines: u32, depth: usize) -> usize {
    assert!(
        is_within(node.position, lines) && is_within(node.end, lines) && node.position <= node.end,
        "{node:?}"
    );
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::Sequence(items) => {
            assert!(depth <= LIMITS.depth_max);
            1 + items.iter().map(|item| check(item, lines, depth + 1)).sum::<usize>()
        }
        Value::Mapping(entries) => {
            assert!(depth <= LIMITS.depth_max);
            let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
            keys.sort_unstable();
            assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a duplicate key came through");
            1 + entries.iter().map(|(_, child)| 1 + check(child, lines, depth + 1)).sum::<usize>()
        }
    }
}
