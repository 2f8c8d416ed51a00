//! What an operation asks for, and whether what was proved is enough.

use std::sync::Arc;

use mainstay_core::principal::{AuthMethod, Caller};

use super::{Presented, Token};
use crate::refusal::Refusal;

/// An operation's `auth`: any of these, each a list of methods that are needed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    any_of: Vec<Vec<AuthMethod>>,
    accepted: [bool; AuthMethod::ALL.len()],
}

/// What of the presented counts for an operation and has to be proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relevant<'a> {
    /// To be looked up in the index.
    pub api_key: Option<&'a [u8]>,
    /// To be verified, or sent to introspection.
    pub token: Option<Token<'a>>,
    /// The connection's certificate is to be looked at.
    pub certificate: bool,
}

/// What came of proving one credential.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// How it was tried. For a token that was refused: any method of tokens.
    pub method: AuthMethod,
    /// Who it is.
    pub outcome: Result<Arc<Caller>, Refusal>,
}

impl Requirement {
    /// From the configuration. Empty lists in it ask for nothing and are left out: an operation is not opened by them.
    pub fn new(any_of: Vec<Vec<AuthMethod>>) -> Self {
        let any_of: Vec<_> = any_of.into_iter().filter(|all| !all.is_empty()).collect();
        let accepted = AuthMethod::ALL.map(|method| any_of.iter().flatten().any(|m| *m == method));
        Self { any_of, accepted }
    }

    /// Whether the method stands in it anywhere.
    pub fn accepts(&self, method: AuthMethod) -> bool {
        AuthMethod::ALL.iter().zip(self.accepted).any(|(m, accepted)| *m == method && accepted)
    }

    /// What has to be proved. Whatever the operation does not accept is no credential here.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn relevant<'a>(
        &self,
        presented: &Presented<'a>,
        has_certificate: bool,
    ) -> Result<Relevant<'a>, Refusal> {
        let takes_tokens = [AuthMethod::Jwt, AuthMethod::Oauth, AuthMethod::Introspection];
        let takes_tokens = takes_tokens.iter().any(|method| self.accepts(*method));
        let relevant = Relevant {
            api_key: presented.api_key.filter(|_| self.accepts(AuthMethod::ApiKey)),
            token: presented.token.filter(|_| takes_tokens),
            certificate: has_certificate && self.accepts(AuthMethod::Mtls),
        };
        if relevant == Relevant::default() { Err(Refusal::NoCredentials) } else { Ok(relevant) }
    }

    /// Whether that is enough, and who it is.
    ///
    /// # Errors
    /// A header's credential was refused, something is missing, or they are not one identity.
    pub fn decide(&self, attempts: &[Attempt]) -> Result<Arc<Caller>, Refusal> {
        let refused = |is_mtls: bool| {
            attempts
                .iter()
                .filter(move |attempt| (attempt.method == AuthMethod::Mtls) == is_mtls)
                .find_map(|attempt| attempt.outcome.as_ref().err().copied())
        };
        if let Some(refusal) = refused(false) {
            return Err(refusal);
        }
        let proved = |method: AuthMethod| {
            let attempt = attempts.iter().find(|attempt| attempt.method == method)?;
            attempt.outcome.as_ref().ok()
        };
        let all_proved = AuthMethod::ALL.iter().copied().filter(|m| self.accepts(*m)).filter_map(proved);
        let all_proved: Vec<_> = all_proved.collect();
        let enough = self.any_of.iter().find(|all| all.iter().all(|method| proved(*method).is_some()));
        let Some(enough) = enough else {
            let missing = if all_proved.is_empty() { Refusal::NoCredentials } else { Refusal::Incomplete };
            return Err(refused(true).unwrap_or(missing));
        };
        if !are_one(&all_proved) {
            return Err(Refusal::TwoIdentities);
        }
        let parts: Vec<_> = enough.iter().filter_map(|method| proved(*method)).collect();
        together(&parts).ok_or(Refusal::NoCredentials)
    }
}

/// Whether all are the same consumer, in the same mode. One alone always is; beside another, one without a consumer is
/// bound to nothing. A certificate has no mode of its own.
fn are_one(callers: &[&Arc<Caller>]) -> bool {
    let [first, rest @ ..] = callers else { return true };
    let same_consumer = rest.iter().all(|other| first.consumer.is_some() && first.consumer == other.consumer);
    let mut modes =
        callers.iter().filter(|caller| caller.method != AuthMethod::Mtls).map(|caller| caller.mode);
    let first_mode = modes.next();
    same_consumer && modes.all(|mode| Some(mode) == first_mode)
}

/// One caller of several that are one: the token's, which may name a person, with the scopes that all have. A certificate
/// has no scopes and takes none away.
fn together(parts: &[&Arc<Caller>]) -> Option<Arc<Caller>> {
    let is_token = |c: &&&Arc<Caller>| {
        matches!(c.method, AuthMethod::Oauth | AuthMethod::Jwt | AuthMethod::Introspection)
    };
    let with_scopes = |c: &&&Arc<Caller>| c.method != AuthMethod::Mtls;
    let leading = parts.iter().find(is_token).or_else(|| parts.iter().find(with_scopes)).or(parts.first());
    let leading = leading?;
    if parts.len() == 1 {
        return Some(Arc::clone(leading));
    }
    let mut caller = Caller::clone(leading);
    for part in parts {
        if part.method != AuthMethod::Mtls {
            caller.scopes = Arc::new(caller.scopes.common(&part.scopes));
        }
        caller.key_id = caller.key_id.or_else(|| part.key_id.clone());
        caller.client_id = caller.client_id.or_else(|| part.client_id.clone());
        // Generations only grow, so the largest changes when any of them does.
        caller.generation = caller.generation.max(part.generation);
    }
    Some(Arc::new(caller))
}
