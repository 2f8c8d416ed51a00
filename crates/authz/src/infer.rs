//! Which attributes principals have, and of which types, as far as policies tell.
//!
//! A Cedar schema has to name every attribute; the catalogue may hold any. Where nobody declared them, the policies
//! themselves say what they expect: `principal.refund_max >= context.body.amount` needs a whole number, and
//! `principal.region == "eu"` a text. What they expect goes into the schema, and then every policy is validated strictly
//! against it: two policies that expect different things of one attribute cannot both pass.

use std::collections::BTreeMap;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, SmolStr, Template, UnaryOp, Var};

use crate::inputs::{AttributeKind, DeclaredAttribute, FieldKind};
use crate::reads::{Reads, chain, children};

/// What every principal has; the catalogue's attributes cannot take these names.
pub(crate) const RESERVED: [&str; 2] = ["plan", "consumer"];
/// How far attributes are looked into: `principal.a.b.c`.
const PATH_MAX: usize = 8;

/// A type as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Long,
    String,
    /// One that no attribute can have.
    Other,
    Set(Option<Box<Kind>>),
}

#[derive(Default)]
struct Found {
    kind: Option<Kind>,
    required: bool,
    parts: BTreeMap<String, Found>,
}

/// The attributes that these policies expect. `fields` are the body's fields by name, of all their actions.
pub(crate) fn attributes<'a>(
    policies: impl Iterator<Item = (&'a Template, &'a Reads)> + Clone,
    fields: &BTreeMap<&str, FieldKind>,
) -> BTreeMap<String, DeclaredAttribute> {
    let mut infer = Infer { found: BTreeMap::new(), fields };
    // Twice: what a later policy says of one attribute tells what an earlier one compared it with.
    for _ in 0..2 {
        for (policy, _) in policies.clone() {
            for clause in policy.clauses() {
                let (Clause::When(condition) | Clause::Unless(condition)) = clause;
                infer.expr(condition, Some(&Kind::Bool));
            }
        }
    }
    for (_, reads) in policies {
        for name in &reads.principal.unasked {
            infer.found.entry(name.clone()).or_default().required = true;
        }
    }
    infer.found.retain(|name, _| !RESERVED.contains(&name.as_str()));
    infer.found.into_iter().map(|(name, found)| (name, found.declared())).collect()
}

impl Found {
    fn declared(self) -> DeclaredAttribute {
        let kind = if self.parts.is_empty() {
            self.kind.as_ref().map_or(AttributeKind::String, Kind::attribute)
        } else {
            // A part is read through `has` of its own where it may be missing; the record is all or nothing.
            let parts = self
                .parts
                .into_iter()
                .map(|(name, part)| (name, DeclaredAttribute { required: true, ..part.declared() }));
            AttributeKind::Record(parts.collect())
        };
        DeclaredAttribute { kind, required: self.required }
    }
}

impl Kind {
    fn attribute(&self) -> AttributeKind {
        match self {
            Self::Bool => AttributeKind::Bool,
            Self::Long => AttributeKind::Long,
            // What cannot be is declared as something that can: validation then says where it does not fit.
            Self::String | Self::Other => AttributeKind::String,
            Self::Set(of) => {
                let of = of.as_deref().map_or(AttributeKind::String, Self::attribute);
                AttributeKind::Set(Box::new(of))
            }
        }
    }
}

struct Infer<'a> {
    found: BTreeMap<String, Found>,
    fields: &'a BTreeMap<&'a str, FieldKind>,
}

