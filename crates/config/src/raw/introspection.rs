//! Opaque tokens of other servers: which servers are asked about them (RFC 7662).

use serde_json::Value;

use super::token::{ClaimName, KeyPlace};
use crate::checked::FetchUrl;
use crate::decode::scalar::{Flag, Lasting, Text, pattern};
use crate::decode::{List, Refusal, Scalar, keys};

keys! {
    /// A server that says whether opaque tokens are good, and whose they are.
    pub(crate) struct IntrospectionServer {
        /// What it is called; where an answer has `iss`, that must say the same.
        issuer: Text,
        /// Its introspection endpoint: an `https://` URL.
        url: EndpointUrl,
        /// Who asks: the engine's own client at that server.
        client_id: Text,
        /// Its secret; best from a file or the environment: `${file:secrets/introspect}`.
        client_secret: Text,
        /// Which values of `aud` are accepted in answers. Without it an answer needs none, because the server knows who asks.
        audiences: List<Text> = "[]",
        /// How far its clock and ours may be apart.
        clock_skew: Lasting<0, 300_000> = "30s",
        /// How long an answer is kept, and so a token accepted after its server has taken it back. Never past the token's end.
        cache: Lasting<1_000, 3_600_000> = "60s",
        /// The member of the answer that names the consumer.
        consumer_claim: ClaimName = "client_id",
        /// The member that names the consumer's plan. Without it the catalogue's plan holds.
        plan_claim: ClaimName,
        /// The member that says `live` or `test`. Without it every token is `live`; with it each answer must say so.
        mode_claim: ClaimName,
        /// Whether only consumers of the catalogue or of this file are let in.
        known_consumers: Flag = "true",
    }
}

/// Where questions go.
#[derive(Clone, Debug)]
pub(crate) struct EndpointUrl(pub(crate) FetchUrl);

impl Scalar for EndpointUrl {
    const WHAT: &'static str = "an `https://` URL";

    fn read(text: &str, plain: bool) -> Result<EndpointUrl, Refusal> {
        match KeyPlace::read(text, plain)? {
            KeyPlace::Url(url) => Ok(EndpointUrl(url)),
            KeyPlace::File(_) => Err(Refusal::new("bad_introspection_url", "expected an `https://` URL")),
        }
    }

    fn schema() -> Value {
        pattern(r"^https?://[^@\s#]+$")
    }
}
