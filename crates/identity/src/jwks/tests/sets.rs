use super::*;

fn jwk(changes: Value) -> Value {
    change(P256.jwk("a"), changes)
}

fn rsa(changes: Value) -> Value {
    change(RSA.jwk("a"), changes)
}

/// With some members replaced; `null` takes one out.
fn change(mut jwk: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("an object") };
    for (name, value) in changes {
        match value {
            Value::Null => jwk.as_object_mut().unwrap().shift_remove(&name),
            value => jwk.as_object_mut().unwrap().insert(name, value),
        };
    }
    jwk
}

#[test]
fn texts_that_are_no_sets() {
    let many = format!("{{\"keys\":[],\"x\":\"{}\"}}", "y".repeat(SET_BYTES_MAX));
    let good = set(&[P256.jwk("a")]);
    let twice = good.replacen('{', r#"{"keys":[],"#, 1);
    for (what, text, expected) in [
        ("nothing", "", SetError::Malformed),
        ("HTML", "<html><body>Sign in</body></html>", SetError::Malformed),
        ("a list", "[]", SetError::Malformed),
        ("no keys", "{}", SetError::Malformed),
        ("keys that are an object", r#"{"keys":{}}"#, SetError::Malformed),
        ("keys twice", &twice, SetError::Malformed),
        ("cut off", &good[..good.len() - 1], SetError::Malformed),
        ("something behind", &format!("{good}x"), SetError::Malformed),
        ("a key alone", &P256.jwk("a").to_string(), SetError::Malformed),
        ("no key", r#"{"keys":[]}"#, SetError::NoUsableKey),
        ("no object", r#"{"keys":[1,"a",null]}"#, SetError::NoUsableKey),
        ("over 256 KiB", &many, SetError::TooLarge),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()).map(|_| ()), Err(expected), "{what}");
    }
}

#[test]
fn keys_that_are_left_out() {
    let n = |bytes: usize| b64([vec![0x80], vec![0x55; bytes - 1]].concat());
    let rows = [
        ("a secret", json!({ "kty": "oct", "k": "c2VjcmV0" }), KeyNote::Secret),
        ("a private key", jwk(json!({ "d": "AAAA" })), KeyNote::Secret),
        ("for encryption", jwk(json!({ "use": "enc" })), KeyNote::OtherUse),
        ("another use", jwk(json!({ "use": "SIG" })), KeyNote::OtherUse),
        ("a use that is no text", jwk(json!({ "use": 1 })), KeyNote::Malformed),
        ("for signing alone", jwk(json!({ "key_ops": ["sign"] })), KeyNote::OtherUse),
        ("no operation", jwk(json!({ "key_ops": [] })), KeyNote::OtherUse),
        ("operations that are a text", jwk(json!({ "key_ops": "verify" })), KeyNote::Malformed),
        ("no type", jwk(json!({ "kty": null })), KeyNote::Malformed),
        ("an unknown type", jwk(json!({ "kty": "AKP" })), KeyNote::Unsupported),
        ("P-521", jwk(json!({ "crv": "P-521" })), KeyNote::Unsupported),
        ("secp256k1", jwk(json!({ "crv": "secp256k1" })), KeyNote::Unsupported),
        ("no curve", jwk(json!({ "crv": null })), KeyNote::Unsupported),
        ("the curve of another type", change(ED.jwk("a"), json!({ "kty": "EC" })), KeyNote::Unsupported),
        ("Ed448", change(ED.jwk("a"), json!({ "crv": "Ed448" })), KeyNote::Unsupported),
        ("an algorithm that does not fit", jwk(json!({ "alg": "RS256" })), KeyNote::Unsupported),
        ("an algorithm of secrets", rsa(json!({ "alg": "HS256" })), KeyNote::Unsupported),
        ("an algorithm of encryption", rsa(json!({ "alg": "RSA-OAEP" })), KeyNote::Unsupported),
        ("an algorithm that is no text", jwk(json!({ "alg": 1 })), KeyNote::Unsupported),
        ("a kid that is no text", jwk(json!({ "kid": 1 })), KeyNote::Malformed),
        ("a long kid", jwk(json!({ "kid": "k".repeat(257) })), KeyNote::Malformed),
        ("no x", jwk(json!({ "x": null })), KeyNote::Malformed),
        ("a short x", jwk(json!({ "x": b64([1; 31]) })), KeyNote::Malformed),
        ("a padded x", jwk(json!({ "x": format!("{}=", b64([1; 32])) })), KeyNote::Malformed),
        ("a long Ed25519 key", change(ED.jwk("a"), json!({ "x": b64([1; 33]) })), KeyNote::Malformed),
        ("RSA of 512 bits", rsa(json!({ "n": n(64) })), KeyNote::Weak),
        ("RSA of 1024 bits", rsa(json!({ "n": n(128) })), KeyNote::Weak),
        ("RSA of 2040 bits", rsa(json!({ "n": n(255) })), KeyNote::Weak),
        ("RSA of 16384 bits", rsa(json!({ "n": n(2048) })), KeyNote::Weak),
        ("an even modulus", rsa(json!({ "n": b64([0x80; 256]) })), KeyNote::Weak),
        ("e = 1", rsa(json!({ "e": b64([1]) })), KeyNote::Weak),
        ("e = 3", rsa(json!({ "e": b64([3]) })), KeyNote::Weak),
        ("an even e", rsa(json!({ "e": b64([1, 0, 2]) })), KeyNote::Weak),
        ("an immense e", rsa(json!({ "e": b64([1; 40]) })), KeyNote::Unsupported),
        ("no e", rsa(json!({ "e": "" })), KeyNote::Malformed),
        (
            "a zero before n",
            rsa(json!({ "n": b64([vec![0], vec![0x81; 256]].concat()) })),
            KeyNote::Malformed,
        ),
        ("standard base64", rsa(json!({ "n": "+/+/" })), KeyNote::Malformed),
    ];
    for (what, bad, expected) in rows {
        let text = set(&[bad, P384.jwk("good")]);
        let (keys, notes) = KeySet::parse(text.as_bytes()).unwrap();
        assert_eq!((keys.len(), notes), (1, vec![(0, expected)]), "{what}");
        assert!(keys.find(Some("good"), Algorithm::Es384).is_ok());
    }
}

#[test]
fn duplicates_and_too_many() {
    let text = set(&[P256.jwk("a"), OTHER.jwk("a"), RSA.jwk("a")]);
    let (keys, notes) = KeySet::parse(text.as_bytes()).unwrap();
    assert_eq!((keys.len(), notes), (2, vec![(1, KeyNote::Duplicate)]), "an id is one key of a kind");
    assert!(keys.find(Some("a"), Algorithm::Rs256).is_ok() && keys.find(Some("a"), Algorithm::Es256).is_ok());
    let many: Vec<_> = (0..1000).map(|n| P256.jwk(&n.to_string())).collect();
    let (keys, notes) = KeySet::parse(set(&many).as_bytes()).unwrap();
    assert_eq!((keys.len(), notes), (SET_KEYS_MAX, vec![(SET_KEYS_MAX, KeyNote::TooMany)]));
}

/// A point beside the curve gets into the set and verifies nothing.
#[test]
fn a_point_beside_the_curve() {
    let text = set(&[jwk(json!({ "x": b64([1; 32]), "y": b64([1; 32]) }))]);
    let keys = KeySet::parse(text.as_bytes()).unwrap().0;
    let key = keys.find(None, Algorithm::Es256).unwrap();
    let signature = b64(P256.sign(Algorithm::Es256, b"x"));
    assert!(!key.verify(Algorithm::Es256, b"x", &signature));
}

#[test]
fn max_age() {
    for (field, expected) in [
        ("", None),
        ("public", None),
        ("max-age=3600", Some(3600)),
        ("public, Max-Age=\"60\", must-revalidate", Some(60)),
        ("max-age=0", Some(0)),
        ("no-store", Some(0)),
        ("max-age=60, no-cache", Some(0)),
        ("max-age=60, max-age=30", Some(30)),
        ("max-age=99999999999999999999999", Some(u64::MAX)),
        ("max-age=-1", None),
        ("max-age=", None),
        ("max-age", None),
        ("s-maxage=60", None),
    ] {
        assert_eq!(max_age_s(field), expected, "{field}");
    }
}
