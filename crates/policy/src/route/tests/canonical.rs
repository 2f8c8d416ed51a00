//! One spelling for each path: rows, then properties.

use std::borrow::Cow;

use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};

use super::super::canonical_path;

#[test]
fn what_is_ambiguous_is_refused() {
    for (raw, word) in [
        ("", "slash"),
        ("a/b", "slash"),
        ("*", "slash"),
        ("http://a/b", "slash"),
        ("/a/../b", "segment"),
        ("/a/..", "segment"),
        ("/.", "segment"),
        ("/./", "segment"),
        ("/%2e/a", "segment"),
        ("/a/%2E%2e/b", "segment"),
        ("/a/.%2e", "segment"),
        ("/a/%2e.", "segment"),
        ("/a/..;x=1/b", "segment"),
        ("/a/.;/b", "segment"),
        ("/a/..%3bx/b", "segment"),
        ("/a/%2e%2e%3Bx", "segment"),
        ("/a%2fb", "escaped slash"),
        ("/a%2Fb", "escaped slash"),
        ("/a\\b", "backslash"),
        ("/a%5cb", "backslash"),
        ("/a%00b", "control"),
        ("/a\0b", "control"),
        ("/a\tb", "control"),
        ("/a\u{7f}", "control"),
        ("/a%7F", "control"),
        ("/a%0d%0ab", "control"),
        ("/a%C2%85", "control"),
        ("/é", "outside ASCII"),
        ("/%C3", "UTF-8"),
        ("/%C3a", "UTF-8"),
        ("/%C3%28", "UTF-8"),
        ("/%A9", "UTF-8"),
        ("/%C0%AF", "UTF-8"),
        ("/%E0%80%AF", "UTF-8"),
        ("/%ED%A0%80", "UTF-8"),
        ("/%F5%80%80%80", "UTF-8"),
        ("/%", "hexadecimal"),
        ("/%4", "hexadecimal"),
        ("/%zz", "hexadecimal"),
        ("/%2%35", "hexadecimal"),
        ("/%+1", "hexadecimal"),
        ("/%C3%", "hexadecimal"),
        ("/a#b", "`#`"),
        ("/a?b", "`?`"),
    ] {
        let refusal = canonical_path(raw.as_bytes()).expect_err(raw);
        let detail = refusal.to_string();
        assert!(detail.contains(word), "{raw}: {detail}");
    }
    assert!(canonical_path(b"/\xff").is_err());
}

#[test]
fn one_spelling_comes_out() {
    for (raw, expected) in [
        ("/%70ay%6dents", "/payments"),
        ("/a%2Db%2eC%5F%7e%39", "/a-b.C_~9"),
        ("/%c3%a9%e2%82%ac%f0%9f%98%80", "/%C3%A9%E2%82%AC%F0%9F%98%80"),
        ("/%3a%40%21", "/%3A%40%21"),
        ("/a b\"<>^`{|}", "/a%20b%22%3C%3E%5E%60%7B%7C%7D"),
        ("/%252e%252e/%252f", "/%252e%252e/%252f"),
    ] {
        assert_eq!(canonical_path(raw.as_bytes()).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn what_is_canonical_is_borrowed() {
    for raw in [
        "/",
        "//",
        "/a//b/",
        "/payments/p_1;v=2/refunds:cancel",
        "/!$&'()*+,;=:@-._~",
        "/.well-known/x",
        "/..a/...",
        "/a./b..",
        "/%20%25",
        "/%C3%A9",
        "/a%3B..",
    ] {
        let path = canonical_path(raw.as_bytes()).expect(raw);
        assert!(matches!(path, Cow::Borrowed(_)), "{raw}");
        assert_eq!(path, raw);
    }
}

proptest! {
    /// The form is stable, and nothing ambiguous is left in it.
    #[test]
    fn canonical_is_a_fixed_point(raw in "/(%[0-9a-fA-F]{2}|%2[eEfF5]|%[cC]3%[aA]9|[a./;~é{ \\\\]){0,12}") {
        let Ok(path) = canonical_path(raw.as_bytes()) else { return Ok(()) };
        prop_assert_eq!(&canonical_path(path.as_bytes()).unwrap(), &path);
        prop_assert!(path.is_ascii());
        prop_assert!(!path.contains("%2F") && !path.contains("%5C") && !path.contains('\\'));
        prop_assert!(path.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | ".."))));
    }

    /// Escaping an unreserved character does not make another path of it.
    #[test]
    fn spelling_does_not_matter(text in "/[a-zA-Z0-9~_.-]{1,8}", at in 1usize..8) {
        prop_assume!(at < text.len());
        let byte = text.as_bytes()[at];
        let escaped = format!("{}%{byte:02x}{}", &text[..at], &text[at + 1..]);
        prop_assert_eq!(canonical_path(escaped.as_bytes()), canonical_path(text.as_bytes()));
    }

    #[test]
    fn no_bytes_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..24)) {
        let _ = canonical_path(&raw);
    }
}
