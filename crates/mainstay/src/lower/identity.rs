//! Who may call, and who is known.

use std::sync::Arc;

use http::HeaderName;
use mainstay_config::checked::{self, Auth, AuthRule, Checked};
use mainstay_core::principal::AuthMethod;
use mainstay_core::random::Random;
use mainstay_core::{Priority, ScopeNames};
use mainstay_identity::credentials::Requirement;
use mainstay_identity::preauth::{Failures, RatePlan};
use mainstay_proxy::plan::{AuthPlan, IdentityPlan, PreauthLive, PreauthPlan, ScopesPlan, Snapshot, Tier};

use super::{Defect, LowerError, Surroundings, tokens};

pub(super) fn auth(auth: &Auth) -> AuthPlan {
    match auth {
        Auth::None => AuthPlan::Anyone,
        Auth::Any(rules) => {
            let ways = rules.iter().map(way).collect();
            AuthPlan::Any(Requirement::new(ways))
        }
    }
}

fn way(rule: &AuthRule) -> Vec<AuthMethod> {
    match rule {
        AuthRule::One(method) => vec![*method],
        AuthRule::All(methods) => methods.clone(),
    }
}

/// The error is the check's: it knows the bound.
pub(super) fn scopes(names: &[String], numbers: &ScopeNames) -> Result<ScopesPlan, Defect> {
    let required = numbers.give(names.iter().map(String::as_str));
    let required = required.map_err(|_| Defect("there are too many scopes".to_owned()))?;
    Ok(ScopesPlan { required, names: names.join(" ").into() })
}

pub(crate) fn priority(priority: checked::Priority) -> Priority {
    match priority {
        checked::Priority::Critical => Priority::Critical,
        checked::Priority::High => Priority::High,
        checked::Priority::Normal => Priority::Normal,
        checked::Priority::Low => Priority::Low,
    }
}

pub(super) fn plan(checked: &Checked, with: &Surroundings<'_>) -> Result<IdentityPlan, LowerError> {
    let identity = &checked.identity;
    let header = &identity.api_keys.header;
    let key_header = HeaderName::try_from(header).map_err(|_| Defect(format!("the header {header}")))?;
    let tier = |(name, plan): (&String, &checked::Plan)| {
        (Box::from(name.as_str()), Tier { priority: priority(plan.priority) })
    };
    Ok(IdentityPlan {
        key_header,
        tiers: identity.plans.iter().map(tier).collect(),
        preauth: checked.server.preauth.map(|limit| preauth(limit, with.old)),
        tokens: tokens::plan(checked, with)?,
        is_key_forwarded: identity.forward.api_key,
    })
}

/// Clients whose wrong credentials are counted at once.
const CLIENTS: usize = 16 * 1024;
/// Of a client's wrong credentials so many may begin alike: one in so many, since whoever tries a key digit by digit begins
/// with the same ones.
const ALIKE: u32 = 4;

/// The one before goes on if it is the same limit, so that a reload forgives nobody.
fn preauth(limit: checked::Preauth, old: Option<&Snapshot>) -> PreauthLive {
    let plan = PreauthPlan { rate_per_s: limit.rate_per_s, burst: limit.burst };
    if let Some(live) = old.and_then(|old| old.identity.preauth.as_ref()).filter(|live| live.plan == plan) {
        return live.clone();
    }
    let by_address = RatePlan::per_second(plan.rate_per_s, plan.burst.into());
    let by_key = RatePlan::per_second(plan.rate_per_s / f64::from(ALIKE), (plan.burst / ALIKE).max(1).into());
    let random = Random::from_os();
    let failures = Failures::new(by_address, by_key, CLIENTS, [random.bits(), random.bits()]);
    PreauthLive { plan, failures: Arc::new(failures) }
}
