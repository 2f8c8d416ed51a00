//! Finding the route of a request.

use std::collections::BTreeSet;
use std::fmt;

use super::plan::{Affix, EntryId, Hosts, Node, NodeId, Router};
use super::{PARAMS_MAX, SEGMENTS_MAX};

/// The answer to "what serves this?".
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and boxing it would allocate per request"
)]
pub enum Lookup<'r, 'p, T> {
    Found {
        value: &'r T,
        params: Params<'r, 'p>,
    },
    /// The path is known, the method is not. `allow` is ready for the `Allow` header: sorted, with `HEAD` where there
    /// is `GET`, always with `OPTIONS`, which the engine answers itself.
    MethodNotAllowed {
        allow: String,
    },
    NotFound,
}

/// The parameters of a path, in the order of the template; values are canonical text, not decoded.
#[derive(Clone, Copy)]
pub struct Params<'r, 'p> {
    /// As many as there are values in use; the other places hold left-overs of the search.
    names: &'r [Box<str>],
    values: [&'p str; PARAMS_MAX],
}

impl<'r, 'p> Params<'r, 'p> {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&'p str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Name and value, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = (&'r str, &'p str)> {
        self.names.iter().map(|name| &**name).zip(self.values)
    }
}

impl fmt::Debug for Params<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> Router<T> {
    /// Finds the route for a canonical path (see [`super::canonical_path`]). `host` is in lower case, without port
    /// and trailing dot. Allocates only for [`Lookup::MethodNotAllowed`].
    pub fn find<'r, 'p>(&'r self, host: Option<&str>, path: &'p str, method: &str) -> Lookup<'r, 'p, T> {
        let mut search = Search {
            nodes: &self.nodes,
            segments: Segments::new(path),
            method,
            values: [""; PARAMS_MAX],
            matched: false,
            allow: None,
        };
        if !search.segments.split() {
            return Lookup::NotFound;
        }
        if let Some(id) = self.hosts.visit(host, |root| search.walk(root, 0, 0)) {
            let entry = &self.entries[id as usize];
            return Lookup::Found {
                value: &entry.value,
                params: Params { names: &entry.names, values: search.values },
            };
        }
        if !search.matched {
            return Lookup::NotFound;
        }
        search.allow = Some(BTreeSet::from(["OPTIONS"]));
        self.hosts.visit(host, |root| search.walk(root, 0, 0));
        let methods: Vec<&str> = search.allow.unwrap_or_default().into_iter().collect();
        Lookup::MethodNotAllowed { allow: methods.join(", ") }
    }
}

impl Hosts {
    /// Visits the roots for a host, most specific first, until one gives an answer.
    fn visit<R>(&self, host: Option<&str>, mut visit: impl FnMut(NodeId) -> Option<R>) -> Option<R> {
        if let Some(host) = host {
            let exact = self.exact.get(host).and_then(|root| visit(*root));
            if exact.is_some() {
                return exact;
            }
            if self.suffix_labels_max > 0 {
                let suffix = self.suffixes_of(host).find_map(&mut visit);
                if suffix.is_some() {
                    return suffix;
                }
            }
        }
        self.any.and_then(visit)
    }

    /// The suffixes that `host` ends in, longest first.
    fn suffixes_of(&self, host: &str) -> impl Iterator<Item = NodeId> {
        let labels = memchr::memchr_iter(b'.', host.as_bytes()).count() + 1;
        let known_lengths = labels.saturating_sub(self.suffix_labels_max + 1);
        let tails = memchr::memchr_iter(b'.', host.as_bytes()).map(|dot| &host[dot + 1..]);
        tails.skip(known_lengths).filter_map(|tail| self.suffixes.get(tail).copied())
    }
}

/// Where the segments of a path begin.
struct Segments<'p> {
    path: &'p str,
    /// `starts[count]` is one behind where a last slash would stand.
    starts: [u32; SEGMENTS_MAX + 1],
    count: usize,
}

