//! The Cedar schema, made from what is configured: editors use its text, and policies are validated against it.
//!
//! Two kinds of it: one for each api, with the actions of that api alone, for the policies in its folder; and one with all
//! actions, for `_all/`. Where two apis have an action of the same name, `_all/` may read of its body what both mean alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::inputs::{AttributeKind, BodyField, DeclaredAttribute, FieldKind, Operation};

/// What is known of one action: of all the operations that have its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Action<'a> {
    fields: BTreeMap<&'a str, Field<'a>>,
    is_known: bool,
    is_anonymous: bool,
}

#[derive(Clone, Debug)]
struct Field<'a> {
    kind: FieldKind,
    required: bool,
    by: &'a Operation,
    /// Another operation, which means something else by this name.
    conflict: Option<(&'a Operation, FieldKind)>,
    count: usize,
}

/// A field that two operations with the same action mean differently.
#[derive(Clone, Debug)]
pub(crate) struct Conflict<'a> {
    pub(crate) action: &'a str,
    pub(crate) field: &'a str,
    pub(crate) one: (&'a Operation, FieldKind),
    pub(crate) other: (&'a Operation, FieldKind),
}

/// The actions of these operations, by name.
pub(crate) type Actions<'a> = BTreeMap<&'a str, Action<'a>>;

/// Gathers the actions of these operations.
pub(crate) fn actions<'a>(operations: impl Iterator<Item = &'a Operation>) -> Actions<'a> {
    let mut actions = Actions::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        *counts.entry(operation.action()).or_default() += 1;
        let action = actions.entry(operation.action()).or_default();
        action.is_anonymous |= operation.anonymous;
        action.is_known |= !operation.anonymous;
        for field in &operation.body {
            action.add(operation, field);
        }
    }
    // What one version requires and another does not know is not there always.
    for (name, action) in &mut actions {
        let all = counts.get(name).copied().unwrap_or_default();
        action.fields.values_mut().for_each(|field| field.required &= field.count == all);
    }
    actions
}

impl<'a> Action<'a> {
    fn add(&mut self, by: &'a Operation, field: &'a BodyField) {
        let entry = self.fields.entry(&field.name).or_insert(Field {
            kind: field.kind,
            required: field.required,
            by,
            conflict: None,
            count: 0,
        });
        entry.required &= field.required;
        entry.count += 1;
        if entry.kind != field.kind && entry.conflict.is_none() {
            entry.conflict = Some((by, field.kind));
        }
    }
}

/// The fields that are meant in two ways.
pub(crate) fn conflicts<'a>(actions: &Actions<'a>) -> Vec<Conflict<'a>> {
    let mut conflicts = Vec::new();
    for (action, Action { fields, .. }) in actions {
        for (name, field) in fields {
            if let Some(other) = field.conflict {
                conflicts.push(Conflict { action, field: name, one: (field.by, field.kind), other });
            }
        }
    }
    conflicts
}

/// The schema's text.
pub(crate) fn text(
    actions: &Actions<'_>,
    path: &BTreeSet<&str>,
    attributes: &BTreeMap<String, DeclaredAttribute>,
) -> String {
    let mut out = String::from("// Made from the configuration; changes here are lost.\n\nentity Group;\n");
    let own = members(attributes.iter().map(|(name, attribute)| (name.as_str(), attribute)));
    let comma = if own.is_empty() { "" } else { ", " };
    let principals = [
        format!(
            "entity Anonymous {{ plan: String }};\nentity Consumer in [Group] {{ plan: String, consumer: String{comma}{own} }};\n"
        ),
        format!("entity User in [Group, Consumer] {{ plan: String, consumer?: String{comma}{own} }};\n"),
    ];
    out.extend(principals);
    let path: Vec<String> = path.iter().map(|name| format!("{}: String", quoted(name))).collect();
    let _ = writeln!(
        out,
        "entity Operation {{ api: String, version: String, path: {{ {} }} }};",
        path.join(", ")
    );
    for (name, action) in actions {
        out.push('\n');
        out.push_str(&action.text(name));
    }
    out
}

impl Action<'_> {
    fn text(&self, name: &str) -> String {
        let fields = self.fields.iter().filter(|(_, field)| field.conflict.is_none());
        let fields = fields
            .map(|(name, field)| format!("{}{}: {}", quoted(name), mark(field.required), field.kind.cedar()));
        let body = fields.collect::<Vec<_>>().join(", ");
        let mut principals = Vec::new();
        if self.is_known {
            principals.extend(["Consumer", "User"]);
        }
        if self.is_anonymous {
            principals.push("Anonymous");
        }
        format!(
            "action {} appliesTo {{\n  principal: [{}],\n  resource: [Operation],\n  context: {{\n    \
             body: {{ {body} }},\n    hour: Long,\n    weekday: String,\n    address: ipaddr,\n    \
             auth_method: String,\n    mode: String,\n    scopes: Set<String>,\n  }},\n}};\n",
            quoted(name),
            principals.join(", "),
        )
    }
}

/// The path parameters of these operations. Each counts as always there; a policy that reaches an operation without it, and
/// does not ask, is found by [`crate::Policies::build`] itself.
pub(crate) fn path<'a>(operations: impl Iterator<Item = &'a Operation>) -> BTreeSet<&'a str> {
    operations.flat_map(|operation| &operation.path).map(String::as_str).collect()
}

fn members<'a>(attributes: impl Iterator<Item = (&'a str, &'a DeclaredAttribute)>) -> String {
    let member = |(name, attribute): (&str, &DeclaredAttribute)| {
        format!("{}{}: {}", quoted(name), mark(attribute.required), kind(&attribute.kind))
    };
    attributes.map(member).collect::<Vec<_>>().join(", ")
}

fn kind(of: &AttributeKind) -> String {
    match of {
        AttributeKind::Bool => "Bool".to_owned(),
        AttributeKind::Long => "Long".to_owned(),
        AttributeKind::String => "String".to_owned(),
        AttributeKind::Set(of) => format!("Set<{}>", kind(of)),
        AttributeKind::Record(parts) => {
            format!("{{ {} }}", members(parts.iter().map(|(name, part)| (name.as_str(), part))))
        }
    }
}

const fn mark(required: bool) -> &'static str {
    if required { "" } else { "?" }
}

/// As a text of Cedar's: names are anything.
fn quoted(name: &str) -> String {
    let mut out = String::from("\"");
    for char in name.chars() {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            char if char.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}
