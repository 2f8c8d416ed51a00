//! Servers that are asked about opaque tokens, after every check.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FetchUrl;

/// One of `auth.introspection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntrospectionServer {
    /// What it is called. No two are the same.
    pub issuer: String,
    /// Where it is asked.
    pub url: FetchUrl,
    /// Who asks.
    pub client_id: String,
    /// And proves it.
    pub client_secret: ClientSecret,
    /// Accepted values of `aud`; empty: none is needed.
    pub audiences: Vec<String>,
    /// How far its clock and ours may be apart.
    pub clock_skew: Duration,
    /// How long an answer is kept.
    pub cache: Duration,
    /// Names the consumer.
    pub consumer_claim: String,
    /// Names the plan.
    pub plan_claim: Option<String>,
    /// Says `live` or `test`.
    pub mode_claim: Option<String>,
    /// Whether only consumers that are known are let in.
    pub known_consumers: bool,
}

/// A secret that the configuration brings. It has no `Display`, and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret(pub String);

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret")
    }
}