impl<'p> Segments<'p> {
    fn new(path: &'p str) -> Segments<'p> {
        Segments { path, starts: [0; SEGMENTS_MAX + 1], count: 0 }
    }

    /// Cuts the path. False for what can match nothing: no leading slash, an empty segment before the last, too many
    /// segments. Works in place, because the table is large to move.
    fn split(&mut self) -> bool {
        let path = self.path.as_bytes();
        let Ok(path_len) = u32::try_from(path.len()) else { return false };
        if path.first() != Some(&b'/') {
            return false;
        }
        let mut last_start = 0;
        // Segments are short: a plain loop costs less than setting up a vectorised search for each of them.
        for (start, byte) in (1..=path_len).zip(path) {
            if *byte != b'/' {
                continue;
            }
            let is_empty_before = start == last_start + 1 && start > 1;
            if is_empty_before || self.count == SEGMENTS_MAX {
                return false;
            }
            self.starts[self.count] = start;
            self.count += 1;
            last_start = start;
        }
        self.starts[self.count] = path_len.saturating_add(1);
        true
    }

    fn get(&self, index: usize) -> Option<&'p str> {
        (index < self.count).then(|| &self.path[self.start(index)..self.start(index + 1) - 1])
    }

    fn rest(&self, index: usize) -> &'p str {
        &self.path[self.start(index)..]
    }

    fn start(&self, index: usize) -> usize {
        self.starts[index] as usize
    }
}

/// One walk through the trees of a request's hosts.
struct Search<'r, 'p, 'm> {
    nodes: &'r [Node],
    segments: Segments<'p>,
    method: &'m str,
    values: [&'p str; PARAMS_MAX],
    /// Some template matched the path, whatever its methods.
    matched: bool,
    /// Filled instead of answering, on the second walk of a request that is refused.
    allow: Option<BTreeSet<&'r str>>,
}

impl<'p> Search<'_, 'p, '_> {
    /// Tries what stands below a node, most specific first. Recurses once per segment, at most [`SEGMENTS_MAX`] deep.
    fn walk(&mut self, id: NodeId, depth: usize, filled: usize) -> Option<EntryId> {
        let node = &self.nodes[id as usize];
        let Some(segment) = self.segments.get(depth) else { return self.serve(node) };
        if let Some(child) = node.statics.get(segment)
            && let Some(found) = self.walk(*child, depth + 1, filled)
        {
            return Some(found);
        }
        if !segment.is_empty() {
            for affix in &node.affixes {
                let Some(value) = affix.value_in(segment) else { continue };
                self.values[filled] = value;
                if let Some(found) = self.walk(affix.child, depth + 1, filled + 1) {
                    return Some(found);
                }
            }
            if let Some(child) = node.param {
                self.values[filled] = segment;
                if let Some(found) = self.walk(child, depth + 1, filled + 1) {
                    return Some(found);
                }
            }
        }
        let wildcard = node.wildcard?;
        self.values[filled] = self.segments.rest(depth);
        self.serve(&self.nodes[wildcard as usize])
    }
}

impl<'r> Search<'r, '_, '_> {
    /// The path matches here: does anything here serve the method?
    fn serve(&mut self, node: &'r Node) -> Option<EntryId> {
        if node.methods.is_empty() && node.any.is_none() {
            return None;
        }
        self.matched = true;
        if let Some(allow) = &mut self.allow {
            allow.extend(node.methods.iter().map(|(method, _)| &**method));
            if allow.contains("GET") {
                allow.insert("HEAD");
            }
            return None;
        }
        let only =
            |wanted: &str| node.methods.iter().find(|(method, _)| **method == *wanted).map(|(_, id)| *id);
        only(self.method).or_else(|| if self.method == "HEAD" { only("GET") } else { None }).or(node.any)
    }
}

impl Affix {
    /// The value between prefix and suffix, if there is one.
    fn value_in<'p>(&self, segment: &'p str) -> Option<&'p str> {
        let value = segment.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        let is_cut = !self.suffix.is_empty() && ends_within_escape(value);
        (!value.is_empty() && !is_cut).then_some(value)
    }
}

/// A suffix such as `9` must not take the last digit of `%C3%A9`.
fn ends_within_escape(value: &str) -> bool {
    matches!(value.as_bytes(), [.., b'%'] | [.., b'%', _])
}
