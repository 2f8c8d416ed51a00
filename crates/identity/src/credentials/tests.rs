use std::sync::Arc;

use mainstay_core::principal::{AuthMethod, Caller, Mode};
use mainstay_core::scopes::ScopeNames;
use proptest::prelude::*;

use super::*;
use crate::jwt::TokenRefusal;
use crate::mtls::CertificateRefusal;
use crate::refusal::KeyRefusal;

const KEY: &str = "msk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2Yqit9";

fn read_texts<'a>(keys: &[&'a str], authorization: &[&'a str]) -> Result<Presented<'a>, Refusal> {
    read(keys.iter().map(|v| v.as_bytes()), authorization.iter().map(|v| v.as_bytes()))
}

fn key(text: &str) -> Presented<'_> {
    Presented { api_key: Some(text.as_bytes()), token: None }
}

fn token(token: Token<'_>) -> Presented<'_> {
    Presented { api_key: None, token: Some(token) }
}

#[test]
fn what_is_presented() {
    let bearer_key = format!("Bearer {KEY}");
    let bearer_key = bearer_key.as_str();
    let long = format!("Bearer {}", "a".repeat(64 * 1024));
    let longest = format!("Bearer {}", "a".repeat(CREDENTIAL_BYTES_MAX));
    let longest_token = Token::Opaque(&longest.as_bytes()[7..]);
    let look_alike = format!("Bearer {}", KEY.replace('a', "\u{430}"));
    let upper = format!("Bearer {}", KEY.to_uppercase());
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Result<Presented<'a>, Refusal>);
    let ten = ["Bearer a.b.c"; 10];
    let rows: &[Row<'_>] = &[
        // Several fields, or two ways.
        ("ten Authorization fields", &[], &ten, Err(Refusal::RepeatedField)),
        ("Basic and Bearer", &[], &["Basic YTpi", "Bearer a.b.c"], Err(Refusal::RepeatedField)),
        ("the same field twice", &[], &[bearer_key, bearer_key], Err(Refusal::RepeatedField)),
        ("two key fields", &[KEY, KEY], &[], Err(Refusal::RepeatedField)),
        ("two keys in two ways", &["msk_live_x"], &[bearer_key], Err(Refusal::RepeatedField)),
        // No credential.
        ("64 KiB", &[], &[&long], Err(Refusal::TooLong)),
        ("a key of 64 KiB", &[&long], &[], Err(Refusal::TooLong)),
        ("Basic", &[], &["Basic YTpi"], Err(Refusal::Scheme)),
        ("Digest", &[], &["Digest username=\"a\""], Err(Refusal::Scheme)),
        ("no scheme", &[], &["a.b.c"], Err(Refusal::MalformedField)),
        ("a key without a scheme", &[], &[KEY], Err(Refusal::MalformedField)),
        ("the scheme alone", &[], &["Bearer"], Err(Refusal::MalformedField)),
        ("the scheme and a space", &[], &["Bearer "], Err(Refusal::MalformedField)),
        ("a tab", &[], &["Bearer\ta.b.c"], Err(Refusal::MalformedField)),
        ("a space at the end", &[], &["Bearer a.b.c "], Err(Refusal::MalformedField)),
        ("two in one field", &[], &["Bearer a.b.c, Basic YTpi"], Err(Refusal::MalformedField)),
        ("JSON serialisation", &[], &["Bearer {\"payload\":\"e30\"}"], Err(Refusal::MalformedField)),
        ("a look-alike", &[], &[&look_alike], Err(Refusal::MalformedField)),
        ("a quoted token", &[], &["Bearer \"a.b.c\""], Err(Refusal::MalformedField)),
        ("= alone", &[], &["Bearer =="], Err(Refusal::MalformedField)),
        ("= inside", &[], &["Bearer a=b"], Err(Refusal::MalformedField)),
        // What is one.
        ("nothing", &[], &[], Ok(Presented::default())),
        ("a key", &[KEY], &[], Ok(key(KEY))),
        ("an imported key", &["any text, really"], &[], Ok(key("any text, really"))),
        ("a key as Bearer", &[], &[bearer_key], Ok(key(KEY))),
        ("the same key in both ways", &[KEY], &[bearer_key], Ok(key(KEY))),
        ("a key in upper case", &[], &[&upper], Ok(token(Token::Opaque(&upper.as_bytes()[7..])))),
        ("a token", &[], &["Bearer a.b.c"], Ok(token(Token::Jwt(b"a.b.c")))),
        ("the scheme in another case", &[], &["bEARER a.b.c"], Ok(token(Token::Jwt(b"a.b.c")))),
        ("several spaces", &[], &["Bearer   a.b.c"], Ok(token(Token::Jwt(b"a.b.c")))),
        ("encrypted", &[], &["Bearer a.b.c.d.e"], Ok(token(Token::Opaque(b"a.b.c.d.e")))),
        (
            "opaque",
            &[],
            &["Bearer 2YotnFZFEjr1zCsicMWpAA"],
            Ok(token(Token::Opaque(b"2YotnFZFEjr1zCsicMWpAA"))),
        ),
        ("padded", &[], &["Bearer bWY5Q3o="], Ok(token(Token::Opaque(b"bWY5Q3o=")))),
        ("the longest", &[], &[&longest], Ok(token(longest_token))),
        (
            "a key and a token",
            &[KEY],
            &["Bearer a.b.c"],
            Ok(Presented { api_key: Some(KEY.as_bytes()), token: Some(Token::Jwt(b"a.b.c")) }),
        ),
    ];
    for (what, keys, authorization, expected) in rows {
        assert_eq!(&read_texts(keys, authorization), expected, "{what}");
    }
}

#[test]
fn what_is_presented_is_not_shown() {
    let shown = format!("{:?}", read_texts(&[KEY], &["Bearer secret.of.mine"]).unwrap());
    assert!(!shown.contains("msk") && !shown.contains("secret.of"), "{shown}");
    assert_eq!(format!("{:?}", basic([b"Basic YTpi".as_slice()]).unwrap().unwrap()), "BasicPair(secret)");
}

#[test]
fn credentials_in_a_query() {
    for (query, expected) in [
        ("", false),
        ("a=b&c=d", false),
        ("key=1", false),
        ("my_api_key=1", false),
        ("q=msk", false),
        ("q=xmsk_live_1", false),
        ("q=MSK_LIVE_1", false),
        ("access_tokens=1", false),
        ("api_key=1", true),
        ("a=b&api_key", true),
        ("a=b;apikey=", true),
        ("API_Key=1", true),
        ("api%5Fkey=1", true),
        ("access_token=abc", true),
        ("x-api-key=1", true),
        ("X-Partner-Key=1", true),
        ("q=msk_live_1", true),
        ("q=%6D%73%6B%5f%6c%69%76%65%5f1", true),
        ("q=msk_test_", true),
        ("msk_test_abc", true),
        ("q=%", false),
        ("q=%zz&%", false),
        ("q=a=msk_live_", false),
    ] {
        assert_eq!(in_query(query.as_bytes(), b"x-partner-key"), expected, "{query}");
    }
    // An api may have such parameters of its own when its keys' header is called otherwise.
    assert!(!in_query(b"X-Partner-Key=1", b"x-api-key"));
}

#[test]
fn basic_is_for_oauth_endpoints() {
    let pair = |id: &str, secret: &str| {
        Ok(Some(BasicPair { id: id.to_owned(), secret: secret.as_bytes().to_vec() }))
    };
    for (values, expected) in [
        (vec![], Ok(None)),
        // RFC 6749, section 2.3.1.
        (vec!["Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"], pair("s6BhdRkqt3", "gX1fBat3bV")),
        (vec!["basic YTpi"], pair("a", "b")),
        (vec!["Basic YTpiOmM="], pair("a", "b:c")),
        (vec!["Basic YSUzQWI6YyUyNWQ="], pair("a:b", "c%d")),
        (vec!["Basic YTo="], pair("a", "")),
        (vec!["Basic OmI="], Err(Refusal::MalformedField)),
        (vec!["Basic YWI="], Err(Refusal::MalformedField)),
        (vec!["Basic Y"], Err(Refusal::MalformedField)),
        (vec!["Basic YTpi "], Err(Refusal::MalformedField)),
        (vec!["Basic YTpj="], Err(Refusal::MalformedField)),
        (vec!["Basic"], Err(Refusal::MalformedField)),
        (vec!["Bearer a.b.c"], Err(Refusal::Scheme)),
        (vec!["Basic YTpi", "Basic YTpi"], Err(Refusal::RepeatedField)),
    ] {
        assert_eq!(basic(values.iter().map(|v| v.as_bytes())), expected, "{values:?}");
    }
}

fn caller(method: AuthMethod, consumer: Option<&str>) -> Caller {
    Caller {
        consumer: consumer.map(Arc::from),
        user: None,
        plan: None,
        groups: Arc::default(),
        attributes: Arc::default(),
        mode: Mode::Live,
        method,
        key_id: None,
        client_id: None,
        scopes: Arc::default(),
        generation: 1,
    }
}

fn good(method: AuthMethod, consumer: &str) -> Attempt {
    Attempt { method, outcome: Ok(Arc::new(caller(method, Some(consumer)))) }
}

fn bad(method: AuthMethod, refusal: Refusal) -> Attempt {
    Attempt { method, outcome: Err(refusal) }
}

#[test]
fn what_is_enough() {
    use AuthMethod::{ApiKey, Introspection, Jwt, Mtls, Oauth};
    let any = Requirement::new(vec![vec![ApiKey], vec![Jwt]]);
    let with_mtls = Requirement::new(vec![vec![ApiKey], vec![Mtls]]);
    let bound = Requirement::new(vec![vec![Mtls, Oauth]]);
    let unknown_key = Refusal::Key(KeyRefusal::Unknown);
    let expired = Refusal::Token(TokenRefusal::Expired);
    let revoked = Refusal::Certificate(CertificateRefusal::Revoked);
    let test_key = Attempt {
        method: ApiKey,
        outcome: Ok(Arc::new(Caller { mode: Mode::Test, ..caller(ApiKey, Some("acme")) })),
    };
    let nobodys = Attempt { method: Oauth, outcome: Ok(Arc::new(caller(Oauth, None))) };
    type Row<'a> = (&'a str, &'a Requirement, Vec<Attempt>, Result<AuthMethod, Refusal>);
    let rows: Vec<Row<'_>> = vec![
        ("nothing", &any, vec![], Err(Refusal::NoCredentials)),
        ("a wrong key", &any, vec![bad(ApiKey, unknown_key)], Err(unknown_key)),
        (
            "a wrong key beside a good token",
            &any,
            vec![good(Jwt, "acme"), bad(ApiKey, unknown_key)],
            Err(unknown_key),
        ),
        (
            "a wrong token beside a good key",
            &any,
            vec![good(ApiKey, "acme"), bad(Jwt, expired)],
            Err(expired),
        ),
        ("two identities", &any, vec![good(ApiKey, "acme"), good(Jwt, "other")], Err(Refusal::TwoIdentities)),
        ("two modes", &any, vec![test_key, good(Jwt, "acme")], Err(Refusal::TwoIdentities)),
        ("of another method", &any, vec![good(Introspection, "acme")], Err(Refusal::NoCredentials)),
        ("one of two together", &bound, vec![good(Oauth, "bank_a")], Err(Refusal::Incomplete)),
        ("the other of two together", &bound, vec![good(Mtls, "bank_a")], Err(Refusal::Incomplete)),
        (
            "the certificate of another",
            &bound,
            vec![good(Oauth, "bank_a"), good(Mtls, "bank_b")],
            Err(Refusal::TwoIdentities),
        ),
        ("a token bound to nobody", &bound, vec![nobodys, good(Mtls, "bank_b")], Err(Refusal::TwoIdentities)),
        ("a revoked certificate", &bound, vec![good(Oauth, "bank_a"), bad(Mtls, revoked)], Err(revoked)),
        ("a revoked certificate alone", &with_mtls, vec![bad(Mtls, revoked)], Err(revoked)),
        (
            "a key over another's certificate",
            &with_mtls,
            vec![good(ApiKey, "acme"), good(Mtls, "bank_a")],
            Err(Refusal::TwoIdentities),
        ),
        ("a key", &any, vec![good(ApiKey, "acme")], Ok(ApiKey)),
        ("a token", &any, vec![good(Jwt, "acme")], Ok(Jwt)),
        ("both of one", &any, vec![good(Jwt, "acme"), good(ApiKey, "acme")], Ok(ApiKey)),
        (
            "a key over a certificate that is nobody's",
            &with_mtls,
            vec![good(ApiKey, "acme"), bad(Mtls, revoked)],
            Ok(ApiKey),
        ),
        ("both together", &bound, vec![good(Mtls, "bank_a"), good(Oauth, "bank_a")], Ok(Oauth)),
    ];
    for (what, requirement, attempts, expected) in rows {
        let decided = requirement.decide(&attempts).map(|caller| caller.method);
        assert_eq!(decided, expected, "{what}");
    }
}

