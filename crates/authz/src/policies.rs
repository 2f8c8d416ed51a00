//! Policies that can decide: for each operation the ones it has to ask.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet};

use crate::body::{Body, Field, Unreadable};
use crate::build;
use crate::build::parse::Parsed;
use crate::cases::PolicyRef;
use crate::finding::Finding;
use crate::inputs::{Inputs, Operation};
use crate::reads::Reads;

/// All policies of one moment; a change of any of them is another one of these.
#[derive(Debug)]
pub struct Policies {
    pub(crate) version: u64,
    pub(crate) plans: Vec<Arc<Plan>>,
    /// Every policy in force, with its folder.
    pub(crate) enforced: Vec<(String, PolicyRef)>,
    pub(crate) schema: String,
    pub(crate) schemas: BTreeMap<String, String>,
    pub(crate) warnings: Vec<Finding>,
}

impl Policies {
    /// Reads, validates and slices all policies.
    ///
    /// This takes milliseconds for hundreds of policies, and starts a thread of its own that is gone when it returns: off
    /// the request path, please.
    ///
    /// # Errors
    /// What is wrong with the policies, warnings included. Nothing of them can be used then.
    pub fn build(inputs: &Inputs) -> Result<Self, Vec<Finding>> {
        build::build(inputs)
    }

    /// What somebody will probably regret.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// Another one for each set of policies that this process ever built.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The Cedar schema with the actions of every api, for editors.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The Cedar schema of one api: what the policies in its folder are validated against.
    pub fn schema_of(&self, api: &str) -> Option<&str> {
        self.schemas.get(api).map(String::as_str)
    }

    /// The plan of the operation at this place of [`Inputs::operations`].
    pub fn plan(&self, index: usize) -> Option<&Arc<Plan>> {
        self.plans.get(index)
    }

    /// The plan of an operation by its names.
    pub fn find(&self, api: &str, version: &str, operation: &str) -> Option<&Arc<Plan>> {
        self.plans
            .iter()
            .find(|plan| plan.api == api && plan.version == version && plan.operation == operation)
    }

    /// All plans, in the order of [`Inputs::operations`].
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }
}

/// What deciding about one operation takes.
#[derive(Debug)]
pub struct Plan {
    pub(crate) index: usize,
    pub(crate) api: String,
    pub(crate) version: String,
    pub(crate) operation: String,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) enforced: Slice,
    pub(crate) shadow: Option<Slice>,
    pub(crate) fields: Vec<Field>,
    /// See [`Plan::is_cacheable`]; false also where deciding is no work.
    pub(crate) is_cached: bool,
    /// The path parameters that policies read, in the order of the operation's.
    pub(crate) path_read: Vec<String>,
}

impl Plan {
    pub(crate) fn new(
        index: usize,
        of: &Operation,
        enforced: Slice,
        shadow: Option<Slice>,
        fields: Vec<Field>,
    ) -> Self {
        let slices = || std::iter::once(&enforced).chain(&shadow);
        let is_cached = slices().any(|s| !s.policies.is_empty()) && !slices().any(|s| s.reads.has_context());
        let is_read = |name: &&String| slices().any(|slice| slice.reads.path.has(name));
        let path_read = of.path.iter().filter(is_read).cloned().collect();
        Self {
            is_cached,
            path_read,
            index,
            api: of.api.clone(),
            version: of.version.clone(),
            operation: of.name.clone(),
            action: Kind::Action.entity(of.action()),
            resource: Kind::Operation.entity(&build::resource_id(of)),
            enforced,
            shadow,
            fields,
        }
    }

    /// The api's name.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The version's name.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The operation's name.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// What policies call it.
    pub fn action(&self) -> &str {
        self.action.id().unescaped()
    }

    /// Whether the answer is always yes: there is no policy that could say anything else.
    pub fn is_open(&self) -> bool {
        self.enforced.is_open() && self.shadow.as_ref().is_none_or(Slice::is_open)
    }

