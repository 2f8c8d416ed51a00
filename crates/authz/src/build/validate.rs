//! Policies against the schema, strictly, and against what a schema cannot say.

use std::collections::BTreeMap;

use cedar_policy::{
    PolicyId, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};

use super::parse::{Parsed, diagnostic};
use super::slice::may_apply;
use super::{Build, Schemas, shown};
use crate::finding::{Finding, nearest};
use crate::inputs::{ALL, Operation};

impl<'a> Build<'a> {
    /// Validates each folder's policies against the schema of what they can affect.
    pub(crate) fn validate(&mut self, side: &[Parsed<'a>], schemas: &Schemas) {
        let mut folders: BTreeMap<&str, Vec<&Parsed<'a>>> = BTreeMap::new();
        for policy in side {
            folders.entry(policy.folder).or_default().push(policy);
        }
        for (folder, policies) in folders {
            let text = if folder == ALL { &schemas.all } else { &schemas.apis[folder] };
            let schema = match Schema::from_cedarschema_str(text) {
                Ok((schema, _)) => schema,
                Err(error) => {
                    let message = format!("no schema could be made for `{folder}`: {error}");
                    self.findings.push(Finding::error("policies_schema", message));
                    continue;
                }
            };
            let set = match PolicySet::from_policies(policies.iter().map(|policy| policy.policy.clone())) {
                Ok(set) => set,
                Err(error) => {
                    self.findings.push(Finding::error("policies_unreadable", error.to_string()));
                    continue;
                }
            };
            let by_name: BTreeMap<&str, &Parsed<'a>> =
                policies.iter().map(|policy| (&*policy.name, *policy)).collect();
            let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
            for error in result.validation_errors() {
                let Some(policy) = by_name.get(text_of(error.policy_id())) else { continue };
                self.validation_error(error, policy);
            }
            let is_wrong = |id| result.validation_errors().any(|error| error.policy_id() == id);
            for warning in result.validation_warnings() {
                // What is wrong with a policy may well be why it never applies.
                let id = warning.policy_id();
                let Some(policy) = by_name.get(text_of(id)).filter(|_| !is_wrong(id)) else { continue };
                self.validation_warning(warning, policy);
            }
        }
    }

    fn validation_error(&mut self, error: &ValidationError, policy: &Parsed<'a>) {
        let code = match error {
            ValidationError::UnrecognizedEntityType(_) => "policy_unknown_type",
            ValidationError::UnrecognizedActionId(_) => "policy_unknown_action",
            ValidationError::UnsafeAttributeAccess(_) => "policy_unknown_attribute",
            ValidationError::UnsafeOptionalAttributeAccess(_) => "policy_attribute_may_be_missing",
            _ => "policy_type",
        };
        let mut finding = shortened(diagnostic(code, error, &policy.source, policy.begin), policy);
        let is_about_nobody = code == "policy_unknown_attribute" && finding.message.contains("`Anonymous`");
        if is_about_nobody {
            finding = finding.help(
                "operations with `auth: none` are called by nobody in particular, who has no attributes: write \
                 `principal is Consumer` in the policy's head, or ask with `principal has` first",
            );
        } else if let Some(help) = self.help_for(code, policy) {
            finding = finding.help(help);
        }
        self.findings.push(finding);
    }

    fn validation_warning(&mut self, warning: &ValidationWarning, policy: &Parsed<'a>) {
        let code = match warning {
            // Attributes and fields count as always there for those who ask, too: then `!(principal has x)` only looks
            // impossible.
            ValidationWarning::ImpossiblePolicy(_) if has_questions(policy) => return,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
                "policy_never_applies"
            }
            _ => "policy_confusing_text",
        };
        let finding = shortened(diagnostic(code, warning, &policy.source, policy.begin), policy);
        self.findings.push(finding.warning());
    }

