//! Vectors from the RFCs: signatures made elsewhere.

use super::*;

fn key(text: &str) -> KeySet {
    KeySet::parse(format!("{{\"keys\":[{text}]}}").as_bytes()).unwrap().0
}

fn is_good(keys: &KeySet, algorithm: Algorithm, token: &str) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    keys.find(None, algorithm).unwrap().verify(algorithm, signed.as_bytes(), signature)
}

/// RFC 7515, appendix A.2: RS256.
#[test]
fn rfc_7515_a_2() {
    let keys = key(concat!(
        r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"#,
        "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs",
        "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSH",
        "SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV",
        "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8",
        r#"NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
    ));
    let token = concat!(
        "eyJhbGciOiJSUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt",
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7",
        "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4",
        "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K",
        "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv",
        "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB",
        "p0igcN_IoypGlUPQGe77Rw",
    );
    assert!(is_good(&keys, Algorithm::Rs256, token));
    assert!(!is_good(&keys, Algorithm::Rs384, token));
}

/// RFC 7515, appendix A.3: ES256.
#[test]
fn rfc_7515_a_3() {
    let keys = key(concat!(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","#,
        r#""y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    ));
    let token = concat!(
        "eyJhbGciOiJFUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt",
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA",
        "pmWQxfKTUJqPP3-Kg6NU1Q",
    );
    assert!(is_good(&keys, Algorithm::Es256, token));
}

/// RFC 8037, appendix A.4: EdDSA.
#[test]
fn rfc_8037_a_4() {
    let keys = key(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
    let token = concat!(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    assert!(is_good(&keys, Algorithm::EdDsa, token));
}

/// RFC 7515, appendix A.5: an unsecured token, whose signature is the empty text.
#[test]
fn rfc_7515_a_5_is_no_token() {
    let token = concat!(
        "eyJhbGciOiJub25lIn0.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt",
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
    );
    check("A.5", token, Err(TokenRefusal::Signature));
}

/// RFC 9068, section 2.2: the header and claims of an access token, signed here.
#[test]
fn rfc_9068_2_2() {
    let header = r#"{"typ":"at+JWT","alg":"RS256","kid":"rsa"}"#;
    let claims = json!({
        "iss": "https://authorization-server.example.com/",
        "sub": "5ba552d67",
        "aud": "https://rs.example.com/",
        "exp": 1_639_528_912,
        "iat": 1_618_354_090,
        "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
        "client_id": "s6BhdRkqt3",
        "scope": "openid profile reademail",
    });
    let plan = IssuerPlan {
        audiences: vec!["https://rs.example.com/".into()],
        types: TypeRule::AccessTokenOnly,
        ..plan("https://authorization-server.example.com/")
    };
    let token = RSA.token(Algorithm::Rs256, header, &claims.to_string());
    let issuers = Issuers::new(vec![plan]);
    let verified = prepare(token.as_bytes(), &issuers, UnixMs(1_630_000_000_000)).unwrap();
    assert_eq!(verified.token_id(), Some("dbe39bf3a3ba4238a513f51d6e1691c4"));
    assert!(verified.verify(&keys(), &index()).is_ok());
}
