//! Tokens of other issuers, after every check.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
    pub algorithms: Vec<TokenAlgorithm>,
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

/// An algorithm of signatures (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// RSA, PKCS 1, SHA-256.
    Rs256,
    /// RSA, PKCS 1, SHA-384.
    Rs384,
    /// RSA, PKCS 1, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// ECDSA, P-256.
    Es256,
    /// ECDSA, P-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// As `alg` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
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
