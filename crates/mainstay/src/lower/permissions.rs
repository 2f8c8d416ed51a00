//! Policies: from the files and what is known of the operations to what decides.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_authz::{FieldKind, Finding, Inputs, Policies, Severity};
use mainstay_config::checked::{self, Auth, Checked, PolicyFolder};
use mainstay_config::{Outcome, Problem};
use mainstay_policy::route::Template;
use mainstay_proxy::metrics;
use mainstay_proxy::plan::AuthorizePlan;

use super::{Defect, Place, Surroundings};

/// The policies of a configuration; `None`: it has none.
pub(super) fn live(checked: &Checked) -> Result<Option<Arc<ArcSwap<Policies>>>, Defect> {
    let built = build(checked).map_err(|findings| {
        Defect(findings.first().map_or_else(String::new, |finding| finding.message.clone()))
    })?;
    Ok(built.map(|policies| Arc::new(ArcSwap::from_pointee(policies))))
}

pub(super) fn plan(
    place: &Place<'_>,
    operation: &checked::Operation,
    with: &Surroundings<'_>,
) -> Result<AuthorizePlan, Defect> {
    let template = &operation.template;
    Ok(AuthorizePlan {
        operation: place.number,
        template: Template::parse(template).map_err(|error| Defect(format!("{template}: {error}")))?,
        metrics: metrics::authorize(with.registry, &place.api.name),
    })
}

/// Builds the policies of a configuration.
pub(crate) fn build(checked: &Checked) -> Result<Option<Policies>, Vec<Finding>> {
    let Some(permissions) = &checked.permissions else { return Ok(None) };
    let files = |folder: &Option<PolicyFolder>| {
        let files = folder.iter().flat_map(|folder| &folder.files);
        files
            .map(|file| mainstay_authz::PolicyFile {
                folder: file.folder.clone(),
                path: file.path.display().to_string(),
                text: file.text.clone(),
            })
            .collect()
    };
    let inputs = Inputs {
        policies: files(&permissions.policies),
        shadow: files(&permissions.shadow),
        operations: operations(checked),
        plans: None,
        ..Inputs::default()
    };
    Policies::build(&inputs).map(Some)
}

/// Every operation, in the order of their numbers.
fn operations(checked: &Checked) -> Vec<mainstay_authz::Operation> {
    let versions =
        checked.apis.values().flat_map(|api| api.versions.values().map(move |version| (api, version)));
    let operations =
        versions.flat_map(|(api, version)| version.operations.iter().map(move |o| (api, version, o)));
    operations.map(|(api, version, o)| operation(api, version, o)).collect()
}

fn operation(
    api: &checked::Api,
    version: &checked::Version,
    operation: &checked::Operation,
) -> mainstay_authz::Operation {
    let names = Template::parse(&operation.template);
    let field = |field: &checked::BodyField| mainstay_authz::BodyField {
        name: field.name.clone(),
        at: field.at.clone(),
        kind: match field.kind {
            checked::FieldKind::Long => FieldKind::Long,
            checked::FieldKind::Decimal => FieldKind::Decimal,
            checked::FieldKind::String => FieldKind::String,
            checked::FieldKind::Bool => FieldKind::Bool,
        },
        required: true,
    };
    mainstay_authz::Operation {
        api: api.name.clone(),
        version: version.name.clone(),
        name: operation.name.clone(),
        action: operation.authorize.action.clone(),
        path: names.map(|t| t.names().map(str::to_owned).collect()).unwrap_or_default(),
        body: operation.authorize.body.iter().map(field).collect(),
        anonymous: operation.auth == Auth::None,
    }
}

/// Looks at the policies of what has been loaded: what is wrong with them is wrong with the configuration.
pub(crate) fn look(outcome: &mut Outcome) {
    let Some(checked) = &outcome.checked else { return };
    match build(checked) {
        Ok(built) => {
            let warnings = built.iter().flat_map(Policies::warnings);
            outcome.problems.extend(warnings.map(problem));
        }
        Err(findings) => {
            outcome.problems.extend(findings.iter().map(problem));
            outcome.checked = None;
        }
    }
}

/// A finding as a reload and `check` report it.
pub(crate) fn problem(finding: &Finding) -> Problem {
    let mut problem = Problem::error(finding.code, finding.message.clone()).at_file(&finding.file);
    if finding.severity == Severity::Warning {
        problem.severity = mainstay_config::Severity::Warning;
    }
    (problem.line, problem.column, problem.length) = (finding.line, finding.column, finding.length);
    problem.source_line.clone_from(&finding.source_line);
    problem.help.clone_from(&finding.help);
    problem.key = "permissions".to_owned();
    problem
}
