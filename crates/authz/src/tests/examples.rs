//! `examples/permissions`: read as it is, and every case in it decided.

use std::path::{Path, PathBuf};

use super::{field, operation, told};
use crate::{FieldKind, Inputs, Operation, Policies, PolicyFile, cases};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/permissions/policies")
}

pub(super) fn operations() -> Vec<Operation> {
    let refund = |version: &str| Operation {
        body: vec![field("amount", "/amount/value", FieldKind::Long)],
        ..operation("payments", version, "createRefund", &["id"])
    };
    vec![
        refund("v1"),
        refund("v2"),
        operation("payments", "v1", "createPayment", &[]),
        operation("payments", "v1", "getPayment", &["id"]),
        operation("payments", "v1", "listPayments", &[]),
        operation("accounts", "v1", "listAccounts", &["bank"]),
        operation("accounts", "v1", "getAccount", &["bank", "account"]),
    ]
}

/// The files below a folder that end so, by folder and name.
pub(super) fn files(root: &Path, ending: &str) -> Vec<PolicyFile> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let shown = path.display().to_string();
            if shown.ends_with(ending) {
                let text = std::fs::read_to_string(&path).unwrap();
                let folder = folder.file_name().unwrap().to_str().unwrap().to_owned();
                files.push(PolicyFile { folder, path: shown, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[test]
fn every_case_of_the_examples_comes_out_as_it_says() {
    let inputs = Inputs { policies: files(&root(), ".cedar"), operations: operations(), ..Inputs::default() };
    let policies = Policies::build(&inputs).unwrap_or_else(|findings| panic!("{}", told(&findings)));
    assert_eq!(told(policies.warnings()), "");
    let read =
        |file: &PolicyFile| cases::parse(file).unwrap_or_else(|finding| panic!("{}", told(&[*finding])));
    let all: Vec<cases::Case> = files(&root(), ".cases.yaml").iter().flat_map(read).collect();
    let report = cases::run(&policies, &all);
    let differ: Vec<_> = report.results.iter().filter(|result| result.differs.is_some()).collect();
    assert!(report.passed() && differ.is_empty(), "{differ:#?}");
    assert!(report.results.len() >= 25, "{}", report.results.len());
    assert_eq!(report.undecided, [], "each policy decides some case");
}

/// What the guide shows is what the examples say, or at least can be used beside them.
#[test]
fn what_the_guide_shows_is_good() {
    let guide = include_str!("../../../../docs/guides/permissions.md");
    let samples: Vec<&str> =
        guide.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    // Beside policies and tables there are answers of commands, which are tried with these.
    let cedar: Vec<&str> = samples.iter().copied().filter(|sample| sample.starts_with("@id")).collect();
    let tables: Vec<&str> = samples.iter().copied().filter(|sample| sample.starts_with("cases:")).collect();
    assert_eq!((samples.len(), cedar.len(), tables.len()), (7, 4, 1));
    let examples = files(&root(), ".cedar");
    let is_example = |sample: &str| examples.iter().any(|file| file.text.contains(sample.trim()));
    let new: String = cedar.into_iter().filter(|sample| !is_example(sample)).collect();
    assert!(new.starts_with("@id(\"vip-only-by-day\")") && new.matches("@id").count() == 1, "{new}");
    let mut inputs = Inputs { policies: examples, operations: operations(), ..Inputs::default() };
    inputs.policies.push(super::file("payments", &new));
    let policies = Policies::build(&inputs).unwrap_or_else(|findings| panic!("{}", told(&findings)));
    let cases = cases::parse(&super::file("payments", tables[0])).unwrap();
    assert!(cases::run(&policies, &cases).passed());
}