    fn help_for(&self, code: &str, policy: &Parsed<'a>) -> Option<String> {
        match code {
            "policy_unknown_action" => {
                let unknown =
                    actions_of(policy).into_iter().find(|action| !self.has_action(policy.folder, action))?;
                let elsewhere = self.inputs.operations.iter().find(|operation| operation.action() == unknown);
                if let Some(other) = elsewhere {
                    return Some(format!(
                        "`{unknown}` is an operation of `{}`; policies in `{}/` affect `{}` alone",
                        other.api, policy.folder, policy.folder
                    ));
                }
                let names = self.operations_of(policy.folder).map(Operation::action);
                Some(match nearest(&unknown, names) {
                    Some(near) => format!("is `Action::\"{near}\"` meant?"),
                    None => "actions have the names of the api's operations".to_owned(),
                })
            }
            "policy_unknown_attribute" => Some(self.help_for_attribute(policy)),
            _ => None,
        }
    }

    fn help_for_attribute(&self, policy: &Parsed<'a>) -> String {
        if let Some(declared) = &self.inputs.attributes {
            let known = |name: &str| declared.contains_key(name) || crate::infer::RESERVED.contains(&name);
            if let Some(unknown) = policy.reads.principal.names.iter().find(|name| !known(name)) {
                let near = nearest(unknown, declared.keys().map(String::as_str));
                let near = near.map_or_else(String::new, |near| format!(" (is `{near}` meant?)"));
                return format!(
                    "declare `{unknown}` among the attributes of principals{near}, with its type"
                );
            }
        }
        let fields = self.operations_of(policy.folder).flat_map(|operation| &operation.body);
        let mut fields: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
        if let Some(field) = policy.reads.body.names.iter().find(|name| !fields.contains(&name.as_str())) {
            fields.sort_unstable();
            return match nearest(field, fields.iter().copied()) {
                Some(near) => format!("is `context.body.{near}` meant?"),
                None => format!(
                    "name it in the operation's `authorize.body`, such as `{field}: {{ at: /{field}, type: long }}`"
                ),
            };
        }
        "not every action and principal that the policy is about has it: name the actions in its head, or ask with `has` first; \
         a body's field that two apis mean differently is not there for `_all/`"
            .to_owned()
    }

    fn has_action(&self, folder: &str, action: &str) -> bool {
        self.operations_of(folder).any(|operation| operation.action() == action)
    }

    /// An operation that the policy may apply to, and a path parameter that it reads and the operation does not have.
    fn lacking<'p>(&self, policy: &'p Parsed<'a>) -> Option<(&'a Operation, &'p str)> {
        let mut operations = self.operations_of(policy.folder).filter(|of| may_apply(&policy.policy, of));
        operations.find_map(|operation| {
            let mut unasked = policy.reads.path.unasked.iter();
            Some((operation, unasked.find(|name| !operation.path.contains(name))?.as_str()))
        })
    }

    /// Path parameters count as always there; this is where they are not.
    pub(crate) fn path_parameters(&mut self, side: &[Parsed<'a>]) {
        for policy in side.iter().filter(|policy| !policy.reads.path.unasked.is_empty()) {
            let Some((operation, name)) = self.lacking(policy) else { continue };
            let message = format!(
                "`{}` reads the path parameter `{name}`, which {} does not have",
                policy.name,
                shown(operation)
            );
            let help =
                format!("name the actions in the policy's head, or ask `resource.path has {name} &&` first");
            self.findings.push(policy.place(Finding::error("policy_path_parameter", message).help(help)));
        }
    }
}

fn text_of(id: &PolicyId) -> &str {
    id.as_ref()
}

/// Cedar says which policy is meant; the place does that already.
fn shortened(mut finding: Finding, policy: &Parsed<'_>) -> Finding {
    let prefix = format!("for policy `{}`, ", policy.name);
    if let Some(rest) = finding.message.strip_prefix(&prefix) {
        finding.message = rest.to_owned();
    }
    finding
}

fn has_questions(policy: &Parsed<'_>) -> bool {
    let reads = &policy.reads;
    [&reads.principal, &reads.body, &reads.path].into_iter().any(|part| part.names.len() > part.unasked.len())
}

fn actions_of(policy: &Parsed<'_>) -> Vec<String> {
    let literals = policy.policy.entity_literals().into_iter();
    let actions = literals.filter(|uid| uid.type_name().to_string() == "Action");
    actions.map(|uid| uid.id().unescaped().to_owned()).collect()
}
