//! Tokens of other issuers: who issues them, where their keys are, and what is fetched for it.

use mainstay_core::algorithm::Algorithm;
use serde_json::Value;

use super::NetworkSpec;
use super::network::{host_and_port, host_problem};
use crate::checked::FetchUrl;
use crate::decode::scalar::{Flag, Lasting, Text, pattern, substitutable, unknown_word, words};
use crate::decode::{List, Refusal, Scalar, keys};

/// Longer URLs are no addresses of key sets.
const URL_BYTES_MAX: usize = 1024;

keys! {
    /// JSON Web Tokens of other issuers.
    pub(crate) struct JwtAuth {
        /// Who issues tokens that are accepted.
        issuers: List<JwtIssuer> = "[]",
    }

    /// Who issues tokens, how they are checked, and whom they name.
    pub(crate) struct JwtIssuer {
        /// What the claim `iss` says, byte for byte.
        issuer: Text,
        /// Where its public keys are (a JWK set): an `https://` URL, or a file, relative to this one.
        jwks: KeyPlace,
        /// Which values of the claim `aud` are accepted; one of them must stand in it.
        audiences: List<Text>,
        /// The algorithms that it may sign with: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`.
        algorithms: List<AlgorithmName> = "[RS256, ES256, EdDSA]",
        /// How far its clock and ours may be apart.
        clock_skew: Lasting<0, 300_000> = "30s",
        /// The claim that names the consumer.
        consumer_claim: ClaimName = "client_id",
        /// The claim that names the consumer's plan. Without it the catalogue's plan holds.
        plan_claim: ClaimName,
        /// The claim that says `live` or `test`. Without it every token is `live`; with it each token must say so.
        mode_claim: ClaimName,
        /// Whether only consumers of the catalogue or of this file are let in. With `false` the issuer decides who is one, and
        /// only consumers that are known can be suspended.
        known_consumers: Flag = "true",
        /// Whether `typ` must be `at+jwt` (RFC 9068). Many identity providers say `JWT`, or nothing.
        access_tokens_only: Flag = "false",
    }

    /// What the engine itself fetches. Addresses that are not public are refused, redirects are not followed.
    pub(crate) struct Outbound {
        /// Addresses and networks that may be asked although they are not public: private, loopback, link-local and the
        /// like. Also where `http://` without TLS may be used.
        allow: List<NetworkSpec> = "[]",
        /// The authorities that are trusted in place of this machine's: a file of certificates.
        ca: Text,
        /// How long a request waits for what is being fetched for it; then it is 503 `identity_unavailable`.
        wait: Lasting<0, 10_000> = "500ms",
    }
}

words! {
    /// A kind of credential that goes on to the upstream.
    pub(crate) enum Forwarded {
        Jwt = "jwt",
        ApiKey = "api_key",
    }
}

/// An algorithm of signatures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlgorithmName(pub(crate) Algorithm);

impl Scalar for AlgorithmName {
    const WHAT: &'static str = "an algorithm of signatures";

    fn read(text: &str, _plain: bool) -> Result<AlgorithmName, Refusal> {
        let names = Algorithm::ALL.map(Algorithm::name);
        if text.eq_ignore_ascii_case("none") || text.starts_with("HS") {
            let why = "anyone could make such tokens, or whoever checks them";
            return Err(Refusal::new("weak_algorithm", why).help(format!("one of {}", names.join(", "))));
        }
        Algorithm::from_name(text).map(AlgorithmName).ok_or_else(|| unknown_word(text, &names))
    }

    fn schema() -> Value {
        substitutable(&serde_json::json!({ "enum": Algorithm::ALL.map(Algorithm::name) }))
    }
}

/// The name of a claim. Of nested claims only the outermost can be named.
#[derive(Clone, Debug)]
pub(crate) struct ClaimName(pub(crate) String);

impl Scalar for ClaimName {
    const WHAT: &'static str = "the name of a claim";

    fn read(text: &str, plain: bool) -> Result<ClaimName, Refusal> {
        // Names of claims are texts of any kind; URLs are common.
        Text::read(text, plain).map(|name| ClaimName(name.0))
    }

    fn schema() -> Value {
        Text::schema()
    }
}

/// Where a key set is.
#[derive(Clone, Debug)]
pub(crate) enum KeyPlace {
    Url(FetchUrl),
    File(String),
}

impl Scalar for KeyPlace {
    const WHAT: &'static str = "an `https://` URL or a file";

    fn read(text: &str, plain: bool) -> Result<KeyPlace, Refusal> {
        let refused =
            |why: &str| Refusal::new("bad_key_set", format!("expected an `https://` URL or a file: {why}"));
        let (rest, tls) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (rest, true),
            (None, Some(rest)) => (rest, false),
            (None, None) if text.contains("://") => return Err(refused("no other scheme is fetched")),
            (None, None) => return Text::read(text, plain).map(|name| KeyPlace::File(name.0)),
        };
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(split);
        if authority.contains('@') {
            return Err(refused("it carries no user or password"));
        }
        let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\';
        if text.len() > URL_BYTES_MAX || !target.bytes().all(is_visible) {
            return Err(refused("its path is of visible ASCII characters, without a fragment"));
        }
        let (host, port) = host_and_port(authority, if tls { 443 } else { 80 }).map_err(refused)?;
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        // `2130706433` and `0x7f.1` are addresses to some resolvers: nobody means them.
        let is_number =
            |label: &str| label.starts_with("0x") || label.bytes().all(|byte| byte.is_ascii_digit());
        if !is_address && (host_problem(&host).is_some() || host.rsplit('.').next().is_some_and(is_number)) {
            return Err(refused("its host is neither a name nor an address"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(KeyPlace::Url(FetchUrl { tls, host, port, target }))
    }

    fn schema() -> Value {
        pattern(r"^(https?://[^@\s#]+|[^:]+)$")
    }
}
