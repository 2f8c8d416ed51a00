//! The operations of `paths`.

use std::collections::{HashMap, HashSet};
use std::ptr;

use super::pointer::{Resolver, Target};
use super::references::{missing, remote};
use super::{Finding, Findings, Operation};
use crate::template::shape;
use crate::tree::{Key, Node};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Keys of a path item that are no method and need no word.
const PATH_ITEM_KEYS: [&str; 5] = ["$ref", "summary", "description", "parameters", "servers"];

/// `$ref`s from one path item to the next; a longer chain is taken for a mistake.
const CHAIN_MAX: usize = 16;

pub(super) fn operations<'a>(
    root: &'a Node,
    resolver: &Resolver<'a>,
    findings: &mut Findings,
) -> Vec<Operation> {
    let start = (root.position, root.position);
    let Some((key, paths)) = root.entry("paths") else {
        findings.push(Finding::error(
            "openapi_nothing_to_route",
            start,
            "`paths` is missing: there is nothing to route",
        ));
        return Vec::new();
    };
    if !paths.is_mapping() && !paths.is_null() {
        let message = format!("`paths` is a mapping of paths, this is {}", paths.kind());
        findings.push(Finding::error("openapi_structure", key.span(), message));
        return Vec::new();
    }
    let mut reader = Reader {
        resolver,
        findings,
        operations: Vec::new(),
        order: Vec::new(),
        ids: HashMap::new(),
        shapes: HashMap::new(),
        read: HashSet::new(),
    };
    let items = paths.entries().iter().enumerate().filter(|(_, (path, _))| !path.text.starts_with("x-"));
    // Where an operation is written out it has its id, whether the paths that refer to it come earlier or later.
    let (written_out, referring): (Vec<_>, Vec<_>) =
        items.partition(|(_, (_, item))| item.get("$ref").is_none());
    for (index, (path, item)) in written_out.into_iter().chain(referring) {
        reader.path(path, item);
        reader.order.resize(reader.operations.len(), index);
    }
    let operations = reader.in_order();
    if operations.is_empty() && findings.list.iter().all(|finding| finding.warning) {
        findings.push(Finding::error(
            "openapi_nothing_to_route",
            key.span(),
            "`paths` has no operation: there is nothing to route",
        ));
    }
    operations
}

struct Reader<'f, 'r, 'a> {
    resolver: &'r Resolver<'a>,
    findings: &'f mut Findings,
    operations: Vec<Operation>,
    /// For each operation, which path of the document it belongs to.
    order: Vec<usize>,
    /// Which operation has an id, by its index.
    ids: HashMap<&'a str, usize>,
    /// Which operation has a method and shape of path.
    shapes: HashMap<(String, &'a str), usize>,
    /// Nodes that an operation was read from: several paths may refer to one.
    read: HashSet<*const Node>,
}

impl<'a> Reader<'_, '_, 'a> {
    fn in_order(self) -> Vec<Operation> {
        let mut operations: Vec<_> = self.order.into_iter().zip(self.operations).collect();
        operations.sort_by_key(|(path, _)| *path);
        operations.into_iter().map(|(_, operation)| operation).collect()
    }

    fn error(&mut self, code: &'static str, key: &Key, message: impl Into<String>) {
        self.findings.push(Finding::error(code, key.span(), message));
    }

    fn path(&mut self, path: &'a Key, item: &'a Node) {
        let shape = match shape(&path.text) {
            Ok(shape) => shape,
            Err(why) => {
                return self.error(
                    "openapi_path",
                    path,
                    format!("`{}` is no path template: {why}", path.text),
                );
            }
        };
        let mut methods: Vec<(&'a Key, &'a Node)> = Vec::new();
        for item in self.chain(path, item) {
            for (key, operation) in item.entries() {
                if !self.is_method(key) {
                    continue;
                }
                match methods.iter().find(|(known, _)| known.text == key.text) {
                    Some((known, _)) => {
                        let message = format!(
                            "`{}` of `{}` stands here and in line {}, behind its `$ref`",
                            key.text, path.text, known.position.line
                        );
                        self.error("openapi_duplicate_operation", key, message);
                    }
                    None => methods.push((key, operation)),
                }
            }
        }
        for (method, node) in methods {
            self.operation(path, &shape, method, node);
        }
    }

