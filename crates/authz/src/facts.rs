//! What is handed to Cedar, and shown by `explain`: what the policies read, and nothing else.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression};
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{Attribute, Caller, Principal};
use serde_json::{Map, Value as Json};

use crate::body::FieldValue;
use crate::decide::Input;
use crate::policies::{Kind, Plan};
use crate::reads::Reads;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// 1970 began on a Thursday.
const WEEKDAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];

/// Hour and day of the week, UTC.
pub(crate) fn hour_and_weekday(now: UnixMs) -> (i64, &'static str) {
    let day = now.0.div_euclid(DAY_MS).rem_euclid(7);
    let weekday = WEEKDAYS[usize::try_from(day).unwrap_or_default()];
    (now.0.rem_euclid(DAY_MS) / HOUR_MS, weekday)
}

/// A value that policies see.
#[derive(Clone, Debug)]
enum Fact<'a> {
    Long(i64),
    Text(&'a str),
    Decimal(&'a str),
    Bool(bool),
    Address(IpAddr),
    Texts(Vec<Arc<str>>),
    Attribute(&'a Attribute),
}

/// Everything that a decision reads.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    principal: EntityUid,
    kind: Kind,
    groups: &'a [Arc<str>],
    /// Whose user it is, as an entity to be in.
    consumer: Option<&'a str>,
    attributes: Vec<(&'a str, Fact<'a>)>,
    path: Vec<(&'a str, &'a str)>,
    body: Vec<(&'a str, Fact<'a>)>,
    context: Vec<(&'static str, Fact<'a>)>,
}

/// Whom policies see: the person where there is one, for it is they who act; else the consumer.
pub(crate) fn identity(principal: &Principal) -> (Kind, &str) {
    let caller = principal.caller();
    if let Some(user) = caller.and_then(|caller| caller.user.as_deref()) {
        return (Kind::User, user);
    }
    match caller.and_then(|caller| caller.consumer.as_deref()) {
        Some(consumer) => (Kind::Consumer, consumer),
        None => (Kind::Anonymous, ""),
    }
}

impl<'a> Facts<'a> {
    /// Gathers what `reads` says. Of the path, only what the operation has: it is all that is in a cache's key.
    pub(crate) fn gather(
        plan: &Plan,
        reads: &Reads,
        principal: &'a Principal,
        input: &Input<'a>,
        now: UnixMs,
    ) -> Self {
        let (kind, id) = identity(principal);
        let caller = principal.caller();
        let is_user = kind == Kind::User;
        let consumer = caller.and_then(|caller| caller.consumer.as_deref());
        let is_read = |name: &str| reads.path.has(name) && plan.path_read.iter().any(|known| known == name);
        let path = input.path.iter().filter(|(name, _)| is_read(name)).copied();
        let body = input.body.iter().filter(|(name, _)| reads.body.has(name));
        let body = body.filter_map(|(name, value)| {
            let fact = match value.as_ref().ok()? {
                FieldValue::Long(value) => Fact::Long(*value),
                FieldValue::Decimal(text) => Fact::Decimal(text),
                FieldValue::Text(text) => Fact::Text(text),
                FieldValue::Bool(value) => Fact::Bool(*value),
            };
            Some((name, fact))
        });
        Self {
            principal: kind.entity(id),
            kind,
            groups: caller.map_or(&[], |caller| &caller.groups),
            consumer: consumer.filter(|_| is_user),
            attributes: attributes(reads, caller, consumer),
            path: path.collect(),
            body: body.collect(),
            context: context(reads, caller, input, now),
        }
    }

    /// As Cedar wants it.
    pub(crate) fn cedar(&self, plan: &Plan) -> Result<(Request, Entities), String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let mut parents: HashSet<EntityUid> =
            self.groups.iter().map(|group| Kind::Group.entity(group)).collect();
        parents.extend(self.consumer.map(|consumer| Kind::Consumer.entity(consumer)));
        let attributes = self.attributes.iter().map(|(name, fact)| ((*name).to_owned(), fact.cedar()));
        let principal =
            Entity::new(self.principal.clone(), attributes.collect(), parents).map_err(|e| told(&e))?;
        let path = self
            .path
            .iter()
            .map(|(name, value)| ((*name).to_owned(), RestrictedExpression::new_string((*value).to_owned())));
        let path = RestrictedExpression::new_record(path).map_err(|e| told(&e))?;
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let resource = [
            ("api".to_owned(), text(plan.api())),
            ("version".to_owned(), text(plan.version())),
            ("path".to_owned(), path),
        ];
        let resource =
            Entity::new(plan.resource.clone(), resource.into(), HashSet::new()).map_err(|e| told(&e))?;
        let entities = Entities::from_entities([principal, resource], None).map_err(|e| told(&e))?;
        let body = record(self.body.iter().map(|(name, fact)| (*name, fact)))?;
        let context = self.context.iter().map(|(name, fact)| ((*name).to_owned(), fact.cedar()));
        let context =
            Context::from_pairs(context.chain([("body".to_owned(), body)])).map_err(|e| told(&e))?;
        let request =
            Request::new(self.principal.clone(), plan.action.clone(), plan.resource.clone(), context, None);
        Ok((request.map_err(|e| told(&e))?, entities))
    }

    /// For people: principal, resource, context.
    pub(crate) fn json(&self, plan: &Plan) -> (Json, Json, Json) {
        let object = |facts: &[(&str, Fact<'_>)]| {
            Json::Object(facts.iter().map(|(name, fact)| ((*name).to_owned(), fact.json())).collect())
        };
        let mut principal = Map::new();
        principal.insert("type".to_owned(), self.kind.name().into());
        principal.insert("id".to_owned(), self.principal.id().unescaped().into());
        principal.insert("groups".to_owned(), self.groups.iter().map(|group| &**group).collect());
        if let Some(consumer) = self.consumer {
            principal.insert("in_consumer".to_owned(), consumer.into());
        }
        principal.insert("attributes".to_owned(), object(&self.attributes));
        let path: Map<String, Json> =
            self.path.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let resource = serde_json::json!({
            "id": plan.resource.id().unescaped(), "api": plan.api(), "version": plan.version(), "path": path,
        });
        let mut context = object(&self.context);
        context["body"] = object(&self.body);
        (principal.into(), resource, context)
    }
}

fn attributes<'a>(
    reads: &Reads,
    caller: Option<&'a Caller>,
    consumer: Option<&'a str>,
) -> Vec<(&'a str, Fact<'a>)> {
    let mut facts = Vec::new();
    let Some(caller) = caller else {
        if reads.principal.has("plan") {
            facts.push(("plan", Fact::Text("anonymous")));
        }
        return facts;
    };
    if reads.principal.has("plan") {
        facts.push(("plan", Fact::Text(caller.plan.as_deref().unwrap_or_default())));
    }
    if let (true, Some(consumer)) = (reads.principal.has("consumer"), consumer) {
        facts.push(("consumer", Fact::Text(consumer)));
    }
    let is_read = |name: &str| reads.principal.has(name) && !crate::infer::RESERVED.contains(&name);
    let own = caller.attributes.iter().filter(|(name, _)| is_read(name));
    facts.extend(own.map(|(name, value)| (name.as_str(), Fact::Attribute(value))));
    facts
}

