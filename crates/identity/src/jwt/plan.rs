//! What is accepted from an issuer: `auth.jwt.issuers` and `auth.oauth`, ready to be checked against.

use super::algorithm::Algorithm;

/// What is accepted from one issuer.
#[derive(Clone, Debug)]
pub struct IssuerPlan {
    /// `iss`, compared byte for byte.
    pub issuer: Box<str>,
    /// One of them must stand in `aud`. None: nothing is accepted.
    pub audiences: Vec<Box<str>>,
    /// `alg` must be one of them, and fit the key.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock and ours may be apart.
    pub clock_skew_ms: i64,
    /// What kinds of tokens it sends.
    pub types: TypeRule,
    /// Who its tokens are of.
    pub subject: Subject,
}

/// What `typ` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeRule {
    /// `at+jwt`, `JWT`, or nothing: many identity providers say no more.
    Any,
    /// `at+jwt` alone (RFC 9068).
    AccessTokenOnly,
}

/// How a token's claims become a caller.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Another issuer's: claims name the consumer. Whoever is an issuer here may name every consumer.
    Claims {
        /// Names the consumer.
        consumer_claim: Box<str>,
        /// Names the plan; where it is absent from a token, or not configured, the catalogue's plan holds.
        plan_claim: Option<Box<str>>,
        /// Says `live` or `test`; where it is configured it must be there.
        mode_claim: Option<Box<str>>,
        /// Only consumers that the catalogue or the file knows.
        is_known_only: bool,
    },
    /// The engine's own: client and user are in the index.
    Own,
}

/// All issuers.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    plans: Vec<IssuerPlan>,
}

impl Issuers {
    /// In the order in which key sets are numbered.
    pub fn new(plans: Vec<IssuerPlan>) -> Self {
        Self { plans }
    }

    /// All of them, by their numbers.
    pub fn plans(&self) -> &[IssuerPlan] {
        &self.plans
    }

    /// The one with exactly this name, with its number.
    pub(super) fn find(&self, issuer: &str) -> Option<(usize, &IssuerPlan)> {
        self.plans.iter().enumerate().find(|(_, plan)| *plan.issuer == *issuer)
    }
}
