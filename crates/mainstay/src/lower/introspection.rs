//! The servers that are asked about opaque tokens.

use std::sync::Arc;
use std::time::Duration;

use mainstay_config::checked::{Checked, IntrospectionServer};
use mainstay_identity::introspection::ServerPlan;
use mainstay_identity::jwt::Subject;
use mainstay_identity::key::sha256;
use mainstay_proxy::introspection::Introspection;

use super::Surroundings;

/// Those of the configuration before go on, with what they have said, if nothing about them is another.
pub(super) fn plan(checked: &Checked, with: &Surroundings<'_>) -> Option<Arc<Introspection>> {
    let identity = &checked.identity;
    if identity.introspection.is_empty() {
        return None;
    }
    // Secrets have no `Debug`, and whoever asks has to have the new one.
    let secrets = identity.introspection.iter().map(|server| sha256(server.client_secret.0.as_bytes()));
    let secrets: Vec<_> = secrets.collect();
    let source = format!("{:?} {:?} {secrets:?}", identity.introspection, identity.outbound);
    let known = with.old.and_then(|old| old.identity.tokens.introspection.as_ref());
    if let Some(known) = known.filter(|known| *known.source == *source) {
        return Some(Arc::clone(known));
    }
    let servers = identity.introspection.iter().map(server).collect();
    Some(Arc::new(Introspection::new(servers, &source, identity.outbound.wait)))
}

fn server(server: &IntrospectionServer) -> ServerPlan {
    let claim = |name: &Option<String>| name.as_deref().map(Into::into);
    ServerPlan {
        issuer: server.issuer.as_str().into(),
        audiences: server.audiences.iter().map(|it| it.as_str().into()).collect(),
        clock_skew_ms: ms(server.clock_skew),
        keep_ms: ms(server.cache),
        subject: Subject::Claims {
            consumer_claim: server.consumer_claim.as_str().into(),
            plan_claim: claim(&server.plan_claim),
            mode_claim: claim(&server.mode_claim),
            is_known_only: server.known_consumers,
        },
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
