//! Paths and templates, as far as their shape decides whether two operations are the same.
//!
//! The route table parses templates once more and has the last word; the rules here are its rules, told with the line
//! of the configuration or the document. Literals are brought into their canonical form first (RFC 3986, 6.2.2), so
//! that `/caf%65` and `/cafe` are one shape.

use mainstay_openapi::template;

/// As the route table has it.
const SEGMENTS_MAX: usize = 64;
const PARAMETERS_MAX: usize = 16;

/// The shape of a template: names of parameters taken away, literals canonical.
///
/// # Errors
/// What is wrong with it, as the second half of a sentence ("it ...").
pub(crate) fn shape(text: &str) -> Result<String, String> {
    let shape = template::shape(text)?;
    let segments: Vec<&str> = shape[1..].split('/').collect();
    if segments.len() > SEGMENTS_MAX {
        return Err(format!("it has more than {SEGMENTS_MAX} segments"));
    }
    if shape.matches('{').count() > PARAMETERS_MAX {
        return Err(format!("it has more than {PARAMETERS_MAX} parameters"));
    }
    let mut canonical = String::with_capacity(shape.len());
    for segment in segments {
        canonical.push('/');
        match segment.split_once('{') {
            Some((prefix, rest)) => {
                let (name, suffix) = rest.split_once('}').unwrap_or((rest, ""));
                canonical.push_str(&literal(prefix)?);
                canonical.push_str(if name == "*" { "{*}" } else { "{}" });
                canonical.push_str(&literal(suffix)?);
            }
            None => {
                let text = literal(segment)?;
                if is_dot_segment(&text) {
                    return Err("no request can match a segment `.` or `..`".to_owned());
                }
                canonical.push_str(&text);
            }
        }
    }
    Ok(canonical)
}

/// `.` or `..`, also with parameters behind it, which some servers take away first.
pub(crate) fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

/// A literal part in the form that requests have after they are made canonical.
fn literal(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let (value, is_escape) = match byte {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
                let hex = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let value = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
                at += 3;
                (value.ok_or("a `%` in it is not followed by two hexadecimal digits")?, true)
            }
            _ => {
                at += 1;
                (byte, false)
            }
        };
        decoded.push(value);
        push(&mut out, value, is_escape)?;
    }
    match String::from_utf8(decoded) {
        Ok(text) if text.contains(char::is_control) => Err("it has a control character".to_owned()),
        Ok(_) => Ok(out),
        Err(_) => Err("its escapes are not UTF-8".to_owned()),
    }
}

fn push(out: &mut String, value: u8, is_escape: bool) -> Result<(), String> {
    let is_unreserved = value.is_ascii_alphanumeric() || b"-._~".contains(&value);
    let is_plain = is_unreserved || b"!$&'()*+,;=:@".contains(&value);
    match value {
        b'\\' => return Err("it has a backslash, which no request can".to_owned()),
        b'/' if is_escape => return Err("it has an escaped slash, which no request can".to_owned()),
        b'?' | b'#' if !is_escape => return Err("it has a query or a fragment".to_owned()),
        _ if !is_escape && !value.is_ascii() => {
            return Err("it has characters outside ASCII; write them percent-encoded".to_owned());
        }
        _ => {}
    }
    if is_unreserved || (is_plain && !is_escape) {
        out.push(char::from(value));
    } else {
        out.push_str(&format!("%{value:02X}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_request_can_match_is_refused() {
        for (template, part) in [
            ("payments", "begin with"),
            ("/a//b", "empty segment"),
            ("/a/../b", "segment `.`"),
            ("/a/%2e%2E/b", "segment `.`"),
            ("/a/..;x", "segment `.`"),
            ("/a%2fb", "slash"),
            ("/a%5Cb", "backslash"),
            ("/a\\b", "backslash"),
            ("/a%zz", "hexadecimal"),
            ("/a%4", "hexadecimal"),
            ("/a%ff", "UTF-8"),
            ("/a%00", "control"),
            ("/caf\u{e9}", "percent-encoded"),
            ("/{a}/{a}", "twice"),
            ("/{a}{b}", "two parameters"),
            ("/{*rest}/x", "last segment"),
        ] {
            let error = shape(template).expect_err(template);
            assert!(error.contains(part), "{template}: {error}");
        }
        assert!(shape(&"/a".repeat(65)).is_err());
        let many: String = (0..17).map(|n| format!("/{{p{n}}}")).collect();
        assert!(shape(&many).is_err());
    }

    #[test]
    fn shapes_are_canonical() {
        for (template, expected) in [
            ("/", "/"),
            ("/payments/{id}", "/payments/{}"),
            ("/payments/{id}:cancel", "/payments/{}:cancel"),
            ("/files/{*rest}", "/files/{*}"),
            ("/caf%65/%c3%a9", "/cafe/%C3%A9"),
            ("/a b", "/a%20b"),
            ("/a%3ab:c", "/a%3Ab:c"),
            ("/v1/", "/v1/"),
        ] {
            assert_eq!(shape(template).as_deref(), Ok(expected));
        }
    }
}
