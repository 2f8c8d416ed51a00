//! `stores`, `auth`, `plans`, `consumers`, `server.preauth`, and who may call an operation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::merge::Merged;
use super::token::Tokens;
use super::{Check, block};
use crate::checked::{self, Auth, AuthRule, Identity, SecretKey, Store};
use crate::decode::{Field, Spanned};
use crate::diagnostic::{Place, Report};
use crate::raw::{self, AuthSpec, OperationKeys, SecretKeySource, StoreUrl};

impl Check<'_> {
    pub(super) fn identity(
        &mut self,
        merged: &Merged,
        apis: &BTreeMap<String, checked::Api>,
        tokens: Tokens,
    ) -> Identity {
        let Tokens { issuers, introspection, outbound, forward } = tokens;
        let plans: BTreeMap<String, checked::Plan> = merged
            .plans
            .entries
            .iter()
            .filter_map(|entry| {
                let plan = entry.value.get()?;
                let priority = super::operation::priority(plan.value.priority.value());
                Some((entry.name.value.clone(), checked::Plan { priority }))
            })
            .collect();
        let auth = block(&merged.auth, raw::Auth::absent);
        let api_keys = block(&auth.api_keys, raw::ApiKeys::absent);
        let header = api_keys.header.value().0;
        if let (true, Some(at)) = (is_taken(&header), api_keys.header.place()) {
            let message = format!("`{header}` has a meaning of its own");
            let help = "choose a header that carries nothing else, such as `X-API-Key`";
            let at = at.clone();
            self.report(Report::error("bad_header", &at, message).help(help));
        }
        let oauth = self.oauth(&auth.oauth);
        Identity {
            stores: self.stores(merged, apis, oauth.is_some()),
            oauth,
            api_keys: checked::ApiKeysAuth { header },
            issuers,
            introspection,
            outbound,
            forward,
            consumers: self.consumers(merged),
            plans,
        }
    }

    /// Without anybody to be known there is nothing to be kept, and no file is made.
    fn stores(
        &mut self,
        merged: &Merged,
        apis: &BTreeMap<String, checked::Api>,
        has_oauth: bool,
    ) -> Option<checked::Stores> {
        let operations = || apis.values().flat_map(|api| api.versions.values()).flat_map(|v| &v.operations);
        let asks = operations().any(|operation| operation.auth != Auth::None);
        if !asks && !has_oauth && merged.stores.is_absent() && merged.consumers.is_empty() {
            return None;
        }
        let raw = block(&merged.stores, raw::Stores::absent);
        let field = if raw.catalogue.is_absent() { &raw.state } else { &raw.catalogue };
        let catalogue = match field.value() {
            StoreUrl::Sqlite(path) => {
                Store::Sqlite(self.folder(field.place().or(merged.stores.place())).join(path))
            }
            StoreUrl::Postgres(url) => Store::Postgres(url),
        };
        let secret_key = self.secret_key(&raw, merged, &catalogue, has_oauth);
        Some(checked::Stores { catalogue, secret_key })
    }

    /// Nothing is sealed without the authorisation server, so without it no key is made that nobody asked for.
    fn secret_key(
        &mut self,
        raw: &raw::Stores,
        merged: &Merged,
        catalogue: &Store,
        has_oauth: bool,
    ) -> Option<SecretKey> {
        let is_shared = matches!(catalogue, Store::Postgres(_));
        let file = |path| if is_shared { SecretKey::SharedFile(path) } else { SecretKey::File(path) };
        let Some(given) = raw.secret_key.get() else {
            if has_oauth && is_shared && raw.secret_key.is_absent() {
                let at = merged.stores.place().or(merged.auth.place()).cloned();
                let message = "with PostgreSQL every node needs the same `stores.secret_key`";
                let help = "make one with `openssl rand -hex 32 > mainstay.key`, give it to each node, and write \
                            `secret_key: ${file:mainstay.key}`";
                if let Some(at) = at {
                    self.report(Report::error("missing_key", &at, message).help(help));
                }
            }
            let folder = self.folder(merged.stores.place().or(merged.auth.place()));
            return (has_oauth && !is_shared).then(|| SecretKey::File(folder.join("mainstay.key")));
        };
        Some(match &given.value {
            SecretKeySource::File(path) => file(self.folder(Some(&given.at)).join(path)),
            SecretKeySource::Variable(name) => SecretKey::Variable(name.clone()),
        })
    }

    fn oauth(&mut self, field: &Field<raw::Oauth>) -> Option<checked::Oauth> {
        let raw = field.get()?;
        let help = "such as `https://api.example.com`: clients compare it byte for byte";
        let issuer =
            self.require(&raw.value.issuer, &raw.at, "the authorisation server needs an `issuer`", help)?;
        let text = issuer.value.0.clone();
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host_of(authority).to_ascii_lowercase();
        let is_here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        let (at, path) = (issuer.at.clone(), path.to_owned());
        if scheme != "https" && !is_here {
            let message = "codes and tokens would travel in the clear";
            let help = "an issuer is an `https` URL; `http` is for this machine alone";
            self.report(Report::error("issuer_in_clear", &at, message).help(help));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let dots = path.split('/').any(|segment| segment == "." || segment == "..");
        if !path.bytes().all(is_plain) || path.contains("//") || dots {
            let message = "its path has only letters, digits, `-`, `.`, `_` and `~` between single slashes";
            self.report(Report::error("bad_issuer", &at, message));
        }
        Some(checked::Oauth {
            host,
            path,
            issuer: text,
            access_token: raw.value.access_token.value().0,
            refresh_token: raw.value.refresh_token.value().0,
        })
    }

    fn consumers(&mut self, merged: &Merged) -> Vec<checked::Consumer> {
        let mut found: Vec<checked::Consumer> = Vec::new();
        let mut known: HashMap<String, Place> = HashMap::new();
        for entry in &merged.consumers {
            let raw = &entry.value;
            let help = "such as `{ id: acme, name: Acme Ltd, plan: pro }`";
            let id = self.require(&raw.id, &entry.at, "a consumer needs an `id`", help);
            let Some(id) = id else { continue };
            if let Some(first) = known.get(&id.value.0) {
                let message =
                    format!("the consumer `{}` is already in {}", id.shown(), self.files.show(first));
                self.report(Report::error("duplicate_entry", &id.at, message).help("an id is there once"));
                continue;
            }
            known.insert(id.value.0.clone(), id.at.clone());
            if let Some(plan) = raw.plan.get().filter(|plan| merged.plans.get(&plan.value.0).is_none()) {
                self.dangling("unknown_plan", "plan", plan, merged.plans.names());
            }
            let text =
                |field: &Field<crate::decode::scalar::Text>| field.get().map(|text| text.value.0.clone());
            found.push(checked::Consumer {
                id: id.value.0.clone(),
                name: text(&raw.name).unwrap_or_else(|| id.value.0.clone()),
                plan: text(&raw.plan),
                groups: raw.groups.value().0.into_iter().map(|group| group.value.0).collect(),
                attributes: raw.attributes.get().map(|it| it.value.0.clone()).unwrap_or_default(),
            });
        }
        found
    }

    /// What test keys reach.
    pub(super) fn sandbox(&mut self, raw: &raw::Version) -> Option<Arc<checked::Upstream>> {
        let wanted = raw.sandbox.get()?;
        let found = self.upstreams.get(&wanted.value.0).map(Arc::clone);
        if found.is_none() {
            let names: Vec<String> = self.upstreams.keys().cloned().collect();
            self.dangling("unknown_upstream", "upstream", wanted, names.iter().map(String::as_str));
        } else if raw.upstream.get().is_some_and(|live| live.value.0 == wanted.value.0) {
            let message = "test keys would reach the live upstream";
            let help = "name another upstream, or leave `sandbox` out: then test keys are refused";
            self.report(Report::error("sandbox_is_live", &wanted.at, message).help(help));
        }
        found
    }

    /// Who may call an operation, and what for.
    pub(super) fn auth_of(&mut self, keys: &OperationKeys, own: &OperationKeys) -> (Auth, Vec<String>) {
        let mut scopes: Vec<String> = keys.scopes.value().0.into_iter().map(|scope| scope.value.0).collect();
        scopes.sort();
        scopes.dedup();
        self.check_issuers(keys);
        let auth = match keys.auth.get().map(|auth| &auth.value) {
            None | Some(AuthSpec::None) => Auth::None,
            Some(AuthSpec::Any(rules)) => Auth::Any(rules.iter().map(rule).collect()),
        };
        if auth == Auth::None && !scopes.is_empty() {
            // Said once, where the entry itself asks for scopes that nobody can show.
            if let (Some(at), Some(_)) = (own.scopes.place(), keys.auth.get()) {
                let message = "anyone may call it, so nobody is asked for scopes";
                let help = "say who may call it with `auth: api_key`, or leave `scopes` out";
                let at = at.clone();
                self.report(Report::error("scopes_without_auth", &at, message).help(help));
            }
            scopes.clear();
        }
        (auth, scopes)
    }

    pub(super) fn preauth(raw: &Field<raw::PreauthOrOff>) -> Option<checked::Preauth> {
        let values = raw.keys_or(raw::Preauth::absent)?;
        Some(checked::Preauth { rate_per_s: values.rate.value().0, burst: values.burst.value().small() })
    }
}

fn rule(rule: &Spanned<raw::AuthRule>) -> AuthRule {
    match &rule.value {
        raw::AuthRule::One(method) => AuthRule::One(*method),
        raw::AuthRule::All(methods) => AuthRule::All(methods.clone()),
    }
}

/// A host without its port; an IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Headers that say something else already.
fn is_taken(header: &str) -> bool {
    const TAKEN: [&str; 14] = [
        "authorization",
        "proxy-authorization",
        "cookie",
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "x-request-id",
        "traceparent",
        "idempotency-key",
    ];
    TAKEN.contains(&header) || header.starts_with("x-consumer-") || header.starts_with("x-forwarded-")
}