#[test]
fn an_empty_list_opens_nothing() {
    let requirement = Requirement::new(vec![vec![], vec![AuthMethod::ApiKey]]);
    assert_eq!(requirement.decide(&[]).map(|_| ()), Err(Refusal::NoCredentials));
    assert_eq!(Requirement::new(vec![]).decide(&[]).map(|_| ()), Err(Refusal::NoCredentials));
}

#[test]
fn credentials_together_may_do_what_each_of_them_may() {
    use AuthMethod::{ApiKey, Mtls, Oauth};
    let names = ScopeNames::default();
    let set = |scopes: &[&str]| Arc::new(names.give(scopes.iter().copied()).unwrap());
    let key = Caller {
        scopes: set(&["a", "b"]),
        key_id: Some("key_1".into()),
        generation: 9,
        ..caller(ApiKey, Some("acme"))
    };
    let token = Caller {
        scopes: set(&["b", "c"]),
        user: Some("alice".into()),
        client_id: Some("client_1".into()),
        ..caller(Oauth, Some("acme"))
    };
    let certificate = caller(Mtls, Some("acme"));
    let attempts = [key, token, certificate]
        .map(|caller| Attempt { method: caller.method, outcome: Ok(Arc::new(caller)) });
    let together = Requirement::new(vec![vec![Mtls, ApiKey, Oauth]]).decide(&attempts).unwrap();
    assert_eq!(names.names(&together.scopes), ["b".into()]);
    assert_eq!(together.method, Oauth);
    assert_eq!(together.user.as_deref(), Some("alice"));
    assert_eq!(together.key_id.as_deref(), Some("key_1"));
    assert_eq!(together.client_id.as_deref(), Some("client_1"));
    assert_eq!(together.generation, 9);
}