impl Infer<'_> {
    /// Goes through an expression of which its surroundings want `wanted`.
    fn expr(&mut self, expr: &Expr, wanted: Option<&Kind>) {
        match expr {
            Expr::GetAttr { .. } => match chain(expr) {
                Some((Var::Principal, names)) => self.note(&names, wanted),
                Some(_) => {}
                None => children(expr, &mut |child| self.expr(child, None)),
            },
            Expr::HasAttr { expr: of, attrs } => {
                if let Some((Var::Principal, mut names)) = chain(of) {
                    names.extend(attrs.iter().map(SmolStr::as_str));
                    self.note(&names, None);
                }
            }
            Expr::UnaryOp { op, expr } => {
                let wanted = match op {
                    UnaryOp::Not => Some(Kind::Bool),
                    UnaryOp::Neg => Some(Kind::Long),
                    UnaryOp::IsEmpty => Some(Kind::Set(None)),
                    UnaryOp::Decimal | UnaryOp::Ip | UnaryOp::Datetime | UnaryOp::Duration => {
                        Some(Kind::String)
                    }
                    _ => Some(Kind::Other),
                };
                self.expr(expr, wanted.as_ref());
            }
            Expr::BinaryOp { op, left, right } => self.binary(op, left, right),
            Expr::Like { expr, .. } => self.expr(expr, Some(&Kind::String)),
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                self.expr(cond, Some(&Kind::Bool));
                let each = self.kind(then_expr).or_else(|| self.kind(else_expr));
                let wanted = wanted.cloned().or(each);
                self.expr(then_expr, wanted.as_ref());
                self.expr(else_expr, wanted.as_ref());
            }
            Expr::Set(items) => {
                let known = items.iter().find_map(|item| self.kind(item));
                let of = match wanted {
                    Some(Kind::Set(Some(of))) => Some((**of).clone()),
                    _ => known,
                };
                items.iter().for_each(|item| self.expr(item, of.as_ref()));
            }
            _ => children(expr, &mut |child| self.expr(child, None)),
        }
    }

    fn binary(&mut self, op: &BinaryOp, left: &Expr, right: &Expr) {
        let (for_left, for_right) = match op {
            BinaryOp::And | BinaryOp::Or => (Some(Kind::Bool), Some(Kind::Bool)),
            BinaryOp::Less
            | BinaryOp::LessEq
            | BinaryOp::Greater
            | BinaryOp::GreaterEq
            | BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul => (Some(Kind::Long), Some(Kind::Long)),
            BinaryOp::Eq | BinaryOp::NotEq => (self.kind(right), self.kind(left)),
            BinaryOp::Contains => {
                let of = match self.kind(left) {
                    Some(Kind::Set(of)) => of.map(|of| *of),
                    _ => None,
                };
                (Some(Kind::Set(self.kind(right).map(Box::new))), of)
            }
            BinaryOp::ContainsAll | BinaryOp::ContainsAny => {
                let any = Kind::Set(None);
                (self.kind(right).or(Some(any.clone())), self.kind(left).or(Some(any)))
            }
            BinaryOp::In => (None, None),
            _ => (Some(Kind::Other), Some(Kind::Other)),
        };
        self.expr(left, for_left.as_ref());
        self.expr(right, for_right.as_ref());
    }

    fn note(&mut self, names: &[&str], wanted: Option<&Kind>) {
        let Some((first, rest)) = names.split_first() else { return };
        if names.len() > PATH_MAX {
            return;
        }
        let mut found = self.found.entry((*first).to_owned()).or_default();
        for name in rest {
            found = found.parts.entry((*name).to_owned()).or_default();
        }
        // What is said first holds; a set without a type for its items is better than nothing, but not than a typed one.
        if matches!(found.kind, None | Some(Kind::Set(None))) && wanted.is_some() {
            found.kind = wanted.cloned();
        }
    }

    /// The type of an expression, where it has one whatever the attributes are, or where theirs is known by now.
    fn kind(&self, expr: &Expr) -> Option<Kind> {
        Some(match expr {
            Expr::Literal(Literal::Bool(_)) => Kind::Bool,
            Expr::Literal(Literal::Long(_)) => Kind::Long,
            Expr::Literal(Literal::String(_)) => Kind::String,
            Expr::GetAttr { .. } => return self.kind_of_chain(expr),
            Expr::HasAttr { .. } | Expr::Like { .. } | Expr::Is { .. } => Kind::Bool,
            Expr::UnaryOp { op: UnaryOp::Neg, .. } => Kind::Long,
            Expr::UnaryOp { op: UnaryOp::Not | UnaryOp::IsEmpty, .. } => Kind::Bool,
            Expr::BinaryOp { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, .. } => Kind::Long,
            Expr::Set(items) => Kind::Set(items.iter().find_map(|item| self.kind(item)).map(Box::new)),
            Expr::IfThenElse { then_expr, else_expr, .. } => {
                return self.kind(then_expr).or_else(|| self.kind(else_expr));
            }
            _ => return None,
        })
    }

    fn kind_of_chain(&self, expr: &Expr) -> Option<Kind> {
        let (var, names) = chain(expr)?;
        match (var, names.as_slice()) {
            (Var::Principal, [name]) if RESERVED.contains(name) => Some(Kind::String),
            (Var::Principal, [first, rest @ ..]) => {
                let mut found = self.found.get(*first)?;
                for name in rest {
                    found = found.parts.get(*name)?;
                }
                found.kind.clone()
            }
            (Var::Resource, _) => Some(Kind::String),
            (Var::Context, ["body", name]) => self.fields.get(name).map(|kind| match kind {
                FieldKind::Long => Kind::Long,
                FieldKind::Bool => Kind::Bool,
                FieldKind::String => Kind::String,
                FieldKind::Decimal => Kind::Other,
            }),
            (Var::Context, ["hour"]) => Some(Kind::Long),
            (Var::Context, ["scopes"]) => Some(Kind::Set(Some(Box::new(Kind::String)))),
            (Var::Context, ["address"]) => Some(Kind::Other),
            (Var::Context, _) => Some(Kind::String),
            _ => None,
        }
    }
}
