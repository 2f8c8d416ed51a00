//! Which crate may build on which: the direction of dependencies, from `cargo metadata`.
//!
//! A wrong arrow is cheap to add and expensive to take out again, so it fails the day it is drawn.

use super::Finding;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A row for each crate of the workspace: what its code may name. Dependencies of tests are free, except where
/// `PURE` says otherwise. A crate without a row is a finding, so that a new one is placed on purpose.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mainstay-core", &[]),
    ("mainstay-policy", &["mainstay-core"]),
    ("mainstay-authz", &["mainstay-core"]),
    ("mainstay-identity", &["mainstay-core"]),
    ("mainstay-openapi", &["mainstay-core"]),
    ("mainstay-telemetry", &["mainstay-core"]),
    ("mainstay-store", &["mainstay-core"]),
    ("mainstay-wire", &["mainstay-core"]),
    ("mainstay-config", &["mainstay-core", "mainstay-openapi"]),
    (
        "mainstay-proxy",
        &[
            "mainstay-core",
            "mainstay-policy",
            "mainstay-authz",
            "mainstay-identity",
            "mainstay-openapi",
            "mainstay-telemetry",
            "mainstay-wire",
        ],
    ),
    ("mainstay-control", &["mainstay-core", "mainstay-config", "mainstay-identity", "mainstay-telemetry"]),
    // The service of the demo knows HTTP and nothing of the engine: it must be able to disagree with it.
    ("mainstay-payments", &[]),
    // The rig is an engine in memory; what stands on its two sides knows bytes only.
    (
        "mainstay-testkit",
        &["mainstay", "mainstay-core", "mainstay-identity", "mainstay-proxy", "mainstay-telemetry"],
    ),
    ("mainstay-bench", &["mainstay-core", "mainstay-telemetry", "mainstay-testkit"]),
    (
        "mainstay",
        &[
            "mainstay-core",
            "mainstay-policy",
            "mainstay-authz",
            "mainstay-identity",
            "mainstay-openapi",
            "mainstay-telemetry",
            "mainstay-store",
            "mainstay-wire",
            "mainstay-config",
            "mainstay-proxy",
            "mainstay-control",
            "mainstay-payments",
        ],
    ),
    ("mainstay-tests", &["mainstay", "mainstay-core", "mainstay-payments", "mainstay-testkit"]),
    ("xtask", &[]),
];

/// Crates that decide without I/O, with what they must not reach, however many crates lie between.
const PURE: &[&str] =
    &["mainstay-core", "mainstay-policy", "mainstay-authz", "mainstay-identity", "mainstay-wire"];
const IMPURE: &[&str] = &["tokio", "hyper", "hyper-util", "mio", "socket2"];

/// A decision is tested without a runtime too; this crate's test dependencies count.
const PURE_IN_TESTS: &str = "mainstay-policy";

pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>, String> {
    if array(&metadata["workspace_members"]).is_empty() || array(&metadata["resolve"]["nodes"]).is_empty() {
        return Err("cargo metadata names no members or no graph: its format has changed".to_owned());
    }
    let mut findings = Vec::new();
    let ours: BTreeSet<String> = members(metadata).map(|package| string(&package["name"])).collect();
    for package in members(metadata) {
        findings.extend(check_direct(package, &ours));
        let name = string(&package["name"]);
        if PURE.contains(&name.as_str()) {
            findings.extend(check_pure(metadata, package));
        }
    }
    Ok(findings)
}

fn check_direct(package: &Value, ours: &BTreeSet<String>) -> Vec<Finding> {
    let name = string(&package["name"]);
    let Some((_, allowed)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![finding(
            package,
            format!("{name} has no row in xtask's MAY_USE: say what it may build on"),
        )];
    };
    let mut findings = Vec::new();
    for dependency in array(&package["dependencies"]) {
        let used = string(&dependency["name"]);
        let for_tests = dependency["kind"] == "dev";
        let impure = name == PURE_IN_TESTS && IMPURE.contains(&used.as_str());
        let wrong_way = ours.contains(&used) && !allowed.contains(&used.as_str()) && used != name;
        if for_tests && name != PURE_IN_TESTS {
            continue;
        }
        if wrong_way {
            findings.push(finding(package, format!("{name} must not build on {used}")));
        } else if impure && for_tests {
            findings.push(finding(package, format!("{name} must not need {used}, in its tests neither")));
        }
    }
    findings
}

/// Follows what is compiled into the crate itself; build scripts and tests are other programs.
fn check_pure(metadata: &Value, package: &Value) -> Vec<Finding> {
    let nodes = array(&metadata["resolve"]["nodes"]);
    let by_id: BTreeMap<&str, &Value> =
        nodes.iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let start = package["id"].as_str().unwrap_or_default();
    let mut seen = BTreeSet::from([start]);
    let mut open = vec![(start, string(&package["name"]))];
    let mut findings = Vec::new();
    while let Some((id, way)) = open.pop() {
        for edge in by_id.get(id).map_or(&[][..], |node| array(&node["deps"])) {
            let normal = array(&edge["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let Some(next) = edge["pkg"].as_str().filter(|next| normal && seen.insert(next)) else {
                continue;
            };
            let name = names.get(next).copied().unwrap_or(next);
            let way = format!("{way} -> {name}");
            if IMPURE.contains(&name) {
                findings.push(finding(package, format!("a crate without I/O reaches {name}: {way}")));
            }
            open.push((next, way));
        }
    }
    findings
}

/// The workspace's own packages.
pub(super) fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids = array(&metadata["workspace_members"]);
    array(&metadata["packages"]).iter().filter(move |package| ids.contains(&package["id"]))
}

pub(super) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn finding(package: &Value, what: String) -> Finding {
    let manifest = string(&package["manifest_path"]);
    // The last two parts are enough to find it, and the same on every machine.
    let parts: Vec<&str> = manifest.rsplit('/').take(2).collect();
    let short: Vec<&str> = parts.into_iter().rev().collect();
    Finding::new(&short.join("/"), 0, what)
}