#[test]
fn only_what_is_accepted_counts() {
    use AuthMethod::{ApiKey, Jwt, Mtls};
    let both = Presented { api_key: Some(b"k"), token: Some(Token::Jwt(b"a.b.c")) };
    let keys = Requirement::new(vec![vec![ApiKey]]);
    let tokens = Requirement::new(vec![vec![Jwt]]);
    let certificates = Requirement::new(vec![vec![Mtls]]);
    let key_only = Relevant { api_key: Some(b"k"), ..Relevant::default() };
    let token_only = Relevant { token: Some(Token::Jwt(b"a.b.c")), ..Relevant::default() };
    let certificate_only = Relevant { certificate: true, ..Relevant::default() };
    for (requirement, presented, certificate, expected) in [
        (&keys, both, true, Ok(key_only)),
        (&tokens, both, true, Ok(token_only)),
        (&certificates, both, true, Ok(certificate_only)),
        (&certificates, both, false, Err(Refusal::NoCredentials)),
        (&keys, token(Token::Opaque(b"x")), false, Err(Refusal::NoCredentials)),
        (&keys, Presented::default(), true, Err(Refusal::NoCredentials)),
    ] {
        assert_eq!(requirement.relevant(&presented, certificate), expected, "{presented:?} {requirement:?}");
    }
}

