//! Tokens of other issuers, after every check.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::algorithm::Algorithm;
use serde::{Deserialize, Serialize};

use super::Network;

/// One of `auth.jwt.issuers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtIssuer {
    /// `iss`, byte for byte. No two are the same.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeyPlace,
    /// At least one.
    pub audiences: Vec<String>,
    /// At least one.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock and ours may be apart.
    pub clock_skew: Duration,
    /// Names the consumer.
    pub consumer_claim: String,
    /// Names the plan.
    pub plan_claim: Option<String>,
    /// Says `live` or `test`.
    pub mode_claim: Option<String>,
    /// Whether only consumers that are known are let in.
    pub known_consumers: bool,
    /// Whether `typ` must be `at+jwt`.
    pub access_tokens_only: bool,
}

/// Where a key set is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyPlace {
    /// Fetched.
    Url(FetchUrl),
    /// Read. Absolute, or relative to the working directory.
    File(PathBuf),
}

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchUrl {
    /// Over TLS.
    pub tls: bool,
    /// A name, or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub target: String,
}

impl FetchUrl {
    /// Host and port as `Host` has them; the usual port is left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for FetchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}{}", if self.tls { "s" } else { "" }, self.authority(), self.target)
    }
}

/// `auth.outbound`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// Addresses that may be asked although they are not public.
    pub allow: Vec<Network>,
    /// Whom to trust; `None`: what this machine trusts.
    pub ca: Option<PathBuf>,
    /// How long a request waits.
    pub wait: Duration,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { allow: Vec::new(), ca: None, wait: Duration::from_millis(500) }
    }
}

/// `auth.forward`: what an upstream sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The token.
    pub jwt: bool,
    /// The API key.
    pub api_key: bool,
}
