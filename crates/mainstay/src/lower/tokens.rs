//! The table of issuers: whose tokens are accepted, and where their keys come from.
//!
//! Each issuer is a pair of a plan and of keys ([`TokensPlan::new`]). An issuer of the engine's own is one more pair, with
//! [`IssuerKeys::inside`] in place of a source that is read or fetched.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use mainstay_config::checked::{self, Checked, JwtIssuer, KeyPlace};
use mainstay_identity::jwks::{KeySet, Keys, SET_BYTES_MAX, SetError, SourcePlan};
use mainstay_identity::jwt::{IssuerPlan, Subject, TypeRule};
use mainstay_proxy::plan::Snapshot;
use mainstay_proxy::tls::pem;
use mainstay_proxy::tokens::{IssuerKeys, TokensPlan};

use super::{LowerError, Surroundings, introspection};

pub(super) fn plan(checked: &Checked, with: &Surroundings<'_>) -> Result<TokensPlan, LowerError> {
    let identity = &checked.identity;
    // Found out here, where it is a sentence, and not with the first fetch.
    if let Some(ca) = &identity.outbound.ca {
        let refused = |error| LowerError::Tls { key: "auth.outbound.ca".to_owned(), error };
        pem::roots(ca).map_err(refused)?;
    }
    let issuers = identity
        .issuers
        .iter()
        .enumerate()
        .map(|(at, issuer)| Ok((issuer_plan(issuer), keys(at, issuer, &identity.outbound, with.old)?)));
    let mut plan = TokensPlan::new(issuers.collect::<Result<_, LowerError>>()?, identity.forward.jwt);
    plan.introspection = introspection::plan(checked, with);
    Ok(plan)
}

fn issuer_plan(issuer: &JwtIssuer) -> IssuerPlan {
    let claim = |name: &Option<String>| name.as_deref().map(Into::into);
    IssuerPlan {
        issuer: issuer.issuer.as_str().into(),
        audiences: issuer.audiences.iter().map(|it| it.as_str().into()).collect(),
        algorithms: issuer.algorithms.clone(),
        clock_skew_ms: i64::try_from(issuer.clock_skew.as_millis()).unwrap_or(i64::MAX),
        types: if issuer.access_tokens_only { TypeRule::AccessTokenOnly } else { TypeRule::Any },
        subject: Subject::Claims {
            consumer_claim: issuer.consumer_claim.as_str().into(),
            plan_claim: claim(&issuer.plan_claim),
            mode_claim: claim(&issuer.mode_claim),
            is_known_only: issuer.known_consumers,
        },
    }
}

/// Those of the configuration before go on if they come from the same place in the same way.
fn keys(
    at: usize,
    issuer: &JwtIssuer,
    outbound: &checked::Outbound,
    old: Option<&Snapshot>,
) -> Result<Arc<IssuerKeys>, LowerError> {
    let source = match &issuer.keys {
        KeyPlace::File(path) => path.display().to_string(),
        KeyPlace::Url(url) => format!("{url} {outbound:?}"),
    };
    let known = old.iter().flat_map(|old| old.identity.tokens.keys());
    let is_it = |keys: &&Arc<IssuerKeys>| *keys.issuer == *issuer.issuer && *keys.source == *source;
    if let Some(keys) = { known }.find(is_it) {
        return Ok(Arc::clone(keys));
    }
    let keys = match &issuer.keys {
        KeyPlace::Url(_) => {
            let wait_ms = u64::try_from(outbound.wait.as_millis()).unwrap_or(u64::MAX);
            Keys::new(SourcePlan { wait_ms, ..SourcePlan::default() })
        }
        KeyPlace::File(path) => {
            let read = read(path).and_then(|text| Ok((parse(path, &text)?, text)));
            let refused = |error| LowerError::Keys { key: format!("auth.jwt.issuers.{at}.jwks"), error };
            let (set, text) = read.map_err(refused)?;
            Keys::fixed(set, &text)
        }
    };
    Ok(Arc::new(IssuerKeys::new(&issuer.issuer, &source, keys)))
}

/// The text of a key set, and no more of a file than one may have.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(SET_BYTES_MAX as u64 + 1).read_to_end(&mut text));
    read.map(|_| text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The keys of a text.
pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<KeySet, String> {
    KeySet::parse(text).map(|(set, _)| set).map_err(|error| format!("{}: {}", path.display(), why(error)))
}

/// Why a text is no key set, in words.
pub(crate) fn why(error: SetError) -> &'static str {
    match error {
        SetError::TooLarge => "it is larger than any key set (256 KiB)",
        SetError::Malformed => "it is no JSON object with a list `keys`",
        SetError::NoUsableKey => "no key in it can be used to check signatures",
    }
}
