use super::*;
use TokenRefusal as R;
use proptest::prelude::*;

#[test]
fn texts_that_are_no_tokens() {
    let good = signed(&claims());
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let json = format!(r#"{{"payload":"{body}","protected":"{head}","signature":"{signature}"}}"#);
    let encrypted = b64(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648}"#);
    let deep = format!("{}{}", "[".repeat(50), "]".repeat(50));
    let twice = claims().to_string().replacen('{', r#"{"aud":"elsewhere","#, 1);
    let escaped_twice = claims().to_string().replacen('{', r#"{"\u0061ud":"elsewhere","#, 1);
    let of = |claims: &str| P256.token(Algorithm::Es256, r#"{"alg":"ES256","kid":"p256"}"#, claims);
    for (what, token, expected) in [
        ("empty", String::new(), R::Kind),
        ("no dots", "abc".to_owned(), R::Kind),
        ("one dot", format!("{head}.{body}"), R::Kind),
        ("a dot at the end", format!("{good}."), R::Kind),
        ("a dot at the front", format!(".{good}"), R::Kind),
        ("two tokens", format!("{good}.{good}"), R::Kind),
        ("JSON serialisation", json, R::Kind),
        ("encrypted", format!("{encrypted}.a.b.c.d"), R::Kind),
        ("no signature", format!("{head}.{body}."), R::Signature),
        ("no claims", format!("{head}..{signature}"), R::Malformed),
        ("no header", format!(".{body}.{signature}"), R::Malformed),
        ("padding", format!("{head}=.{body}.{signature}"), R::Malformed),
        ("padding behind", format!("{good}="), R::Malformed),
        ("the alphabet with + and /", format!("{head}.{body}.{}+/", &signature[2..]), R::Malformed),
        ("a line end", format!("{head}.{body}.{signature}\n"), R::Malformed),
        ("a space", format!("{head}. {body}.{signature}"), R::Malformed),
        ("a NUL", format!("{head}.{body}\0.{signature}"), R::Malformed),
        ("percent-encoded", format!("{head}.{body}.%41{signature}"), R::Malformed),
        ("17 KiB", of(&with(json!({ "x": "y".repeat(16_000) })).to_string()), R::Malformed),
        ("claims that are a list", of("[]"), R::Malformed),
        ("claims that are a text", of("\"iss\""), R::Malformed),
        ("something behind the claims", of(&format!("{}{{}}", claims())), R::Malformed),
        ("a byte-order mark", of(&format!("\u{feff}{}", claims())), R::Malformed),
        ("a comment", of(&format!("/**/{}", claims())), R::Malformed),
        ("a claim twice", of(&twice), R::Malformed),
        ("a claim twice, once escaped", of(&escaped_twice), R::Malformed),
        ("50 deep", of(&format!(r#"{{"iss":"{ISSUER}","x":{deep}}}"#)), R::Malformed),
        ("half a surrogate pair", of(r#"{"iss":"\ud800"}"#), R::Malformed),
        ("1e400", of(&claims().to_string().replace("\"exp\":1800000600", "\"exp\":1e400")), R::Malformed),
    ] {
        check(what, &token, Err(expected));
    }
    check("the good one", &good, Ok(()));
}

/// The last character of a part holds bits that count for nothing; they must be zero.
#[test]
fn a_signature_has_one_text() {
    let good = signed(&claims());
    let last = good.as_bytes()[good.len() - 1];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.iter().position(|c| *c == last).unwrap();
    let twin = format!("{}{}", &good[..good.len() - 1], char::from(alphabet[at | 1]));
    assert_ne!(twin, good, "64 bytes leave four bits over");
    check("bits left over", &twin, Err(R::Malformed));
}

#[test]
fn headers_that_are_not_followed() {
    let jwk = OTHER.jwk("mine");
    let rows = [
        ("none", json!({ "alg": "none" }), R::Algorithm),
        ("None", json!({ "alg": "None" }), R::Algorithm),
        ("nOnE", json!({ "alg": "nOnE" }), R::Algorithm),
        ("no algorithm", json!({ "kid": "p256" }), R::Algorithm),
        ("an empty one", json!({ "alg": "" }), R::Algorithm),
        ("a number", json!({ "alg": 256 }), R::Algorithm),
        ("a list", json!({ "alg": ["ES256"] }), R::Algorithm),
        ("another case", json!({ "alg": "es256", "kid": "p256" }), R::Algorithm),
        ("HS256", json!({ "alg": "HS256", "kid": "rsa" }), R::Algorithm),
        ("HS512", json!({ "alg": "HS512", "kid": "rsa" }), R::Algorithm),
        ("ES512", json!({ "alg": "ES512", "kid": "p256" }), R::Algorithm),
        ("RSA1_5", json!({ "alg": "RSA1_5", "kid": "rsa" }), R::Algorithm),
        ("jwk", json!({ "alg": "ES256", "jwk": jwk }), R::Header),
        ("jku", json!({ "alg": "ES256", "jku": "https://evil.example/jwks.json" }), R::Header),
        ("x5u", json!({ "alg": "ES256", "x5u": "https://evil.example/cert.pem" }), R::Header),
        ("x5c", json!({ "alg": "ES256", "x5c": ["MIIB"] }), R::Header),
        ("an unknown crit", json!({ "alg": "ES256", "crit": ["x"], "x": 1 }), R::Header),
        ("an empty crit", json!({ "alg": "ES256", "crit": [] }), R::Header),
        ("b64:false", json!({ "alg": "ES256", "b64": false, "crit": ["b64"] }), R::Header),
        ("b64:false without crit", json!({ "alg": "ES256", "b64": false }), R::Header),
        ("nested", json!({ "alg": "ES256", "cty": "JWT" }), R::Header),
        ("enc", json!({ "alg": "ES256", "enc": "A128GCM" }), R::Header),
        ("zip", json!({ "alg": "ES256", "zip": "DEF" }), R::Header),
        ("p2c", json!({ "alg": "ES256", "p2c": 2_147_483_648_u64 }), R::Header),
        ("a logout token", json!({ "alg": "ES256", "kid": "p256", "typ": "logout+jwt" }), R::Type),
        ("a security event", json!({ "alg": "ES256", "kid": "p256", "typ": "secevent+jwt" }), R::Type),
        ("a proof of possession", json!({ "alg": "ES256", "kid": "p256", "typ": "dpop+jwt" }), R::Type),
        ("a type that is no text", json!({ "alg": "ES256", "kid": "p256", "typ": 1 }), R::Type),
        ("a kid that is a number", json!({ "alg": "ES256", "kid": 1 }), R::KeyId),
        ("a kid that is an object", json!({ "alg": "ES256", "kid": { "a": 1 } }), R::KeyId),
        ("a kid that is null", json!({ "alg": "ES256", "kid": null }), R::KeyId),
        ("a kid with NUL", json!({ "alg": "ES256", "kid": "p256\0" }), R::KeyId),
        ("a kid with a line end", json!({ "alg": "ES256", "kid": "p256\nforged line" }), R::KeyId),
        ("a long kid", json!({ "alg": "ES256", "kid": "k".repeat(257) }), R::KeyId),
        ("a path", json!({ "alg": "ES256", "kid": "../../../../dev/null" }), R::UnknownKey),
        ("SQL", json!({ "alg": "ES256", "kid": "' OR 1=1 --" }), R::UnknownKey),
        ("a command", json!({ "alg": "ES256", "kid": "|id" }), R::UnknownKey),
        ("an empty kid", json!({ "alg": "ES256", "kid": "" }), R::UnknownKey),
    ];
    for (what, header, expected) in rows {
        let token = P256.token(Algorithm::Es256, &header.to_string(), &claims().to_string());
        check(what, &token, Err(expected));
    }
    let big = json!({ "alg": "ES256", "kid": "k".repeat(100_000) }).to_string();
    check("a kid of 100 KB", &P256.token(Algorithm::Es256, &big, "{}"), Err(R::Malformed));
    let twice = r#"{"alg":"ES256","alg":"none","kid":"p256"}"#;
    check("alg twice", &P256.token(Algorithm::Es256, twice, &claims().to_string()), Err(R::Malformed));
}

#[test]
fn types_by_rule() {
    let of_type = |typ: Option<&str>| {
        let mut header = json!({ "alg": "ES256", "kid": "p256" });
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        P256.token(Algorithm::Es256, &header.to_string(), &claims().to_string())
    };
    let own = IssuerPlan { types: TypeRule::AccessTokenOnly, ..plan(ISSUER) };
    let own = Issuers::new(vec![own]);
    let judge = |token: &str, issuers: &Issuers| verify_with(token, issuers, &keys(), &index()).map(|_| ());
    for (typ, any, access_only) in [
        (None, Ok(()), Err(R::Type)),
        (Some("JWT"), Ok(()), Err(R::Type)),
        (Some("jwt"), Ok(()), Err(R::Type)),
        (Some("at+jwt"), Ok(()), Ok(())),
        (Some("AT+JWT"), Ok(()), Ok(())),
        (Some("application/at+jwt"), Ok(()), Ok(())),
        (Some("application/jwt"), Err(R::Type), Err(R::Type)),
        (Some("id+jwt"), Err(R::Type), Err(R::Type)),
        (Some(""), Err(R::Type), Err(R::Type)),
    ] {
        let token = of_type(typ);
        assert_eq!(judge(&token, &issuers()), any, "{typ:?}");
        assert_eq!(judge(&token, &own), access_only, "{typ:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(token in proptest::collection::vec(any::<u8>(), 0..300)) {
        let issuers = issuers();
        prop_assert!(prepare(&token, &issuers, NOW).is_err());
    }

    #[test]
    fn any_texts_in_the_parts(header in ".{0,60}", claims in ".{0,120}") {
        let token = format!("{}.AAAA", unsigned(&header, &claims));
        prop_assert!(prepare(token.as_bytes(), &issuers(), NOW).is_err());
    }

    #[test]
    fn a_changed_token_is_no_token(at in 0..400_usize, to in any::<u8>()) {
        let good = signed(&claims());
        let mut token = good.clone().into_bytes();
        let at = at % token.len();
        token[at] = to;
        if token != good.as_bytes() {
            let issuers = issuers();
            let verified = prepare(&token, &issuers, NOW).and_then(|it| it.verify(&keys(), &index()));
            prop_assert!(verified.is_err());
        }
    }
}
