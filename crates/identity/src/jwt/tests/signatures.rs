use super::*;
use TokenRefusal as R;

fn kid_of(algorithm: Algorithm) -> &'static str {
    match KeyKind::of(algorithm) {
        KeyKind::Rsa => "rsa",
        KeyKind::P256 => "p256",
        KeyKind::P384 => "p384",
        KeyKind::Ed25519 => "ed",
    }
}

fn header(alg: &str, kid: &str) -> String {
    json!({ "alg": alg, "kid": kid }).to_string()
}

#[test]
fn every_algorithm_with_its_own_key() {
    let claims = claims().to_string();
    for algorithm in Algorithm::ALL {
        let (key, kid) = (key_of(algorithm), kid_of(algorithm));
        let token = key.token(algorithm, &header(algorithm.name(), kid), &claims);
        check(algorithm.name(), &token, Ok(()));
        // Not in the issuer's list.
        let others = Algorithm::ALL.into_iter().filter(|it| *it != algorithm).collect();
        let issuers = Issuers::new(vec![IssuerPlan { algorithms: others, ..plan(ISSUER) }]);
        let verified = verify_with(&token, &issuers, &keys(), &index());
        assert_eq!(verified.map(|_| ()), Err(R::Algorithm), "{algorithm:?}");
        // Another algorithm in the header than in the signature.
        for claimed in Algorithm::ALL.into_iter().filter(|it| *it != algorithm) {
            let token = key.token(algorithm, &header(claimed.name(), kid), &claims);
            let expected =
                if KeyKind::of(claimed) == KeyKind::of(algorithm) { R::Signature } else { R::Algorithm };
            check(&format!("{algorithm:?} as {claimed:?}"), &token, Err(expected));
        }
    }
}

#[test]
fn a_key_that_names_its_algorithm_is_for_no_other() {
    let mut jwk = RSA.jwk("rsa");
    jwk["alg"] = "RS256".into();
    let keys = KeySet::parse(set(&[jwk]).as_bytes()).unwrap().0;
    let judge = |algorithm: Algorithm, kid: &str| {
        let token = RSA.token(algorithm, &header(algorithm.name(), kid), &claims().to_string());
        verify_with(&token, &issuers(), &keys, &index()).map(|_| ())
    };
    assert_eq!(judge(Algorithm::Rs256, "rsa"), Ok(()));
    assert_eq!(judge(Algorithm::Ps256, "rsa"), Err(R::Algorithm));
    assert_eq!(judge(Algorithm::Rs256, "other"), Err(R::UnknownKey));
}

#[test]
fn a_public_key_is_no_secret() {
    // The attack signs HS256 with what everybody has: the key as PEM, DER or modulus. There is no HS256 to begin with.
    let jwk = RSA.jwk("rsa");
    let secret = jsonwebtoken::EncodingKey::from_secret(jwk["n"].as_str().unwrap().as_bytes());
    let signed = unsigned(&header("HS256", "rsa"), &claims().to_string());
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    check("HS256 with the modulus", &format!("{signed}.{signature}"), Err(R::Algorithm));
}

#[test]
fn signatures_that_are_none() {
    let signed = unsigned(&header("ES256", "p256"), &claims().to_string());
    let good = P256.sign(Algorithm::Es256, signed.as_bytes());
    let order: Vec<u8> = (0..32)
        .map(|at| {
            let n = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
            u8::from_str_radix(&n[at * 2..at * 2 + 2], 16).unwrap()
        })
        .collect();
    let (r, s) = (&good[..32], &good[32..]);
    let zero = [0; 32];
    let mut der = vec![0x30, 0x44, 0x02, 0x20];
    der.extend_from_slice(r);
    der.extend_from_slice(&[0x02, 0x20]);
    der.extend_from_slice(s);
    let others = OTHER.sign(Algorithm::Es256, signed.as_bytes());
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("r = 0", [&zero, s].concat()),
        ("s = 0", [r, &zero].concat()),
        ("both 0", [zero, zero].concat()),
        ("r = n", [order.as_slice(), s].concat()),
        ("s = n", [r, order.as_slice()].concat()),
        ("DER", der),
        ("a byte short", good[..63].to_vec()),
        ("a byte long", [good.as_slice(), &[0]].concat()),
        ("one byte", vec![0]),
        ("r and s exchanged", [s, r].concat()),
        ("another's key", others),
        ("4 KiB", vec![1; 4096]),
    ];
    for (what, signature) in rows {
        check(what, &format!("{signed}.{}", b64(signature)), Err(R::Signature));
    }
    check("the good one", &format!("{signed}.{}", b64(&good)), Ok(()));

    let signed = unsigned(&header("RS256", "rsa"), &claims().to_string());
    let good = RSA.sign(Algorithm::Rs256, signed.as_bytes());
    for (what, signature) in [
        ("zero", vec![0; 256]),
        ("one", [vec![0; 255], vec![1]].concat()),
        ("a byte short", good[..255].to_vec()),
        ("a zero in front", [vec![0], good.clone()].concat()),
    ] {
        check(what, &format!("{signed}.{}", b64(signature)), Err(R::Signature));
    }
    check("the good one", &format!("{signed}.{}", b64(&good)), Ok(()));
}

#[test]
fn a_token_without_a_key_id() {
    let token = P256.token(Algorithm::Es256, r#"{"alg":"ES256"}"#, &claims().to_string());
    check("one key that fits", &token, Ok(()));
    let two = KeySet::parse(set(&[OTHER.jwk("a"), P256.jwk("b")]).as_bytes()).unwrap().0;
    let verified = verify_with(&token, &issuers(), &two, &index());
    assert_eq!(verified.map(|_| ()), Err(R::AmbiguousKey), "many keys");
    let none = KeySet::parse(set(&[RSA.jwk("a")]).as_bytes()).unwrap().0;
    assert_eq!(verify_with(&token, &issuers(), &none, &index()).map(|_| ()), Err(R::UnknownKey));
}

#[test]
fn refusals_have_codes_and_repeat_nothing() {
    for refusal in [R::Kind, R::Malformed, R::Signature, R::Audience, R::UnknownKey, R::Revoked] {
        assert_eq!(refusal.code().code(), "invalid_credentials", "{refusal:?}");
    }
    assert_eq!(R::Expired.code().code(), "credentials_expired");
    let token = signed(&with(json!({ "aud": "planted-secret" })));
    let issuers = issuers();
    let refusal = crate::Refusal::Token(prepare(token.as_bytes(), &issuers, NOW).unwrap_err());
    let shown = format!("{:?} {:?}", refusal.problem(), refusal);
    assert!(!shown.contains("planted"), "{shown}");
    let good = signed(&claims());
    let shown = format!("{:?}", prepare(good.as_bytes(), &issuers, NOW).unwrap());
    assert_eq!(shown, "Prepared(issuer 0, ES256)");
}
