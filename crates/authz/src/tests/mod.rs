//! Rows of policies and requests, and one way to ask each.

mod build;
mod cache;
mod cases;
mod decisions;
mod examples;
mod explain;
mod fields;
mod hostile;
mod measure;
mod sliced;
mod strict;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mainstay_core::ScopeNames;
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{Attribute, Attributes, AuthMethod, Caller, Mode, Principal};

use crate::Input;
use crate::strict::{Limits, check};
use crate::{
    Body, BodyField, Decision, FieldKind, Finding, Inputs, Operation, Plan, Policies, PolicyFile, Reason,
    decide,
};

/// 2026-11-24T13:00:00Z, a Tuesday.
const NOON: UnixMs = UnixMs(1_795_525_200_000);

fn operation(api: &str, version: &str, name: &str, path: &[&str]) -> Operation {
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    Operation { api: api.into(), version: version.into(), name: name.into(), path, ..Operation::default() }
}

fn field(name: &str, at: &str, kind: FieldKind) -> BodyField {
    BodyField { name: name.into(), at: at.into(), kind, required: true }
}

/// What most tests are about: two apis, one of them with two versions.
fn operations() -> Vec<Operation> {
    let amount = || vec![field("amount", "/amount/value", FieldKind::Long)];
    let refund = |version: &str| Operation {
        body: amount(),
        ..operation("payments", version, "createRefund", &["id"])
    };
    vec![
        refund("v1"),
        refund("v2"),
        operation("payments", "v1", "getPayment", &["id"]),
        operation("payments", "v1", "listPayments", &[]),
        operation("accounts", "v1", "getAccount", &["bank", "account"]),
        Operation { anonymous: true, ..operation("accounts", "v1", "listBanks", &[]) },
    ]
}

fn file(folder: &str, text: &str) -> PolicyFile {
    PolicyFile { folder: folder.into(), path: format!("policies/{folder}/test.cedar"), text: text.into() }
}

fn inputs(files: &[(&str, &str)]) -> Inputs {
    Inputs {
        policies: files.iter().map(|(folder, text)| file(folder, text)).collect(),
        operations: operations(),
        ..Inputs::default()
    }
}

fn policies(files: &[(&str, &str)]) -> Policies {
    built(&inputs(files))
}

fn built(inputs: &Inputs) -> Policies {
    Policies::build(inputs).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn told(findings: &[Finding]) -> String {
    let line = |f: &Finding| {
        format!(
            "{}:{}:{} {}: {} ({})\n",
            f.file.display(),
            f.line,
            f.column,
            f.code,
            f.message,
            f.help.as_deref().unwrap_or_default()
        )
    };
    findings.iter().map(line).collect()
}

fn caller() -> Caller {
    Caller {
        consumer: Some("acme".into()),
        user: None,
        plan: Some("pro".into()),
        groups: Arc::from([]),
        attributes: Arc::new(Attributes::new()),
        mode: Mode::Live,
        method: AuthMethod::ApiKey,
        key_id: None,
        client_id: None,
        scopes: Arc::default(),
        generation: 1,
    }
}

fn principal(caller: Caller) -> Principal {
    Principal::Caller(Arc::new(caller))
}

fn consumer(id: &str, groups: &[&str], attributes: &[(&str, Attribute)]) -> Principal {
    principal(Caller {
        consumer: Some(id.into()),
        groups: groups.iter().map(|group| Arc::from(*group)).collect(),
        attributes: Arc::new(
            attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        ),
        ..caller()
    })
}

fn user(id: &str, groups: &[&str]) -> Principal {
    let groups = groups.iter().map(|group| Arc::from(*group)).collect();
    principal(Caller { user: Some(id.into()), groups, ..caller() })
}

fn long(value: i64) -> Attribute {
    Attribute::Long(value)
}

fn text(value: &str) -> Attribute {
    Attribute::Text(value.into())
}

fn body(plan: &Plan, text: &str) -> Body {
    match check(text.as_bytes(), &Limits::DEFAULT) {
        Ok(document) => Body::read(&document, plan.fields()),
        Err(_) => Body::Unreadable,
    }
}

/// A request to ask about.
struct Ask<'a> {
    path: &'a [(&'a str, &'a str)],
    body: Option<&'a str>,
    address: IpAddr,
    now: UnixMs,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self { path: &[], body: None, address: IpAddr::V4(Ipv4Addr::LOCALHOST), now: NOON }
    }
}

impl Ask<'_> {
    fn of(&self, plan: &Plan, principal: &Principal) -> Decision {
        let body = self.body.map_or(Body::None, |text| body(plan, text));
        let scopes = ScopeNames::default();
        let input = Input { path: self.path, body: &body, address: self.address, scopes: &scopes };
        decide(plan, principal, &input, self.now)
    }
}

/// A decision in a word and the names of who decided: `permit a b`.
fn shown(decision: &Decision) -> String {
    let because = match &decision.reason {
        Reason::NoPolicies => "no policies",
        Reason::NoPermit => "no permit",
        Reason::Permit { .. } => "permit",
        Reason::Forbid { .. } => "forbid",
        Reason::Error { .. } => "error",
    };
    assert_eq!(decision.allowed, matches!(because, "no policies" | "permit"), "{decision:?}");
    let ids = decision.reason.ids().iter().map(|id| format!(" {id}"));
    std::iter::once(because.to_owned()).chain(ids).collect()
}