fn context<'a>(
    reads: &Reads,
    caller: Option<&'a Caller>,
    input: &Input<'a>,
    now: UnixMs,
) -> Vec<(&'static str, Fact<'a>)> {
    let mut facts = Vec::new();
    let read = &reads.context;
    if read.is_empty() {
        return facts;
    }
    let mut add = |name: &'static str, fact: &dyn Fn() -> Fact<'a>| {
        if read.has(name) {
            facts.push((name, fact()));
        }
    };
    let (hour, weekday) = hour_and_weekday(now);
    add("hour", &|| Fact::Long(hour));
    add("weekday", &|| Fact::Text(weekday));
    add("address", &|| Fact::Address(input.address));
    add("auth_method", &|| Fact::Text(caller.map_or("none", |caller| caller.method.name())));
    add("mode", &|| Fact::Text(caller.map_or_else(Default::default, |caller| caller.mode).name()));
    add("scopes", &|| Fact::Texts(caller.map_or_else(Vec::new, |caller| input.scopes.names(&caller.scopes))));
    facts
}

fn record<'f>(
    members: impl Iterator<Item = (&'f str, &'f Fact<'f>)>,
) -> Result<RestrictedExpression, String> {
    let members = members.map(|(name, fact)| (name.to_owned(), fact.cedar()));
    RestrictedExpression::new_record(members).map_err(|error| error.to_string())
}

impl Fact<'_> {
    fn cedar(&self) -> RestrictedExpression {
        match self {
            Self::Long(value) => RestrictedExpression::new_long(*value),
            Self::Text(text) => RestrictedExpression::new_string((*text).to_owned()),
            Self::Decimal(text) => RestrictedExpression::new_decimal(text),
            Self::Bool(value) => RestrictedExpression::new_bool(*value),
            Self::Address(address) => RestrictedExpression::new_ip(address.to_string()),
            Self::Texts(texts) => {
                let text = |text: &Arc<str>| RestrictedExpression::new_string(text.as_ref().to_owned());
                RestrictedExpression::new_set(texts.iter().map(text))
            }
            Self::Attribute(attribute) => attribute_cedar(attribute),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Long(value) => (*value).into(),
            Self::Text(text) | Self::Decimal(text) => (*text).into(),
            Self::Bool(value) => (*value).into(),
            Self::Address(address) => address.to_string().into(),
            Self::Texts(texts) => texts.iter().map(|text| &**text).collect(),
            Self::Attribute(attribute) => serde_json::to_value(attribute).unwrap_or_default(),
        }
    }
}

fn attribute_cedar(attribute: &Attribute) -> RestrictedExpression {
    match attribute {
        Attribute::Bool(value) => RestrictedExpression::new_bool(*value),
        Attribute::Long(value) => RestrictedExpression::new_long(*value),
        Attribute::Text(text) => RestrictedExpression::new_string(text.clone()),
        Attribute::List(items) => RestrictedExpression::new_set(items.iter().map(attribute_cedar)),
        Attribute::Record(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), attribute_cedar(value)));
            RestrictedExpression::new_record(members).expect("a map has no name twice")
        }
    }
}
