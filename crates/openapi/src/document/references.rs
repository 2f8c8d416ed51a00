//! Every other `$ref` of the document: it does not stop routing, but someone will look for what is missing.
//!
//! One walk over the tree. A `$ref` counts where OpenAPI reads it: not in examples, defaults, enumerations and
//! extensions, whose content is data. Under some keys (`properties`, `schemas`, ...) the next level holds names that
//! the author chose, so a property called `example` is a schema all the same.

use super::pointer::{Resolver, Target};
use super::{Finding, Findings};
use crate::tree::Node;

/// Below these, keys are names.
const NAMED: [&str; 20] = [
    "$defs",
    "callbacks",
    "content",
    "definitions",
    "dependentSchemas",
    "encoding",
    "examples",
    "headers",
    "links",
    "parameters",
    "pathItems",
    "paths",
    "patternProperties",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
    "securitySchemes",
    "variables",
    "webhooks",
];

/// Below these, everything is data.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "value"];

pub(super) fn check<'a>(root: &'a Node, resolver: &Resolver<'a>, findings: &mut Findings) {
    Walk { resolver, findings }.walk(root, false);
}

struct Walk<'f, 'r, 'a> {
    resolver: &'r Resolver<'a>,
    findings: &'f mut Findings,
}

impl Walk<'_, '_, '_> {
    /// Recurses as deep as the tree, which its limits bound.
    fn walk(&mut self, node: &Node, keys_are_names: bool) {
        node.items().iter().for_each(|item| self.walk(item, false));
        for (key, child) in node.entries() {
            let name = key.text.as_str();
            if keys_are_names {
                self.walk(child, false);
            } else if name == "$ref" {
                self.reference(child);
            } else if !is_data(name, child) {
                self.walk(child, NAMED.contains(&name));
            }
        }
    }

    fn reference(&mut self, reference: &Node) {
        let Some(text) = reference.text() else { return };
        let finding = match self.resolver.resolve(text) {
            Target::Node(_) | Target::Anchor => return,
            Target::Missing => missing(text, reference, "openapi_ref_dangling"),
            Target::Remote => remote(text, reference),
        };
        self.findings.push(Finding { warning: true, ..finding });
    }
}

fn is_data(name: &str, child: &Node) -> bool {
    // `examples` holds named Example objects, except in a schema, where it is a list of values.
    name.starts_with("x-") || DATA.contains(&name) || (name == "examples" && child.is_sequence())
}

pub(super) fn missing(text: &str, reference: &Node, code: &'static str) -> Finding {
    Finding::error(code, reference.span(), format!("`{text}` is not in this document"))
}

pub(super) fn remote(text: &str, reference: &Node) -> Finding {
    Finding::error("openapi_ref_remote", reference.span(), format!("`{text}` lies outside this document"))
        .help("bundle the document into one file; references begin with `#/`")
}
