//! Consumers, OAuth clients and users, as the index keeps them.

use std::hash::Hasher;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_core::catalogue::{Consumer, OauthClient, User};
use mainstay_core::principal::Attributes;
use mainstay_core::scopes::ScopeSet;

use super::table::Place;

/// A consumer's place. Keys and clients point to it, so a change of the consumer is one exchange, however many they are.
pub(super) struct ConsumerSlot {
    pub(super) id: Arc<str>,
    pub(super) state: ArcSwap<ConsumerState>,
}

impl ConsumerSlot {
    /// Of one that is named and not there yet.
    pub(super) fn unknown(id: &str) -> Self {
        Self { id: id.into(), state: ArcSwap::default() }
    }
}

/// What is known of a consumer.
#[derive(Default)]
pub(super) struct ConsumerState {
    pub(super) exists: bool,
    pub(super) is_suspended: bool,
    pub(super) is_from_file: bool,
    pub(super) plan: Option<Arc<str>>,
    pub(super) groups: Arc<[Arc<str>]>,
    pub(super) attributes: Arc<Attributes>,
    /// The index's generation in which it was last changed.
    pub(super) generation: u64,
}

impl ConsumerState {
    pub(super) fn new(record: &Consumer, is_from_file: bool, generation: u64) -> Self {
        Self {
            exists: true,
            is_suspended: record.suspended,
            is_from_file,
            plan: record.plan.as_deref().map(Arc::from),
            groups: record.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
            attributes: Arc::new(record.attributes.clone()),
            generation,
        }
    }

    /// Whether nothing is different that could make a difference to a caller.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.exists == other.exists
            && self.is_suspended == other.is_suspended
            && self.is_from_file == other.is_from_file
            && self.plan == other.plan
            && self.groups == other.groups
            && self.attributes == other.attributes
    }
}

/// A consumer as a token or a certificate finds it.
#[derive(Clone, Debug)]
pub struct ConsumerView {
    /// Its id.
    pub id: Arc<str>,
    /// Nothing it holds is accepted.
    pub is_suspended: bool,
    /// What its tier is called; `None`: the default one.
    pub plan: Option<Arc<str>>,
    /// For policies.
    pub groups: Arc<[Arc<str>]>,
    /// For policies.
    pub attributes: Arc<Attributes>,
    /// Changes with any of these.
    pub generation: u64,
}

/// An OAuth client.
#[derive(Debug)]
pub struct ClientEntry {
    /// The record.
    pub record: OauthClient,
    /// Its id.
    pub id: Arc<str>,
    /// What it may ask for.
    pub scopes: Arc<ScopeSet>,
    /// Changes with any of these.
    pub generation: u64,
}

/// A user, without the password.
#[derive(Debug)]
pub struct UserEntry {
    /// What they log in with.
    pub name: Arc<str>,
    /// For policies.
    pub groups: Arc<[Arc<str>]>,
    /// For policies.
    pub attributes: Arc<Attributes>,
    /// Tokens are not accepted.
    pub is_disabled: bool,
    /// Changes with any of these.
    pub generation: u64,
}

impl UserEntry {
    pub(super) fn new(record: &User, generation: u64) -> Self {
        Self {
            name: record.name.as_str().into(),
            groups: record.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
            attributes: Arc::new(record.attributes.clone()),
            is_disabled: record.disabled,
            generation,
        }
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.groups == other.groups
            && self.attributes == other.attributes
            && self.is_disabled == other.is_disabled
    }
}

/// Tables by the text of an id.
pub(super) struct ById;

/// What has a text for an id.
pub(super) trait Named {
    fn id(&self) -> &str;
}

impl Named for ConsumerSlot {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Named for ClientEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Named for UserEntry {
    fn id(&self) -> &str {
        &self.name
    }
}

impl<T: Named> Place<Arc<T>> for ById {
    fn hash(entry: &Arc<T>) -> u64 {
        text_hash(entry.id())
    }
}

/// Ids are given by operators, so a fixed hash does.
#[inline]
pub(super) fn text_hash(text: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
