//! From the tree to the operations of a document.
//!
//! What is read: `openapi`, `info.title`, `servers`, and of every path its operations. What is checked is what
//! routing stands on; a document that breaks a rule elsewhere (schemas, parameters) still loads.
//!
//! Errors: no OpenAPI 3.0 or 3.1; nothing to route; a path that is no template; two operations for one method and
//! shape of path; an `operationId` given twice; a path item whose `$ref` leads nowhere, in a circle or out of the
//! document.
//!
//! Warnings: `$ref`s elsewhere that lead nowhere or out of the document; `servers` of a path or operation,
//! which routing does not look at; unknown keys where a method could be meant; an operation that a second path refers
//! to (it is served there without its `operationId`, which names one operation).
//!
//! Extensions (keys that begin with `x-`) are passed over. `webhooks` and `callbacks` are requests that the api
//! makes, not ones it serves.

mod paths;
mod pointer;
mod references;
#[cfg(test)]
mod tests;

use crate::tree::{self, Limits, Node};
use crate::{Finding, Position};
use pointer::Resolver;

/// More findings than this are not listed; the last one says so.
const FINDINGS_MAX: usize = 500;

/// What routing needs of an OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `info.title`; empty when there is none.
    pub title: String,
    /// The version of the specification, as written: "3.1.0".
    pub openapi: String,
    /// The URLs of `servers`, as written: absolute or not, variables and all.
    pub servers: Vec<String>,
    /// In the order of the document.
    pub operations: Vec<Operation>,
    /// What is doubtful in the document, by position.
    pub warnings: Vec<Finding>,
}

/// One method of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub operation_id: Option<String>,
    /// In upper case.
    pub method: String,
    /// The template, as written.
    pub path: String,
    /// Where the method stands.
    pub position: Position,
    pub deprecated: bool,
    pub summary: Option<String>,
}

/// Reads an OpenAPI document in YAML or JSON.
///
/// # Errors
/// All findings by position, warnings included, if at least one is an error. Codes are those of [`tree::parse`] and:
/// `openapi_not_a_document`, `openapi_version`, `openapi_nothing_to_route`, `openapi_structure`, `openapi_path`,
/// `openapi_duplicate_operation`, `openapi_duplicate_id`, `openapi_ref`, `openapi_ref_remote`, `openapi_ref_cycle`;
/// warnings `openapi_ref_dangling`, `openapi_ref_remote`, `openapi_servers_ignored`, `openapi_unknown_key`,
/// `openapi_shared_operation`, `openapi_structure`.
pub fn read(text: &str, limits: &Limits) -> Result<Document, Vec<Finding>> {
    let root = tree::parse(text, limits)?;
    let openapi = specification(&root).map_err(|finding| vec![finding])?;
    let mut findings = Findings::default();
    let resolver = Resolver::new(&root);
    let document = Document {
        title: title(&root, &mut findings),
        openapi,
        servers: servers(&root, &mut findings),
        operations: paths::operations(&root, &resolver, &mut findings),
        warnings: Vec::new(),
    };
    references::check(&root, &resolver, &mut findings);
    let findings = findings.finish();
    if findings.iter().any(|finding| !finding.warning) {
        return Err(findings);
    }
    Ok(Document { warnings: findings, ..document })
}

/// Findings up to a number that a person still reads.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    has_error: bool,
    left_out: usize,
}

impl Findings {
    fn push(&mut self, finding: Finding) {
        // The first error is never left out because of warnings: it decides whether the document loads.
        let is_first_error = !finding.warning && !self.has_error;
        self.has_error |= is_first_error;
        if self.list.len() < FINDINGS_MAX || is_first_error {
            self.list.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// By position. What was found on two ways is told once, and then as an error if one of them is.
    fn finish(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| (finding.position, finding.warning));
        self.list.dedup_by(|later, first| later.position == first.position && later.message == first.message);
        if self.left_out > 0
            && let Some(last) = self.list.last()
        {
            let message = format!("{} more findings are not listed", self.left_out);
            self.list.push(Finding::warning("openapi_structure", (last.position, last.position), message));
        }
        self.list
    }
}

fn specification(root: &Node) -> Result<String, Finding> {
    let start = (root.position, root.position);
    if !root.is_mapping() {
        let message = format!("an OpenAPI document is a mapping, this is {}", root.kind());
        return Err(Finding::error("openapi_not_a_document", start, message));
    }
    if let Some((key, _)) = root.entry("swagger") {
        return Err(Finding::error(
            "openapi_version",
            key.span(),
            "this is a document of version 2 (Swagger)",
        )
        .help("convert it to OpenAPI 3.0 or 3.1"));
    }
    let Some((_, version)) = root.entry("openapi") else {
        return Err(Finding::error(
            "openapi_not_a_document",
            start,
            "`openapi` is missing, so this is no OpenAPI document",
        )
        .help("the first line of a document is `openapi: 3.1.0`"));
    };
    let text = version.text().unwrap_or("");
    let is_supported = |minor: &str| {
        let patch = text.strip_prefix(minor);
        patch.is_some_and(|patch| patch.is_empty() || patch.starts_with(['.', '-']))
    };
    if !is_supported("3.0") && !is_supported("3.1") {
        let message = format!("OpenAPI `{text}` is not supported");
        return Err(Finding::error("openapi_version", version.span(), message).help("3.0 and 3.1 are"));
    }
    Ok(text.to_owned())
}

fn title(root: &Node, findings: &mut Findings) -> String {
    match root.get("info").and_then(|info| info.get("title")).and_then(Node::text) {
        Some(title) => title.to_owned(),
        None => {
            let at = root.entry("info").map_or((root.position, root.position), |(key, _)| key.span());
            findings.push(Finding::warning("openapi_structure", at, "`info.title` is missing"));
            String::new()
        }
    }
}

fn servers(root: &Node, findings: &mut Findings) -> Vec<String> {
    let Some((key, servers)) = root.entry("servers") else { return Vec::new() };
    if !servers.is_sequence() && !servers.is_null() {
        let message = format!("`servers` is a list, this is {}", servers.kind());
        findings.push(Finding::error("openapi_structure", key.span(), message));
    }
    let mut urls = Vec::new();
    for server in servers.items() {
        match server.get("url").and_then(Node::text) {
            Some(url) => urls.push(url.to_owned()),
            None => {
                let message = "a server needs a `url`";
                findings.push(Finding::error("openapi_structure", server.span(), message));
            }
        }
    }
    urls
}
