//! From texts to policies that can decide, or to findings.
//!
//! Cedar parses, validates and drops trees by recursion. All of that happens here, off the request path, after
//! [`crate::text`] has bounded what the trees can be, on a thread with a stack that fits the bound many times over; a panic in
//! that thread is a finding. What remains afterwards is shallow enough for any worker's stack ([`DEPTH_MAX`]).

mod names;
pub(crate) mod parse;
mod slice;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::finding::{Finding, Severity, nearest};
use crate::infer;
use crate::inputs::{ALL, DeclaredAttribute, FieldKind, Inputs, Operation};
use crate::policies::Policies;
use crate::schema;
use parse::{Parsed, Side};
pub(crate) use slice::resource_id;

/// Policies of one side: enforced or shadow.
const POLICIES_MAX: usize = 2_000;
/// Files of one side.
const FILES_MAX: usize = 2_000;
/// Operations times policies that are validated for each: a bound on the time that validation takes.
const PAIRS_MAX: usize = 200_000;
/// Levels of a policy's conditions; a chain of so many `||` is better written as a set.
pub(crate) const DEPTH_MAX: usize = 100;
/// After so many the rest is not told.
const FINDINGS_MAX: usize = 200;
/// Virtual memory, of which only what is used is ever there.
const STACK_BYTES: usize = 256 << 20;

/// No two sets of one process have the same, so that a decision of an older set is never taken for one of a newer.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

/// See [`Policies::build`].
pub(crate) fn build(inputs: &Inputs) -> Result<Policies, Vec<Finding>> {
    let on_large_stack = thread::scope(|scope| {
        let work = thread::Builder::new().name("policies".to_owned()).stack_size(STACK_BYTES);
        let thread =
            work.spawn_scoped(scope, || Build::new(inputs).run()).map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "Cedar failed on them".to_owned())
    });
    match on_large_stack {
        Ok(result) => result,
        Err(why) => {
            let message = format!("the policies could not be read: {why}");
            Err(vec![
                Finding::error("policies_unreadable", message)
                    .help("take out what was added last; and please report the policy that caused it"),
            ])
        }
    }
}

/// What is at hand while policies are built.
pub(crate) struct Build<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) findings: Vec<Finding>,
    /// The operations of each api.
    pub(crate) apis: BTreeMap<&'a str, Vec<&'a Operation>>,
}

impl<'a> Build<'a> {
    fn new(inputs: &'a Inputs) -> Self {
        let mut apis: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in &inputs.operations {
            apis.entry(&operation.api).or_default().push(operation);
        }
        Self { inputs, findings: Vec::new(), apis }
    }

    fn run(mut self) -> Result<Policies, Vec<Finding>> {
        let enforced = self.side(Side::Enforced);
        let shadow = self.side(Side::Shadow);
        self.declared_names();
        if self.is_refused() {
            return Err(self.finish());
        }
        let sides = [enforced.as_slice(), shadow.as_slice()];
        let attributes = self.attributes(sides);
        let schemas = self.schemas(&attributes);
        self.body_conflicts(sides);
        let is_small = self.check_pairs(sides);
        if is_small {
            for side in sides {
                self.validate(side, &schemas);
                self.path_parameters(side);
                self.known_names(side);
            }
        }
        if self.is_refused() {
            return Err(self.finish());
        }
        let plans = self.plans(&enforced, &shadow);
        let named = enforced.iter().map(|policy| (policy.folder.to_owned(), policy.named())).collect();
        let version = VERSIONS.fetch_add(1, Ordering::Relaxed);
        let Schemas { all, apis } = schemas;
        Ok(Policies { version, plans, enforced: named, schema: all, schemas: apis, warnings: self.finish() })
    }