    /// The path item and those it refers to, in this order.
    fn chain(&mut self, path: &Key, item: &'a Node) -> Vec<&'a Node> {
        let mut chain: Vec<&'a Node> = Vec::new();
        let mut next = item;
        loop {
            if !next.is_mapping() && !next.is_null() {
                let message =
                    format!("the item of `{}` is a mapping of methods, this is {}", path.text, next.kind());
                self.error("openapi_structure", path, message);
                return chain;
            }
            if chain.iter().any(|known| ptr::eq(*known, next)) || chain.len() == CHAIN_MAX {
                let message = format!(
                    "the `$ref` of `{}` leads in a circle, or through more than {CHAIN_MAX} items",
                    path.text
                );
                self.error("openapi_ref_cycle", path, message);
                return chain;
            }
            chain.push(next);
            let Some(reference) = next.get("$ref") else { return chain };
            match self.follow(reference) {
                Ok(target) => next = target,
                Err(finding) => {
                    self.findings.push(finding);
                    return chain;
                }
            }
        }
    }

    fn follow(&self, reference: &Node) -> Result<&'a Node, Finding> {
        let Some(text) = reference.text() else {
            let message = format!("`$ref` is a reference, this is {}", reference.kind());
            return Err(Finding::error("openapi_structure", reference.span(), message));
        };
        match self.resolver.resolve(text) {
            Target::Node(target) => Ok(target),
            Target::Missing | Target::Anchor => Err(missing(text, reference, "openapi_ref")),
            Target::Remote => Err(remote(text, reference)),
        }
    }

    /// Whether a key of a path item is a method; says what it is taken for if that is doubtful.
    fn is_method(&mut self, key: &Key) -> bool {
        let name = key.text.as_str();
        if METHODS.contains(&name) {
            return true;
        }
        if name == "servers" {
            let message = "`servers` of a path are not looked at: routing knows those of the document alone";
            self.findings.push(Finding::warning("openapi_servers_ignored", key.span(), message));
        } else if name == "<<" {
            self.error(
                "openapi_structure",
                key,
                "`<<` merges nothing in YAML 1.2: the methods it names would be lost",
            );
        } else if METHODS.contains(&name.to_ascii_lowercase().as_str()) {
            let message = format!("the method `{name}` is written in lower case");
            self.error("openapi_structure", key, message);
        } else if !name.starts_with("x-") && !PATH_ITEM_KEYS.contains(&name) {
            let message = format!("`{name}` is neither a method nor another key of a path item");
            let methods = format!("methods are {}", METHODS.join(", "));
            self.findings.push(Finding::warning("openapi_unknown_key", key.span(), message).help(methods));
        }
        false
    }

    fn operation(&mut self, path: &Key, shape: &str, method: &'a Key, node: &'a Node) {
        let name = format!("{} {}", method.text.to_ascii_uppercase(), path.text);
        if !node.is_mapping() {
            return self.error(
                "openapi_structure",
                method,
                format!("`{name}` is a mapping, this is {}", node.kind()),
            );
        }
        if let Some((key, _)) = node.entry("$ref").or_else(|| node.entry("<<")) {
            let message =
                format!("`{name}` is written out in its path item; `{}` is not read here", key.text);
            return self.error("openapi_structure", key, message);
        }
        if let Some((key, _)) = node.entry("servers") {
            let message =
                format!("`servers` of `{name}` are not looked at: routing knows those of the document alone");
            self.findings.push(Finding::warning("openapi_servers_ignored", key.span(), message));
        }
        let index = self.operations.len();
        let first = *self.shapes.entry((shape.to_owned(), &method.text)).or_insert(index);
        if first != index {
            let known = &self.operations[first];
            let message = format!(
                "`{name}` matches the same requests as `{} {}` in line {}",
                known.method, known.path, known.position.line
            );
            // Reached twice through a `$ref`, the method stands in one place; then it is the path that is too many.
            let is_same_place = known.position == method.position;
            return self.error(
                "openapi_duplicate_operation",
                if is_same_place { path } else { method },
                message,
            );
        }
        let operation_id = self.operation_id(&name, node, index);
        self.operations.push(Operation {
            operation_id,
            method: method.text.to_ascii_uppercase(),
            path: path.text.clone(),
            position: method.position,
            deprecated: node.get("deprecated").and_then(Node::as_bool).unwrap_or(false),
            summary: node.get("summary").and_then(Node::text).map(str::to_owned),
        });
    }

    fn operation_id(&mut self, name: &str, node: &'a Node, index: usize) -> Option<String> {
        let (_, id_node) = node.entry("operationId")?;
        let Some(id) = id_node.text().filter(|id| !id.is_empty()) else {
            let message = format!("the operationId of `{name}` is {}", id_node.kind());
            self.findings.push(Finding::error("openapi_structure", id_node.span(), message));
            return None;
        };
        if !self.read.insert(ptr::from_ref(node)) {
            let message =
                format!("`{name}` is served by a `$ref` to the operation `{id}`, without that id of its own");
            let help = format!("in the configuration, name it `{name}`");
            self.findings
                .push(Finding::warning("openapi_shared_operation", id_node.span(), message).help(help));
            return None;
        }
        let first = *self.ids.entry(id).or_insert(index);
        if first != index {
            let known = &self.operations[first];
            let message = format!(
                "operationId `{id}` is already that of `{} {}` in line {}",
                known.method, known.path, known.position.line
            );
            self.findings.push(Finding::error("openapi_duplicate_id", id_node.span(), message));
        }
        Some(id.to_owned())
    }
}
