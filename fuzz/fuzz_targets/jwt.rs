//! Tokens: no panic, nothing is accepted without a signature, and what is prepared says what its text says.
#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use mainstay_core::clock::UnixMs;
use mainstay_identity::index::Index;
use mainstay_identity::jwks::KeySet;
use mainstay_identity::jwt::{Algorithm, IssuerPlan, Issuers, Subject, TypeRule, prepare};

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    Issuers::new(vec![IssuerPlan {
        issuer: "i".into(),
        audiences: vec!["a".into()],
        algorithms: Algorithm::ALL.to_vec(),
        clock_skew_ms: 30_000,
        types: TypeRule::Any,
        subject: Subject::Claims {
            consumer_claim: "client_id".into(),
            plan_claim: Some("plan".into()),
            mode_claim: None,
            is_known_only: false,
        },
    }])
});

/// The public key of RFC 8037, appendix A.2. Nobody signs with it here.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fuzz_target!(|input: &[u8]| {
    let now = UnixMs(1_000_000_000);
    let (keys, _) = KeySet::parse(KEYS.as_bytes()).expect("a set");
    let index = Index::new(Arc::default());
    // As it is; and as the three parts' contents, so that the fuzzer need not learn base64.
    let parts = input.split(|byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part));
    let encoded = parts.collect::<Vec<_>>().join(".");
    for token in [input, encoded.as_bytes()] {
        let Ok(prepared) = prepare(token, &ISSUERS, now) else { continue };
        assert_eq!(token.iter().filter(|byte| **byte == b'.').count(), 2);
        assert_eq!(prepared.issuer(), 0);
        assert!(prepared.key_id().is_none_or(|id| id.len() <= 256));
        assert!(prepared.verify(&keys, &index).is_err(), "a signature of nobody");
    }
});
