//! Local references: `#/components/pathItems/a~1b`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr;

use crate::tree::{Node, Value};

/// Mappings up to this size are searched through; larger ones get an index on first use.
const SEARCHED_MAX: usize = 16;

/// Where a reference leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Node(&'a Node),
    /// Inside the document, but there is nothing.
    Missing,
    /// To another file or URL.
    Remote,
    /// A name (`#address`) that a schema gives itself; not looked up.
    Anchor,
}

type Index<'a> = HashMap<&'a str, &'a Node>;

/// Follows references within one document. Each costs about the number of its segments, however large the mappings
/// are: thousands of references into a mapping of thousands of schemas are usual.
pub(super) struct Resolver<'a> {
    root: &'a Node,
    /// By address of the mapping, which does not move while it is borrowed.
    indices: RefCell<HashMap<*const Node, Index<'a>>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(root: &'a Node) -> Resolver<'a> {
        Resolver { root, indices: RefCell::default() }
    }

    pub(super) fn resolve(&self, reference: &str) -> Target<'a> {
        let Some(fragment) = reference.strip_prefix('#') else { return Target::Remote };
        if fragment.is_empty() {
            return Target::Node(self.root);
        }
        let Some(pointer) = fragment.strip_prefix('/') else { return Target::Anchor };
        let Some(pointer) = percent_decoded(pointer) else { return Target::Missing };
        let mut node = self.root;
        for segment in pointer.split('/') {
            let key = if segment.contains('~') {
                Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))
            } else {
                Cow::Borrowed(segment)
            };
            match self.child(node, &key) {
                Some(child) => node = child,
                None => return Target::Missing,
            }
        }
        Target::Node(node)
    }

    fn child(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        match &node.value {
            Value::Mapping(entries) if entries.len() <= SEARCHED_MAX => node.get(key),
            Value::Mapping(entries) => {
                let mut indices = self.indices.borrow_mut();
                let index = indices.entry(ptr::from_ref(node)).or_insert_with(|| {
                    entries.iter().map(|(key, child)| (key.text.as_str(), child)).collect()
                });
                index.get(key).copied()
            }
            Value::Sequence(items) => {
                let is_index =
                    key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
                items.get(key.parse::<usize>().ok().filter(|_| is_index)?)
            }
            Value::Scalar { .. } => None,
        }
    }
}

/// `None` for a broken escape or what is not UTF-8 behind it.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    decoded.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::{Resolver, Target};
    use crate::tree::{Limits, parse};

    #[test]
    fn pointers_lead_where_they_say() {
        let many: String = (0..40).map(|n| format!("  k{n}: v{n}\n")).collect();
        let text = format!(
            "a: {{b/c: 1, d~e: 2, 'f g': 3, '%': 4, '': 5, 'é': 6, '~1': 7}}\nl: [x, [y]]\nm:\n{many}"
        );
        let root = parse(&text, &Limits::default()).unwrap();
        let resolver = Resolver::new(&root);
        for (reference, expected) in [
            ("#/a/b~1c", Some("1")),
            ("#/a/d~0e", Some("2")),
            ("#/a/~01", Some("7")),
            ("#/a/f%20g", Some("3")),
            ("#/a/%25", Some("4")),
            ("#/a/", Some("5")),
            ("#/a/%C3%A9", Some("6")),
            ("#/a/b%7E1c", Some("1")),
            ("#/l/0", Some("x")),
            ("#/l/1/0", Some("y")),
            ("#/m/k0", Some("v0")),
            ("#/m/k39", Some("v39")),
            ("#/a/b/c", None),
            ("#/a/b~1c/d", None),
            ("#/a/%zz", None),
            ("#/a/%+1", None),
            ("#/a/%", None),
            ("#/a/%C3", None),
            ("#/l/2", None),
            ("#/l/01", None),
            ("#/l/+1", None),
            ("#/l/-", None),
            ("#/m/k40", None),
            ("#/M", None),
        ] {
            let found = match resolver.resolve(reference) {
                Target::Node(node) => node.text(),
                other => {
                    assert_eq!(other, Target::Missing, "{reference}");
                    None
                }
            };
            assert_eq!(found, expected, "{reference}");
        }
        assert_eq!(resolver.resolve("#"), Target::Node(&root));
        assert_eq!(resolver.resolve("#name"), Target::Anchor);
        for remote in ["other.yaml#/a", "https://example.com/a", "a", ""] {
            assert_eq!(resolver.resolve(remote), Target::Remote, "{remote}");
        }
    }
}
