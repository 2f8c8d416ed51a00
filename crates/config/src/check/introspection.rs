//! `auth.introspection`, and whether somebody can be asked about the opaque tokens that operations take.

use std::collections::HashMap;

use super::Check;
use crate::checked::{ClientSecret, IntrospectionServer, Outbound};
use crate::decode::scalar::Text;
use crate::decode::{Field, List, Spanned, State};
use crate::diagnostic::{Place, Report};
use crate::raw;

impl Check<'_> {
    pub(super) fn introspection(
        &mut self,
        raw: &Field<List<raw::IntrospectionServer>>,
        outbound: &Outbound,
    ) -> Vec<IntrospectionServer> {
        let mut known: HashMap<String, Place> = HashMap::new();
        let mut found = Vec::new();
        for entry in raw.value().0 {
            let Some(server) = self.introspection_server(&entry, outbound) else { continue };
            if let Some(first) = known.get(&server.issuer) {
                let message = format!("this server is already in {}", self.files.show(first));
                self.report(
                    Report::error("duplicate_entry", &entry.at, message).help("one entry for a server"),
                );
                continue;
            }
            known.insert(server.issuer.clone(), entry.at.clone());
            found.push(server);
        }
        self.has_introspection = !found.is_empty() || matches!(raw.state, State::Unreadable);
        found
    }

    fn introspection_server(
        &mut self,
        entry: &Spanned<raw::IntrospectionServer>,
        outbound: &Outbound,
    ) -> Option<IntrospectionServer> {
        let raw = &entry.value;
        let help = "such as `issuer: https://old-idp.example.com`: what the server is called";
        let issuer = self.require(&raw.issuer, &entry.at, "the server has no `issuer`", help);
        let help = "such as `url: https://old-idp.example.com/introspect`";
        let url = self.require(&raw.url, &entry.at, "the server has no `url`", help);
        let help = "the engine's own client at that server, which may ask";
        let client_id = self.require(&raw.client_id, &entry.at, "the server has no `client_id`", help);
        let help = "such as `client_secret: \"${file:secrets/introspect}\"`";
        let secret = self.require(&raw.client_secret, &entry.at, "the server has no `client_secret`", help);
        let url = url.filter(|url| {
            let is_plain = !url.value.0.tls && outbound.allow.is_empty();
            if is_plain {
                let message = "tokens and the secret would go over the network in clear";
                let help = "write `https://`; inside a network of your own also list its addresses in `auth.outbound.allow`";
                self.report(Report::error("plain_endpoint", &url.at, message).help(help));
            }
            !is_plain
        });
        let text = |text: &Spanned<Text>| text.value.0.clone();
        let claim = |field: &Field<raw::ClaimName>| field.get().map(|name| name.value.0.clone());
        Some(IntrospectionServer {
            issuer: text(issuer?),
            url: url?.value.0.clone(),
            client_id: text(client_id?),
            client_secret: ClientSecret(text(secret?)),
            audiences: raw.audiences.value().0.iter().map(|audience| audience.value.0.clone()).collect(),
            clock_skew: raw.clock_skew.value().0,
            cache: raw.cache.value().0,
            consumer_claim: raw.consumer_claim.value().0,
            plan_claim: claim(&raw.plan_claim),
            mode_claim: claim(&raw.mode_claim),
            known_consumers: raw.known_consumers.value().0,
        })
    }
}
