//! What a request presents: no panic; what is found stands in a field as it is, once, and is no longer than the longest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_identity::credentials::{CREDENTIAL_BYTES_MAX, Token, basic, in_query, read};
use mainstay_identity::key::{KEY_BYTES, KeyForm, form};

fuzz_target!(|input: &[u8]| {
    // Lines: the first byte says which field.
    let (mut keys, mut fields, mut query) = (Vec::new(), Vec::new(), b"".as_slice());
    for line in input.split(|byte| *byte == b'\n').take(6) {
        match line.split_first() {
            Some((b'k', value)) => keys.push(value),
            Some((b'a', value)) => fields.push(value),
            Some((_, value)) => query = value,
            None => {}
        }
    }
    let is_in_query = in_query(query, b"x-api-key");
    if query.starts_with(b"msk_live_") || query.starts_with(b"api_key=") {
        assert!(is_in_query);
    }
    let _ = basic(fields.iter().copied());
    let Ok(presented) = read(keys.iter().copied(), fields.iter().copied()) else { return };
    assert!(keys.len() < 2 && fields.len() < 2, "a field that stands twice");
    let ends_with = |text: &[u8]| fields.iter().any(|field| field.ends_with(text));
    if let Some(key) = presented.api_key {
        assert!(keys.contains(&key) || ends_with(key));
        assert!(key.len() <= CREDENTIAL_BYTES_MAX);
        if let KeyForm::Sound(_) = form(key) {
            assert!(key.len() == KEY_BYTES && key.is_ascii());
        }
    }
    match presented.token {
        Some(Token::Jwt(token)) => {
            assert!(ends_with(token) && token.iter().filter(|byte| **byte == b'.').count() == 2);
        }
        Some(Token::Opaque(token)) => assert!(ends_with(token) && !token.starts_with(b"msk_")),
        None => assert!(fields.is_empty() || presented.api_key.is_some()),
    }
});
