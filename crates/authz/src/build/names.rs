//! Names that no schema knows: groups and plans live in the catalogue.

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, Var};

use super::Build;
use super::parse::Parsed;
use crate::finding::{Finding, nearest};
use crate::reads::{chain, children};

impl<'a> Build<'a> {
    /// Warns about groups and plans that are not there, where it is known which are.
    pub(crate) fn known_names(&mut self, side: &[Parsed<'a>]) {
        let inputs = self.inputs;
        for policy in side {
            if let Some(groups) = &inputs.groups {
                let literals = policy.policy.entity_literals().into_iter();
                let named = literals.filter(|uid| uid.type_name().to_string() == "Group");
                named.for_each(|uid| self.known("group", uid.id().unescaped(), groups, policy));
            }
            if let Some(plans) = &inputs.plans {
                plans_of(policy).iter().for_each(|plan| self.known("plan", plan, plans, policy));
            }
        }
    }

    fn known(&mut self, what: &str, name: &str, known: &[String], policy: &Parsed<'a>) {
        if known.iter().any(|known| known == name) {
            return;
        }
        let finding = Finding::error("policy_unknown_name", format!("there is no {what} `{name}`")).warning();
        let finding = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => finding.help(format!("is `{near}` meant?")),
            None => finding.help("nobody is in it, so what it says holds for nobody"),
        };
        self.findings.push(policy.place(finding));
    }
}

/// What the policy compares `principal.plan` with.
fn plans_of(policy: &Parsed<'_>) -> Vec<String> {
    let mut plans = Vec::new();
    let mut open: Vec<&Expr> = Vec::new();
    for clause in policy.tree.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        open.push(condition);
    }
    while let Some(expr) = open.pop() {
        if let Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq, left, right } = expr {
            for (side, other) in [(left, right), (right, left)] {
                let is_plan = matches!(chain(side), Some((Var::Principal, names)) if names == ["plan"]);
                if let (true, Expr::Literal(Literal::String(plan))) = (is_plan, &**other) {
                    plans.push(plan.to_string());
                }
            }
        }
        children(expr, &mut |child| open.push(child));
    }
    plans
}
