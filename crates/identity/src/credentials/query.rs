//! Credentials in a query string: found so that they can be refused.
//!
//! A URL stands in histories, logs and `Referer` fields. A key that came that way is refused even where it is good,
//! so that the mistake is found with the first request and not after the leak.

/// Names that mean a credential, in lower case.
const NAMES: [&[u8]; 4] = [b"api_key", b"apikey", b"access_token", b"x-api-key"];

/// Whether the query holds a credential: a parameter with the name of one (`header_name` is the key's header, in
/// lower case), or one whose name or value begins like a key of ours.
pub fn in_query(query: &[u8], header_name: &[u8]) -> bool {
    query.split(|byte| matches!(byte, b'&' | b';')).any(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        is_credential_name(name, header_name) || begins_like_a_key(name) || begins_like_a_key(value)
    })
}

fn is_credential_name(name: &[u8], header_name: &[u8]) -> bool {
    // Escapes make a name at most three times as long; longer ones are none of these.
    if name.len() > 3 * header_name.len().max(16) {
        return false;
    }
    let name = percent_decoded(name).to_ascii_lowercase();
    NAMES.contains(&name.as_slice()) || (!header_name.is_empty() && name == header_name)
}

fn begins_like_a_key(text: &[u8]) -> bool {
    // The mark is 9 bytes, 27 with each of them escaped.
    let head = percent_decoded(&text[..text.len().min(27)]);
    head.starts_with(b"msk_live_") || head.starts_with(b"msk_test_")
}

/// `+` is a space, `%XX` a byte; an escape that is none stays as it is.
pub(super) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                decoded.push(b' ');
                at += 1;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}
