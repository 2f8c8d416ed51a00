//! `auth.jwt`, `auth.outbound` and `auth.forward`, and whether somebody can show the tokens that operations ask for.

use std::collections::HashMap;

use mainstay_core::principal::AuthMethod;

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{Forward, IntrospectionServer, JwtIssuer, KeyPlace, Outbound};
use crate::decode::scalar::Text;
use crate::decode::{Field, List, Spanned, State};
use crate::diagnostic::{Place, Report};
use crate::raw::{self, AuthSpec, OperationKeys};

/// What `auth` says of tokens.
pub(super) struct Tokens {
    pub(super) issuers: Vec<JwtIssuer>,
    pub(super) introspection: Vec<IntrospectionServer>,
    pub(super) outbound: Outbound,
    pub(super) forward: Forward,
}

impl Check<'_> {
    /// Before the operations, which ask for them.
    pub(super) fn tokens(&mut self, merged: &Merged) -> Tokens {
        let auth = block(&merged.auth, raw::Auth::absent);
        let outbound = self.outbound(&auth.outbound);
        let introspection = self.introspection(&auth.introspection, &outbound);
        let issuers = self.issuers(&auth.jwt, &outbound);
        Tokens { issuers, introspection, outbound, forward: forward(&auth.forward) }
    }

    fn outbound(&mut self, raw: &Field<raw::Outbound>) -> Outbound {
        let raw = block(raw, raw::Outbound::absent);
        Outbound {
            allow: raw.allow.value().0.iter().map(|network| network.value.0).collect(),
            ca: raw.ca.get().map(|name| self.file(name)),
            wait: raw.wait.value().0,
        }
    }

    fn issuers(&mut self, raw: &Field<raw::JwtAuth>, outbound: &Outbound) -> Vec<JwtIssuer> {
        let raw = block(raw, raw::JwtAuth::absent);
        let mut known: HashMap<String, Place> = HashMap::new();
        let mut found = Vec::new();
        for entry in raw.issuers.value().0 {
            let Some(issuer) = self.issuer(&entry, outbound) else { continue };
            if let Some(first) = known.get(&issuer.issuer) {
                let message = format!("this issuer is already in {}", self.files.show(first));
                let help = "one entry for an issuer; it may have several audiences";
                self.report(Report::error("duplicate_entry", &entry.at, message).help(help));
                continue;
            }
            known.insert(issuer.issuer.clone(), entry.at.clone());
            found.push(issuer);
        }
        self.has_issuers = !found.is_empty() || matches!(raw.issuers.state, State::Unreadable);
        found
    }

    fn issuer(&mut self, entry: &Spanned<raw::JwtIssuer>, outbound: &Outbound) -> Option<JwtIssuer> {
        let raw = &entry.value;
        let help = "such as `issuer: https://id.example.com`: what the claim `iss` says";
        let issuer = self.require(&raw.issuer, &entry.at, "the issuer has no `issuer`", help);
        let help = "such as `jwks: https://id.example.com/.well-known/jwks.json`, or a file";
        let keys = self.require(&raw.jwks, &entry.at, "the issuer has no `jwks`", help);
        let help = "what the claim `aud` says of tokens for this API; other tokens are for somebody else";
        let audiences = self.require(&raw.audiences, &entry.at, "the issuer has no `audiences`", help);
        if let Some(list) = audiences.filter(|list| list.value.0.is_empty()) {
            let message = "no audience, so no token would be accepted";
            self.report(Report::error("empty_list", &list.at, message).help(help));
        }
        if let (true, Some(at)) = (raw.algorithms.value().0.is_empty(), raw.algorithms.place()) {
            let at = at.clone();
            let report = Report::error("empty_list", &at, "no algorithm, so no token would be accepted");
            self.report(report.help("such as `[RS256, ES256]`, or leave it out"));
        }
        let keys = keys.and_then(|place| self.key_place(place, outbound));
        let claim = |field: &Field<raw::ClaimName>| field.get().map(|name| name.value.0.clone());
        Some(JwtIssuer {
            issuer: issuer?.value.0.clone(),
            keys: keys?,
            audiences: audiences?.value.0.iter().map(|audience| audience.value.0.clone()).collect(),
            algorithms: raw.algorithms.value().0.iter().map(|algorithm| algorithm.value.0).collect(),
            clock_skew: raw.clock_skew.value().0,
            consumer_claim: raw.consumer_claim.value().0,
            plan_claim: claim(&raw.plan_claim),
            mode_claim: claim(&raw.mode_claim),
            known_consumers: raw.known_consumers.value().0,
            access_tokens_only: raw.access_tokens_only.value().0,
        })
    }

    fn key_place(&mut self, place: &Spanned<raw::KeyPlace>, outbound: &Outbound) -> Option<KeyPlace> {
        match &place.value {
            raw::KeyPlace::File(name) => {
                let name = Spanned {
                    value: Text(name.clone()),
                    at: place.at.clone(),
                    written: place.written.clone(),
                };
                Some(KeyPlace::File(self.file(&name)))
            }
            raw::KeyPlace::Url(url) if !url.tls && outbound.allow.is_empty() => {
                let message = "keys that come without TLS could be anybody's";
                let help = "write `https://`; inside a network of your own also list its addresses in `auth.outbound.allow`";
                self.report(Report::error("plain_key_set", &place.at, message).help(help));
                None
            }
            raw::KeyPlace::Url(url) => Some(KeyPlace::Url(url.clone())),
        }
    }

    /// An operation that asks for tokens which nobody issues.
    pub(super) fn check_issuers(&mut self, keys: &OperationKeys) {
        let Some(auth) = keys.auth.get() else { return };
        let AuthSpec::Any(rules) = &auth.value else { return };
        for rule in rules {
            let asks_for = |wanted: AuthMethod| match &rule.value {
                raw::AuthRule::One(method) => *method == wanted,
                raw::AuthRule::All(all) => all.contains(&wanted),
            };
            let asks = asks_for(AuthMethod::Jwt);
            if asks_for(AuthMethod::Introspection)
                && !self.has_introspection
                && self.told_issuers.insert(rule.at.clone())
            {
                let message = "`introspection` is asked for, and there is no server to ask";
                let help = "name one in `auth.introspection`";
                self.report(Report::error("no_introspection", &rule.at, message).help(help));
            }
            // An entry of a class or of `defaults` stands for many operations, and is wrong once.
            if asks && !self.has_issuers && self.told_issuers.insert(rule.at.clone()) {
                let message = "`jwt` is asked for, and nobody is known to issue any";
                let help = "name who does in `auth.jwt.issuers`";
                self.report(Report::error("no_issuers", &rule.at, message).help(help));
            }
        }
    }
}

fn forward(raw: &Field<List<raw::Forwarded>>) -> Forward {
    let all = raw.value().0;
    let has = |wanted| all.iter().any(|it| it.value == wanted);
    Forward { jwt: has(raw::Forwarded::Jwt), api_key: has(raw::Forwarded::ApiKey) }
}
