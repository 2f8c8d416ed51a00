//! The route table: built once from the configuration, read by every request.

use std::cmp::Reverse;
use std::fmt;

use rustc_hash::FxHashMap;

use super::Template;
use super::template::Segment;

/// Which hosts a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host, and requests without one.
    Any,
    /// A name or address, in lower case.
    Exact(String),
    /// `*.example.com`, held as `example.com`: one or more labels before it, never the name itself.
    Suffix(String),
}

/// Why a text is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError(&'static str);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for HostError {}

impl HostPattern {
    /// Reads `*`, `*.example.com`, `api.example.com`, `192.0.2.1` or `[2001:db8::1]`, in any case.
    ///
    /// # Errors
    /// A port, a trailing dot, an empty label, a `*` elsewhere, characters that no host name has (names outside ASCII
    /// are written in their `xn--` form), more than 253 characters.
    pub fn parse(text: &str) -> Result<HostPattern, HostError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let host = text.to_ascii_lowercase();
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match address.parse::<std::net::Ipv6Addr>() {
                Ok(address) => Ok(HostPattern::Exact(format!("[{address}]"))),
                Err(_) => Err(HostError("this is no IPv6 address")),
            };
        }
        match host.strip_prefix("*.") {
            Some(suffix) => check_name(suffix).map(|()| HostPattern::Suffix(suffix.to_owned())),
            None => check_name(&host).map(|()| HostPattern::Exact(host)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

fn check_name(name: &str) -> Result<(), HostError> {
    if name.contains('*') {
        return Err(HostError("`*` may stand alone or for the first labels (`*.example.com`)"));
    }
    if name.contains(':') {
        return Err(HostError("a host has no port here"));
    }
    if name.len() > 253 {
        return Err(HostError("a host name has at most 253 characters"));
    }
    if name.split('.').any(str::is_empty) {
        return Err(HostError("a host name has no empty label and does not end in a dot"));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(is_allowed) {
        return Err(HostError(
            "a host name has letters, digits and `-`; others are written in their `xn--` form",
        ));
    }
    Ok(())
}

/// Which methods a route is for. Methods are compared as they are; standard ones are upper case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MethodSpec {
    Any,
    Only(Box<str>),
}

impl MethodSpec {
    /// `*` for any, otherwise the method of that name.
    pub fn new(method: &str) -> MethodSpec {
        if method == "*" { MethodSpec::Any } else { MethodSpec::Only(method.into()) }
    }
}

impl fmt::Display for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MethodSpec::Any => f.write_str("*"),
            MethodSpec::Only(method) => f.write_str(method),
        }
    }
}

/// A route of the same host, the same shape (names of parameters aside) and the same method is there already.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict<'a, T> {
    /// What was entered first, and stays.
    pub existing: &'a T,
    /// The template it was entered with, as written.
    pub existing_template: &'a str,
}

pub(super) type NodeId = u32;
pub(super) type EntryId = u32;

pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) names: Box<[Box<str>]>,
    template: Box<str>,
}

/// A place in the tree: the segments from the root to here have matched.
#[derive(Default)]
pub(super) struct Node {
    /// The key of a trailing slash is the empty text.
    pub(super) statics: FxHashMap<Box<str>, NodeId>,
    /// Most specific first, once built.
    pub(super) affixes: Vec<Affix>,
    pub(super) param: Option<NodeId>,
    pub(super) wildcard: Option<NodeId>,
    /// What is served here, by method.
    pub(super) methods: Vec<(Box<str>, EntryId)>,
    pub(super) any: Option<EntryId>,
}

pub(super) struct Affix {
    pub(super) prefix: Box<str>,
    pub(super) suffix: Box<str>,
    pub(super) child: NodeId,
}

/// The roots of the trees, by host.
#[derive(Default)]
pub(super) struct Hosts {
    pub(super) exact: FxHashMap<Box<str>, NodeId>,
    pub(super) suffixes: FxHashMap<Box<str>, NodeId>,
    /// Labels of the longest suffix: longer tails of a host need not be looked up.
    pub(super) suffix_labels_max: usize,
    pub(super) any: Option<NodeId>,
}

/// Collects routes; the order in which they are entered does not matter.
pub struct RouterBuilder<T> {
    router: Router<T>,
}

/// The finished route table. See the module for how a route is chosen.
pub struct Router<T> {
    pub(super) hosts: Hosts,
    pub(super) nodes: Vec<Node>,
    pub(super) entries: Vec<Entry<T>>,
}

