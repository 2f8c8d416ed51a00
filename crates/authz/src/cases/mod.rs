//! Tables of cases beside the policies: who may do what, written down, and tried.
//!
//! `policies/payments/refunds.cases.yaml` is about the api `payments`; one in `_all/` names the api of each case. Each case is
//! decided by the same code as a request. A policy that no case decided is named: nobody would notice if it were gone.
//!
//! ```yaml
//! cases:
//!   - name: a teller refunds up to the limit
//!     principal: { user: alice, consumer: acme, groups: [tellers], plan: pro, attributes: { refund_max: 50000 } }
//!     operation: createRefund         # or what policies call it; `version: v2` where not all are meant
//!     path: { id: pay_1 }
//!     body: { amount: { value: 50000 } }   # or the body's own text: body: '{"amount":{"value":50000}}'
//!     context: { hour: 12, weekday: monday, address: 192.0.2.1, auth_method: api_key, mode: live, scopes: [refunds:write] }
//!     expect: allow                   # allow | deny | error
//!     by: tellers-refund              # optional: a policy, or several, that have to be among those that decide
//! ```
//!
//! Without `principal`, nobody in particular calls. What a case does not say is as in the example's `context`, without scopes,
//! on a Wednesday, with `auth_method: api_key`.

mod read;
mod run;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::decide::Decision;

pub use read::{Case, parse};
pub use run::run;

/// What came of all cases.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order of the cases; a case about several versions has one for each.
    pub results: Vec<CaseResult>,
    /// Policies in force that no case decided.
    pub undecided: Vec<PolicyRef>,
}

impl Report {
    /// Whether every case came out as expected.
    pub fn passed(&self) -> bool {
        self.results.iter().all(|result| result.differs.is_none())
    }
}

/// What came of one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// The case's name, with the version where it is about several.
    pub name: String,
    /// Where it stands.
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
    /// How it differs from what was expected; `None`: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// What was decided; `None` where the case is about nothing that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// A policy, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyRef {
    /// Where it stands.
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
    /// Its `@id`, or file and number.
    pub id: Arc<str>,
}