    fn is_refused(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// Findings in the order of files and lines, each once, and not without end.
    fn finish(self) -> Vec<Finding> {
        let mut findings = self.findings;
        let is_cut = findings.len() > FINDINGS_MAX;
        let key = |f: &Finding| (f.file.clone(), f.line, f.column, f.severity, f.code, f.message.clone());
        findings.sort_by_cached_key(key);
        // Cedar says the same once for each kind of principal and action.
        findings.dedup_by(|a, b| {
            a.line > 0 && (&a.file, a.line, a.column, a.code) == (&b.file, b.line, b.column, b.code)
        });
        if is_cut {
            // An error must not be among what is left out while warnings stay.
            findings.sort_by_key(|finding| finding.severity);
            findings.truncate(FINDINGS_MAX);
            let severity = findings.first().map_or(Severity::Error, |finding| finding.severity);
            let message = "there is more to be found than is shown";
            findings.push(Finding { severity, ..Finding::error("policies_more_findings", message) });
        }
        findings
    }

    fn declared_names(&mut self) {
        for name in self.inputs.attributes.iter().flatten().map(|(name, _)| name.as_str()) {
            if infer::RESERVED.contains(&name) {
                let message =
                    format!("an attribute cannot be called `{name}`: every principal has one of its own");
                self.findings.push(Finding::error("attribute_reserved", message));
            }
        }
    }

    /// The attributes that go into the schema.
    fn attributes(&self, sides: [&[Parsed<'a>]; 2]) -> BTreeMap<String, DeclaredAttribute> {
        if let Some(declared) = &self.inputs.attributes {
            return declared.clone();
        }
        let mut fields: BTreeMap<&str, FieldKind> = BTreeMap::new();
        for field in self.inputs.operations.iter().flat_map(|operation| &operation.body) {
            fields.entry(&field.name).or_insert(field.kind);
        }
        let policies = sides.into_iter().flatten();
        infer::attributes(policies.map(|policy| (&policy.tree, &policy.reads)), &fields)
    }

    fn schemas(&self, attributes: &BTreeMap<String, DeclaredAttribute>) -> Schemas {
        let of = |operations: &[&Operation]| {
            let actions = schema::actions(operations.iter().copied());
            schema::text(&actions, &schema::path(operations.iter().copied()), attributes)
        };
        let all: Vec<&Operation> = self.inputs.operations.iter().collect();
        let apis = self.apis.iter().map(|(api, operations)| ((*api).to_owned(), of(operations)));
        Schemas { all: of(&all), apis: apis.collect() }
    }

    /// Two meanings of one field are no matter where no policy can look at it.
    fn body_conflicts(&mut self, sides: [&[Parsed<'a>]; 2]) {
        let folders: BTreeSet<&str> = sides.into_iter().flatten().map(|policy| policy.folder).collect();
        for api in folders.iter().filter(|folder| **folder != ALL) {
            let Some(operations) = self.apis.get(api) else { continue };
            for conflict in schema::conflicts(&schema::actions(operations.iter().copied())) {
                let (one, other) = (conflict.one, conflict.other);
                let message = format!(
                    "`{}` of the action `{}` of `{api}` is {} in {} and {} in {}",
                    conflict.field,
                    conflict.action,
                    one.1.cedar(),
                    shown(one.0),
                    other.1.cedar(),
                    shown(other.0),
                );
                let help = format!(
                    "give one of the operations another name for policies: `authorize: {{ action: {}_{} }}`, or name the \
                     field differently in `authorize.body`",
                    conflict.action, other.0.version
                );
                self.findings.push(Finding::error("policy_body_conflict", message).help(help));
            }
        }
    }

    fn check_pairs(&mut self, sides: [&[Parsed<'a>]; 2]) -> bool {
        let all = self.inputs.operations.len();
        let operations = |folder: &str| self.apis.get(folder).map_or(all, Vec::len);
        let pairs: usize = sides.into_iter().flatten().map(|policy| operations(policy.folder)).sum();
        if pairs <= PAIRS_MAX {
            return true;
        }
        let message =
            format!("there are {pairs} pairs of policies and operations; at most {PAIRS_MAX} are allowed");
        let help = "write one policy with a set of actions or groups instead of many alike";
        self.findings.push(Finding::error("policies_too_many", message).help(help));
        false
    }

    fn side(&mut self, side: Side) -> Vec<Parsed<'a>> {
        let inputs = self.inputs;
        let files = match side {
            Side::Enforced => &inputs.policies,
            Side::Shadow => &inputs.shadow,
        };
        let mut policies = Vec::new();
        if files.len() > FILES_MAX {
            let message =
                format!("there are {} files with policies; at most {FILES_MAX} are allowed", files.len());
            self.findings.push(Finding::error("policies_too_many", message));
            return policies;
        }
        for file in files {
            if file.folder != ALL && !self.apis.contains_key(file.folder.as_str()) {
                self.unknown_folder(&file.folder, &file.path);
                continue;
            }
            self.parse_file(file, &mut policies);
            if policies.len() > POLICIES_MAX {
                let message = format!("there are more than {POLICIES_MAX} policies");
                let help = "write one policy with a set of actions or groups instead of many alike";
                self.findings.push(Finding::error("policies_too_many", message).help(help));
                return policies;
            }
            if self.findings.len() > FINDINGS_MAX {
                return policies;
            }
        }
        self.unique_names(&policies);
        policies
    }

    fn unknown_folder(&mut self, folder: &str, path: &str) {
        let message = format!("`{folder}` is no api");
        let names = self.apis.keys().copied().chain([ALL]);
        let help = match nearest(folder, names) {
            Some(near) => format!("is `{near}` meant?"),
            None => format!("policies stand in a folder with the name of an api, or in `{ALL}`"),
        };
        let mut finding = Finding::error("policy_unknown_api", message).help(help);
        finding.file = path.into();
        self.findings.push(finding);
    }
}

/// The texts of the schemas.
pub(crate) struct Schemas {
    all: String,
    apis: BTreeMap<String, String>,
}

/// An operation, for a message.
pub(crate) fn shown(operation: &Operation) -> String {
    format!("`{}.{}.{}`", operation.api, operation.version, operation.name)
}
