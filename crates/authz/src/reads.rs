//! What a policy reads: found by walking its syntax tree.
//!
//! Three things depend on it: only what is read is handed to Cedar, a decision may be cached only where everything that
//! was read is in the key, and a body is needed only where a policy looks into it. So this errs on one side: what is not
//! plainly a smaller thing counts as the whole.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, Expr, SmolStr, Template, Var};

/// What one policy, or a set of them, reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Attributes of the principal, by their first name.
    pub(crate) principal: Names,
    /// Path parameters.
    pub(crate) path: Names,
    /// Fields of the body.
    pub(crate) body: Names,
    /// What else is in the context, by its first name; without `body`.
    pub(crate) context: Names,
}

/// Some names, or whatever there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// All there are.
    pub(crate) whole: bool,
    /// These, at least.
    pub(crate) names: BTreeSet<String>,
    /// Those of `names` that are read in a policy which nowhere asks by `has` whether they are there.
    pub(crate) unasked: BTreeSet<String>,
}

impl Names {
    /// Whether this one is read.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.whole || self.names.contains(name)
    }

    /// Whether nothing is read.
    pub(crate) fn is_empty(&self) -> bool {
        !self.whole && self.names.is_empty()
    }

    fn add(&mut self, other: &Self) {
        self.whole |= other.whole;
        self.names.extend(other.names.iter().cloned());
        self.unasked.extend(other.unasked.iter().cloned());
    }
}

impl Reads {
    /// What this policy reads.
    pub(crate) fn of(policy: &Template) -> Self {
        let mut walk = Walk::default();
        for clause in policy.clauses() {
            let (Clause::When(condition) | Clause::Unless(condition)) = clause;
            walk.expr(condition);
        }
        let Walk { mut reads, asked } = walk;
        for (part, names) in [
            (Part::Principal, &mut reads.principal),
            (Part::Path, &mut reads.path),
            (Part::Body, &mut reads.body),
        ] {
            let is_asked = |name: &&String| asked.contains(&(part, (*name).clone()));
            names.unasked = names.names.iter().filter(|name| !is_asked(name)).cloned().collect();
        }
        reads
    }

    /// Adds what another policy reads.
    pub(crate) fn add(&mut self, other: &Self) {
        self.principal.add(&other.principal);
        self.path.add(&other.path);
        self.body.add(&other.body);
        self.context.add(&other.context);
    }

    /// Whether anything of `context` is read: then a decision is good for one request only.
    pub(crate) fn has_context(&self) -> bool {
        !self.body.is_empty() || !self.context.is_empty()
    }
}

/// Levels of the condition's tree. Cedar recurses once for each, on a worker's stack when it decides.
pub(crate) fn depth(policy: &Template) -> usize {
    let mut deepest = 0;
    let mut open: Vec<(usize, &Expr)> = Vec::new();
    // Cedar joins the clauses one within the other, and writes `has a.b.c` out as three questions.
    let clauses = policy.clauses().len();
    for clause in policy.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        open.push((clauses, condition));
    }
    while let Some((depth, expr)) = open.pop() {
        let asked = if let Expr::HasAttr { attrs, .. } = expr { 2 * attrs.len() } else { 0 };
        deepest = deepest.max(depth + asked);
        children(expr, &mut |child| open.push((depth + 1, child)));
    }
    deepest
}

/// Calls `each` with the direct parts of an expression.
pub(crate) fn children<'a>(expr: &'a Expr, each: &mut dyn FnMut(&'a Expr)) {
    match expr {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => each(expr),
        Expr::BinaryOp { left, right, .. } => {
            each(left);
            each(right);
        }
        Expr::Is { expr, in_expr, .. } => {
            each(expr);
            in_expr.iter().for_each(|group| each(group));
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            each(cond);
            each(then_expr);
            each(else_expr);
        }
        Expr::Set(items) => items.iter().for_each(|item| each(item)),
        Expr::Record(members) => members.values().for_each(|member| each(member)),
        _ => {}
    }
}

/// `principal.limits.refund` as its variable and its names, outermost first; `None` where it begins with anything else.
pub(crate) fn chain(expr: &Expr) -> Option<(Var, Vec<&str>)> {
    let mut names = Vec::new();
    let mut at = expr;
    loop {
        match at {
            Expr::GetAttr { expr, attr } => {
                names.push(attr.as_str());
                at = expr;
            }
            Expr::Var(var) => {
                names.reverse();
                return Some((var.clone(), names));
            }
            _ => return None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Principal,
    Path,
    Body,
}

#[derive(Default)]
struct Walk {
    reads: Reads,
    asked: BTreeSet<(Part, String)>,
}

impl Walk {
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Var(var) => self.read(var, &[], false),
            Expr::GetAttr { .. } => match chain(expr) {
                Some((var, names)) => self.read(&var, &names, false),
                None => self.parts(expr),
            },
            Expr::HasAttr { expr: of, attrs } => match chain(of) {
                Some((var, mut names)) => {
                    names.extend(attrs.iter().map(SmolStr::as_str));
                    self.read(&var, &names, true);
                }
                None => self.parts(expr),
            },
            // Comparing entities looks at who they are and at their groups, not at what they have.
            Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::In, left, right } => {
                self.unless_entity(left);
                self.unless_entity(right);
            }
            Expr::Is { expr: entity, in_expr, .. } => {
                self.unless_entity(entity);
                in_expr.iter().for_each(|group| self.unless_entity(group));
            }
            _ => self.parts(expr),
        }
    }

    fn parts(&mut self, expr: &Expr) {
        children(expr, &mut |child| self.expr(child));
    }

    fn unless_entity(&mut self, expr: &Expr) {
        if !matches!(expr, Expr::Var(Var::Principal | Var::Resource | Var::Action)) {
            self.expr(expr);
        }
    }

    fn read(&mut self, var: &Var, names: &[&str], is_asked: bool) {
        let (part, into, name) = match (var, names) {
            (Var::Action, _) | (Var::Resource, ["api" | "version", ..]) => return,
            // Both are always there, so asking for them alone looks at nothing in them.
            (Var::Resource, ["path"]) | (Var::Context, ["body"]) if is_asked => return,
            (Var::Principal, [name, ..]) => (Some(Part::Principal), &mut self.reads.principal, *name),
            (Var::Principal, []) => return self.reads.principal.whole = true,
            (Var::Resource, ["path", name, ..]) => (Some(Part::Path), &mut self.reads.path, *name),
            (Var::Resource, _) => return self.reads.path.whole = true,
            (Var::Context, ["body", name, ..]) => (Some(Part::Body), &mut self.reads.body, *name),
            (Var::Context, ["body"]) => return self.reads.body.whole = true,
            (Var::Context, [name, ..]) => (None, &mut self.reads.context, *name),
            (Var::Context, []) => {
                self.reads.body.whole = true;
                return self.reads.context.whole = true;
            }
        };
        into.names.insert(name.to_owned());
        if let (Some(part), true) = (part, is_asked) {
            self.asked.insert((part, name.to_owned()));
        }
    }
}