impl<T> Default for RouterBuilder<T> {
    fn default() -> Self {
        RouterBuilder { router: Router { hosts: Hosts::default(), nodes: Vec::new(), entries: Vec::new() } }
    }
}

impl<T> RouterBuilder<T> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a route. A route for any method and one for a certain method do not conflict: the latter is more
    /// specific.
    ///
    /// # Errors
    /// The same route is there already; `value` is dropped and nothing has changed.
    pub fn insert(
        &mut self,
        host: &HostPattern,
        template: &Template,
        method: MethodSpec,
        value: T,
    ) -> Result<(), Conflict<'_, T>> {
        let root = self.root(host);
        let place = template.segments.iter().fold(root, |node, segment| self.child(node, segment));
        let Router { nodes, entries, .. } = &mut self.router;
        let node = &mut nodes[place as usize];
        let existing = match &method {
            MethodSpec::Any => node.any,
            MethodSpec::Only(method) => {
                node.methods.iter().find(|(known, _)| known == method).map(|(_, id)| *id)
            }
        };
        if let Some(existing) = existing {
            let entry = &entries[existing as usize];
            return Err(Conflict { existing: &entry.value, existing_template: &entry.template });
        }
        let id = id_of(entries.len());
        match method {
            MethodSpec::Any => node.any = Some(id),
            MethodSpec::Only(method) => node.methods.push((method, id)),
        }
        entries.push(Entry { value, names: template.names.clone(), template: template.text().into() });
        Ok(())
    }

    pub fn build(mut self) -> Router<T> {
        for node in &mut self.router.nodes {
            node.affixes.sort_by(|a, b| a.rank().cmp(&b.rank()));
            node.affixes.shrink_to_fit();
            node.methods.shrink_to_fit();
            node.statics.shrink_to_fit();
        }
        self.router
    }

    fn root(&mut self, host: &HostPattern) -> NodeId {
        let Router { hosts, nodes, .. } = &mut self.router;
        let mut add = || new_node(nodes);
        match host {
            HostPattern::Any => *hosts.any.get_or_insert_with(add),
            HostPattern::Exact(host) => *hosts.exact.entry(host.as_str().into()).or_insert_with(add),
            HostPattern::Suffix(suffix) => {
                hosts.suffix_labels_max = hosts.suffix_labels_max.max(suffix.split('.').count());
                *hosts.suffixes.entry(suffix.as_str().into()).or_insert_with(&mut add)
            }
        }
    }

    fn child(&mut self, parent: NodeId, segment: &Segment) -> NodeId {
        let nodes = &mut self.router.nodes;
        if let Some(child) = existing_child(&nodes[parent as usize], segment) {
            return child;
        }
        let child = new_node(nodes);
        let node = &mut nodes[parent as usize];
        match segment {
            Segment::Static(text) => {
                node.statics.insert(text.clone(), child);
            }
            Segment::Param { prefix, suffix } if prefix.is_empty() && suffix.is_empty() => {
                node.param = Some(child);
            }

            Segment::Param { prefix, suffix } => {
                node.affixes.push(Affix { prefix: prefix.clone(), suffix: suffix.clone(), child });
            }
            Segment::Wildcard => node.wildcard = Some(child),
        }
        child
    }
}

impl<T> Router<T> {
    /// Number of routes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All values, in the order in which they were entered.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }
}

impl Affix {
    /// Smaller is more specific.
    fn rank(&self) -> (Reverse<usize>, Reverse<usize>, &str, &str) {
        let literal = self.prefix.len() + self.suffix.len();
        (Reverse(literal), Reverse(self.prefix.len()), &self.prefix, &self.suffix)
    }
}

fn existing_child(node: &Node, segment: &Segment) -> Option<NodeId> {
    match segment {
        Segment::Static(text) => node.statics.get(text).copied(),
        Segment::Param { prefix, suffix } if prefix.is_empty() && suffix.is_empty() => node.param,
        Segment::Param { prefix, suffix } => {
            let same = |affix: &&Affix| affix.prefix == *prefix && affix.suffix == *suffix;
            node.affixes.iter().find(same).map(|affix| affix.child)
        }
        Segment::Wildcard => node.wildcard,
    }
}

fn new_node(nodes: &mut Vec<Node>) -> NodeId {
    nodes.push(Node::default());
    id_of(nodes.len() - 1)
}

/// A table of four thousand million entries does not fit into memory, so this does not wrap.
fn id_of(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 routes")
}
