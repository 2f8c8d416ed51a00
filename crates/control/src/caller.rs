//! Who calls an admin route: which token, from where, in which request.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use mainstay_core::ProblemCode;
use mainstay_core::catalogue::{Actor, ApiKey, Role};

use crate::problem::Refusal;
use crate::routes::App;

/// What a token lets its holder do.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    /// Names it in the audit.
    pub(crate) id: String,
    pub(crate) role: Role,
    /// Apis it may change and see; empty: all.
    pub(crate) apis: Vec<String>,
}

impl Bearer {
    /// Whoever can read the engine's token file.
    pub(crate) fn owner() -> Self {
        Self { id: "token_file".to_owned(), role: Role::Owner, apis: Vec::new() }
    }

    /// Refuses a token of a lesser role.
    pub(crate) fn require(&self, needed: Role) -> Result<(), Refusal> {
        if self.role >= needed {
            return Ok(());
        }
        let (has, needs) = (role_name(self.role), role_name(needed));
        Err(Refusal::permission(
            needs,
            format!("This token has the role {has}; this takes the role {needs}."),
        ))
    }

    /// Refuses a token that is limited to some apis, where all of them are concerned.
    pub(crate) fn require_all_apis(&self) -> Result<(), Refusal> {
        if self.apis.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "This token is limited to {}; this concerns every api and takes a token without such a limit.",
            named(&self.apis)
        );
        Err(Refusal::permission("all_apis", detail))
    }

    /// Whether something that is for these apis (none named: for all) lies within the token's limit.
    pub(crate) fn covers(&self, apis: &[String]) -> bool {
        self.apis.is_empty() || (!apis.is_empty() && apis.iter().all(|api| self.apis.contains(api)))
    }

    /// Refuses a key that can be used for an api outside of the token's limit.
    pub(crate) fn require_key(&self, key: &ApiKey) -> Result<(), Refusal> {
        self.require_apis(&key.apis)
    }

    /// The same, for a key that is yet to be made.
    pub(crate) fn require_apis(&self, apis: &[String]) -> Result<(), Refusal> {
        if self.covers(apis) {
            return Ok(());
        }
        let detail = format!(
            "This token is limited to {0}, so it reaches only keys whose 'apis' names nothing but {0}.",
            named(&self.apis)
        );
        Err(Refusal::permission("other_apis", detail))
    }
}

/// The name of a role in bodies and messages.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Owner => "owner",
    }
}

fn named(apis: &[String]) -> String {
    let noun = if apis.len() == 1 { "the api" } else { "the apis" };
    format!("{noun} {}", apis.join(", "))
}

/// Where a request came from; the front knows it of every one.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: IpAddr,
    pub(crate) request_id: Arc<str>,
}

/// The caller of a route that asks for a token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) bearer: Arc<Bearer>,
    origin: Origin,
}

impl Caller {
    /// As the audit remembers it.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            id: self.bearer.id.clone(),
            address: Some(self.origin.address.to_string()),
            request_id: Some(self.origin.request_id.to_string()),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let bearer = parts.extensions.get::<Arc<Bearer>>().cloned();
        let origin = parts.extensions.get::<Origin>().cloned();
        match bearer.zip(origin) {
            Some((bearer, origin)) => Ok(Self { bearer, origin }),
            // A route in the table without an access rule, which its tests find.
            None => Err(Refusal::new(ProblemCode::Internal, "This route does not know who calls.")),
        }
    }
}

/// What a change has to be based on: `If-Match` (RFC 9110, section 13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// There is no such field, or it says `*`: on whatever is there.
    Any,
    /// On one of these.
    OneOf(Vec<String>),
}

impl Basis {
    /// Whether a record at this version will do.
    pub(crate) fn takes(&self, etag: u64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.contains(&etag.to_string()),
        }
    }

    fn parse(parts: &Parts) -> Result<Self, Refusal> {
        let malformed = || {
            let detail = "If-Match is not a list of entity tags such as \"42\".";
            Refusal::new(ProblemCode::MalformedRequest, detail)
        };
        let mut tags = Vec::new();
        let mut any = true;
        for value in parts.headers.get_all(http::header::IF_MATCH) {
            let value = value.to_str().map_err(|_| malformed())?.trim();
            if value == "*" {
                continue;
            }
            any = false;
            for tag in value.split(',').map(str::trim) {
                // Weak tags never match here; a comma within a tag is none of ours.
                let strong = tag.strip_prefix("W/").unwrap_or(tag);
                let inner = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                let inner = inner.filter(|inner| !inner.contains('"')).ok_or_else(malformed)?;
                if tag.starts_with('"') {
                    tags.push(inner.to_owned());
                }
            }
        }
        Ok(if any { Self::Any } else { Self::OneOf(tags) })
    }
}

impl FromRequestParts<App> for Basis {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        Self::parse(parts)
    }
}

/// The one segment of a path that is an id; too long to be one is none.
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<App> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        const LENGTH_MAX: usize = 128;
        let found = axum::extract::Path::<String>::from_request_parts(parts, app).await;
        // Nothing is stored under the empty id, so what cannot be one is not found.
        let id = found.map(|axum::extract::Path(id)| id).unwrap_or_default();
        Ok(Self(if id.len() > LENGTH_MAX { String::new() } else { id }))
    }
}