#[test]
fn challenges_name_every_way_in_and_nothing_that_came() {
    use AuthMethod::{ApiKey, Jwt, Mtls};
    let about = Challenge { realm: "pay\"ments", api_key_header: "X-API-Key", scopes: &["a:b", "c"] };
    let all = Requirement::new(vec![vec![ApiKey], vec![Jwt], vec![Mtls]]);
    let jwt = Requirement::new(vec![vec![Jwt]]);
    let mtls = Requirement::new(vec![vec![Mtls]]);
    let expired = Refusal::Token(TokenRefusal::Expired);
    let plain = "Bearer realm=\"payments\"";
    for (requirement, refusal, expected) in [
        (&jwt, None, vec![plain]),
        (&jwt, Some(Refusal::NoCredentials), vec![plain]),
        (
            &jwt,
            Some(expired),
            vec![
                "Bearer realm=\"payments\", error=\"invalid_token\", error_description=\"The token has expired.\"",
            ],
        ),
        (
            &jwt,
            Some(Refusal::Key(KeyRefusal::Api)),
            vec![
                "Bearer realm=\"payments\", error=\"insufficient_scope\", \
                 error_description=\"This API key may not be used for this API.\", scope=\"a:b c\"",
            ],
        ),
        (&mtls, Some(Refusal::NoCredentials), vec!["ClientCertificate realm=\"payments\""]),
        (
            &all,
            None,
            vec![
                plain,
                "ApiKey realm=\"payments\", header=\"X-API-Key\"",
                "ClientCertificate realm=\"payments\"",
            ],
        ),
    ] {
        assert_eq!(challenges(requirement, &about, refusal), expected, "{refusal:?}");
    }
}

#[test]
fn a_dead_dependency_is_never_blamed_on_the_credential() {
    let refusal = Refusal::Unavailable { retry_after_s: 3 };
    assert_eq!(refusal.problem().code.status(), 503);
    assert_eq!(refusal.problem().retry_after_s, Some(3));
    assert!(!refusal.is_failed_attempt() && refusal.bearer_error().is_none());
}

proptest! {
    #[test]
    fn any_fields_are_read(
        keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..3),
        fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..3),
        query in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let presented = read(keys.iter().map(Vec::as_slice), fields.iter().map(Vec::as_slice));
        if keys.len() > 1 || fields.len() > 1 {
            prop_assert_eq!(presented, Err(Refusal::RepeatedField));
        } else if let Ok(Presented { token: Some(Token::Jwt(token)), .. }) = presented {
            prop_assert_eq!(token.iter().filter(|b| **b == b'.').count(), 2);
        }
        let _ = basic(fields.iter().map(Vec::as_slice));
        in_query(&query, b"x-api-key");
    }
}