    /// The fields of the body that some policy reads. Where there is none, the body is not needed.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The policies that can apply to the operation: the name of each, `permit` or `forbid`, and whether it is a shadow one.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &'static str, bool)> {
        let shadow = self.shadow.iter().flat_map(|slice| slice.policies.iter().map(|policy| (policy, true)));
        let all = self.enforced.policies.iter().map(|policy| (policy, false)).chain(shadow);
        all.map(|(policy, is_shadow)| (&*policy.name, policy.effect(), is_shadow))
    }

    /// Whether a policy that is enforced reads the body. Where only shadow policies do, nothing may come of its being malformed.
    pub fn needs_body(&self) -> bool {
        !self.enforced.reads.body.is_empty()
    }

    /// Whether decisions are good for more than one request: nothing of the context is read.
    pub fn is_cacheable(&self) -> bool {
        !self.slices().any(|slice| slice.reads.has_context())
    }

    /// The values of the path parameters that policies read, in a fixed order.
    pub(crate) fn path_keys<'a>(
        &'a self,
        path: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = Option<&'a str>> {
        let value = |name: &'a String| path.iter().find(|(given, _)| given == name).map(|(_, value)| *value);
        self.path_read.iter().map(value)
    }

    pub(crate) fn slices(&self) -> impl Iterator<Item = &Slice> {
        std::iter::once(&self.enforced).chain(&self.shadow)
    }
}

/// The policies of one side that can apply to one operation.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) is_default_deny: bool,
    /// Cedar's set; a policy's id is its place in `policies`.
    pub(crate) set: PolicySet,
    pub(crate) policies: Vec<Sliced>,
    pub(crate) reads: Reads,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Sliced {
    pub(crate) name: Arc<str>,
    pub(crate) is_forbid: bool,
    pub(crate) file: PathBuf,
    pub(crate) line: u32,
    pub(crate) reads: Reads,
}

impl Sliced {
    pub(crate) const fn effect(&self) -> &'static str {
        if self.is_forbid { "forbid" } else { "permit" }
    }

    /// A field that the policy reads and that cannot be read, and why.
    pub(crate) fn unreadable<'a>(&'a self, body: &'a Body) -> Option<(&'a str, Unreadable)> {
        let reads = &self.reads.body;
        match body {
            Body::Unreadable if reads.is_empty() => None,
            Body::Unreadable => Some((reads.names.first().map_or("", String::as_str), Unreadable::NotRead)),
            Body::None | Body::Fields(_) => {
                let mut read = body.iter().filter(|(name, _)| reads.has(name));
                read.find_map(|(name, value)| Some((name, value.as_ref().err().copied()?)))
            }
        }
    }
}

impl Slice {
    pub(crate) fn new<'p, 'a: 'p>(is_default_deny: bool, of: impl Iterator<Item = &'p Parsed<'a>>) -> Self {
        let mut slice =
            Self { is_default_deny, set: PolicySet::new(), policies: Vec::new(), reads: Reads::default() };
        for policy in of {
            let id = PolicyId::new(slice.policies.len().to_string());
            slice.set.add(policy.policy.new_id(id)).expect("numbers differ, and no policy has slots");
            slice.reads.add(&policy.reads);
            slice.policies.push(Sliced {
                name: Arc::clone(&policy.name),
                is_forbid: policy.is_forbid(),
                file: policy.source.path.into(),
                line: policy.source.line(policy.begin),
                reads: policy.reads.clone(),
            });
        }
        slice
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.is_default_deny && self.policies.is_empty()
    }

    /// The policy that Cedar knows by this id.
    pub(crate) fn policy(&self, id: &PolicyId) -> Option<&Sliced> {
        let id: &str = id.as_ref();
        self.policies.get(id.parse::<usize>().ok()?)
    }

    /// Cedar's form of the policy at this place.
    pub(crate) fn cedar(&self, index: usize) -> Option<&Policy> {
        self.set.policy(&PolicyId::new(index.to_string()))
    }
}

/// The types of entities there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Anonymous,
    Consumer,
    User,
    Group,
    Action,
    Operation,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Anonymous, Self::Consumer, Self::User, Self::Group, Self::Action, Self::Operation];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "Anonymous",
            Self::Consumer => "Consumer",
            Self::User => "User",
            Self::Group => "Group",
            Self::Action => "Action",
            Self::Operation => "Operation",
        }
    }

    /// The entity of this type with this id.
    pub(crate) fn entity(self, id: &str) -> EntityUid {
        // Cedar parses a type's name each time it is made from text; a decision makes several.
        static NAMES: LazyLock<[EntityTypeName; 6]> =
            LazyLock::new(|| Kind::ALL.map(|kind| kind.name().parse().expect("plain names")));
        EntityUid::from_type_name_and_id(NAMES[self as usize].clone(), EntityId::new(id))
    }
}
