//! Rows: a text and how its tree prints, or which finding it gives.

use proptest::prelude::{Just, Strategy, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Limits, Node, Value, parse};
use crate::Position;

/// `{key@line:col: value@line:col}`; quoted scalars in quotes.
fn print(node: &Node) -> String {
    let scalar = |text: &str, plain: bool| if plain { text.to_owned() } else { format!("{text:?}") };
    let at = format!("@{}-{}", node.position, node.end);
    match &node.value {
        Value::Scalar { text, plain } => format!("{}{at}", scalar(text, *plain)),
        Value::Sequence(items) => {
            format!("[{}]{at}", items.iter().map(print).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(k, v)| format!("{}@{}: {}", scalar(&k.text, k.plain), k.position, print(v)))
                .collect();
            format!("{{{}}}{at}", entries.join(", "))
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    match parse(text, &Limits::default()) {
        Ok(node) => assert_eq!(print(&node), expected, "{text:?}"),
        Err(findings) => {
            let found: Vec<_> = findings.iter().map(|f| format!("{} {}", f.code, f.position)).collect();
            assert_eq!(found.join(", "), expected, "{text:?}: {findings:?}");
        }
    }
}

fn limits(bytes_max: usize, depth_max: usize, nodes_max: usize) -> Limits {
    Limits { bytes_max, depth_max, nodes_max }
}

#[track_caller]
fn check_limit(text: &str, limits: &Limits, expected: Option<&str>) {
    let code = parse(text, limits).err().map(|findings| findings[0].code);
    assert_eq!(code, expected, "{text:?} within {limits:?}");
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    for (text, expected) in [
        ("a: 'x\n", "yaml_syntax 1:4"),
        ("a: b: c", "yaml_syntax 1:5"),
        ("a:\n\tb: 1\n", "yaml_syntax 2:2"),
        ("x: 1\n}\n", "yaml_syntax 2:1"),
        ("[1,2", "yaml_syntax 1:5"),
        ("a: *y\n", "yaml_syntax 1:4"),
        ("a: \"\\q\"\n", "yaml_syntax 1:4"),
        // Without a check of our own, the text would end at the NUL and `b` would be lost in silence.
        ("a: 1\r\n\0b: 2\n", "yaml_syntax 2:1"),
        ("ä: \u{1}\n", "yaml_syntax 1:4"),
        ("a: &x [1, *x]\n", "yaml_alias 1:11"),
        ("a: &x { b: *x }\n", "yaml_alias 1:12"),
        ("a: !secret 5\n", "yaml_tag 1:4"),
        ("a: !!binary aGk=\n", "yaml_tag 1:4"),
        ("a: !!map [1]\n", "yaml_tag 1:4"),
        ("a: !!set {b}\n", "yaml_tag 1:4"),
        ("? [a]\n: b\n", "yaml_key 1:3"),
        ("a: {{b: c}: d}\n", "yaml_key 1:5"),
        ("a: &x [1]\n*x : 2\n", "yaml_key 1:4"),
        (": b\n", "yaml_key 1:1"),
        ("---\na: 1\n---\nb: 1\n", "yaml_documents 3:1"),
        ("a: 1\n...\nb: 1\n", "yaml_documents 3:1"),
    ] {
        check(text, expected);
    }
}

#[test]
fn duplicate_keys_are_all_named() {
    for (text, expected) in [
        ("a: 1\nb: 2\na: 3\nb: 4", "yaml_duplicate_key 3:1, yaml_duplicate_key 4:1"),
        ("a: {b: 1, b: 2}\nc: 1\nc: 2\n", "yaml_duplicate_key 1:11, yaml_duplicate_key 3:1"),
        ("200: x\n\"200\": y\n", "yaml_duplicate_key 2:1"),
        ("{\"a\": 1, \"\\u0061\": 2}", "yaml_duplicate_key 1:10"),
        // What was found before a syntax error is still told.
        ("a: {b: 1, b: 2}\nc: 'x", "yaml_duplicate_key 1:11, yaml_syntax 2:4"),
    ] {
        check(text, expected);
    }
    let message = |text| parse(text, &Limits::default()).unwrap_err()[0].message.clone();
    assert_eq!(message("a: 1\nb: 2\na: 3"), "`a` is already set in line 1");
    let many: String = (0..300).map(|n| format!("k{n}: 1\nk{n}: 2\n")).collect();
    assert_eq!(parse(&many, &Limits::default()).unwrap_err().len(), 100);
}

#[test]
fn limits_hold_at_their_edge() {
    let roomy = Limits::default();
    let just = |limits, text: &str, code| {
        check_limit(text, &limits, None);
        let [bytes, depth, nodes] = [limits.bytes_max, limits.depth_max, limits.nodes_max];
        let tighter = match code {
            "yaml_too_large" => Limits { bytes_max: bytes - 1, ..limits },
            "yaml_too_deep" => Limits { depth_max: depth - 1, ..limits },
            _ => Limits { nodes_max: nodes - 1, ..limits },
        };
        check_limit(text, &tighter, Some(code));
    };
    just(limits(5, 9, 99), "a: bc", "yaml_too_large");
    just(limits(99, 3, 99), "a:\n  b:\n    c: 1\n", "yaml_too_deep");
    just(limits(99, 3, 99), "[[[]]]", "yaml_too_deep");
    just(limits(99, 9, 3), "a: b", "yaml_too_many_nodes");
    just(limits(99, 9, 4), "[1, 2, 3]", "yaml_too_many_nodes");
    // The copy is one level deeper than the original: root, c, d, and the two lists within.
    just(limits(99, 5, 99), "a: &x [[1]]\nc: {d: {e: *x}}\n", "yaml_too_deep");
    // root, a, list, 1, the original kept (2), b, the copy (2).
    just(limits(99, 9, 9), "a: &x [1]\nb: *x\n", "yaml_too_many_nodes");
    check_limit(&"[".repeat(200), &roomy, Some("yaml_too_deep"));
    check_limit(&"- ".repeat(200_000), &roomy, Some("yaml_too_deep"));
    check_limit(&"{a: ".repeat(300), &Limits { depth_max: 10_000, ..roomy }, Some("yaml_syntax"));
}

#[test]
fn texts_that_multiply_themselves_are_refused_before_they_cost() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let row = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{row}]\n"));
    }
    check_limit(&bomb, &Limits::default(), Some("yaml_too_many_nodes"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 16), vec!["*a"; 10_000].join(","));
    check_limit(&long, &Limits::default(), Some("yaml_too_large"));
    let nested = format!("{}x{}", "[&a ".repeat(100), "]".repeat(100)).replace("[&a x", "[x");
    check_limit(&nested, &limits(1 << 20, 128, 3_000), Some("yaml_too_many_nodes"));
}

#[test]
fn nodes_know_their_place_and_style() {
    for (text, expected) in [
        ("", "@1:1-1:1"),
        ("# only a comment\n", "@1:1-1:1"),
        ("\u{feff}a: 1", "{a@1:1: 1@1:4-1:5}@1:1-1:5"),
        ("'it''s' : &a \"x \\\"y\n  z\" # \"c\"\n", "{\"it's\"@1:1: \"x \\\"y z\"@1:11-2:5}@1:1-2:5"),
        ("a: !!str 'p\\' # q\n", "{a@1:1: \"p\\\\\"@1:4-1:14}@1:1-1:14"),
        ("---\na: 1\n...\n", "{a@2:1: 1@2:4-2:5}@2:1-2:5"),
        ("a: off\nb: \"off\"  # c\n", "{a@1:1: off@1:4-1:7, b@2:1: \"off\"@2:4-2:9}@1:1-2:9"),
        ("c:\n  - p q  \n  - 'r'\n", "{c@1:1: [p q@2:5-2:8, \"r\"@3:5-3:8]@2:3-3:8}@1:1-3:8"),
        ("d:\n\n\ne: 1\n", "{d@1:1: @1:2-1:2, e@4:1: 1@4:4-4:5}@1:1-4:5"),
        (
            "e: |\n  t\n  u\nf: >-\n  v\n  w\n",
            "{e@1:1: \"t\\nu\\n\"@2:3-4:1, f@4:1: \"v w\"@5:3-7:1}@1:1-7:1",
        ),
        (
            "a: [1, {b: c}]  \nb: {}\n",
            "{a@1:1: [1@1:5-1:6, {b@1:9: c@1:12-1:13}@1:8-1:14]@1:4-1:15, b@2:1: {}@2:4-2:6}@1:1-2:6",
        ),
        ("ää: ö\n", "{ää@1:1: ö@1:5-1:6}@1:1-1:6"),
        (
            "a: !!str 5\nb: ! x\nc: !!int 5\n",
            "{a@1:1: \"5\"@1:4-1:11, b@2:1: \"x\"@2:4-2:7, c@3:1: 5@3:4-3:11}@1:1-3:11",
        ),
        ("a: &x k\n*x : 1\n", "{a@1:1: k@1:4-1:8, k@1:4: 1@2:6-2:7}@1:1-2:7"),
        ("a: &x [1]\nb: *x\n", "{a@1:1: [1@1:8-1:9]@1:4-1:10, b@2:1: [1@1:8-1:9]@1:4-1:10}@1:1-1:10"),
        (
            "a: 1\r\nb: |\r\n  x\r\n  y\r\nc: 2\r\n",
            "{a@1:1: 1@1:4-1:5, b@2:1: \"x\\ny\\n\"@3:3-5:1, c@5:1: 2@5:4-5:5}@1:1-5:5",
        ),
        ("<<: 1\n", "{<<@1:1: 1@1:5-1:6}@1:1-1:6"),
    ] {
        check(text, expected);
    }
}

#[test]
fn json_is_read_with_its_escapes_and_tabs() {
    for (text, expected) in [
        (r#""\"\\\/\b\f\n\r\t\u00e9\u20AC""#, "\"\\\"\\\\/\\u{8}\\u{c}\\n\\r\\té€\"@1:1-1:31"),
        (
            "{\"a\":\"x\\/y\", \"b\" : [1,\n\t2]}",
            "{\"a\"@1:2: \"x/y\"@1:6-1:12, \"b\"@1:14: [1@1:21-1:22, 2@2:2-2:3]@1:20-2:4}@1:1-2:5",
        ),
        (
            "{\n\t\"a\": {\n\t\t\"b\":true\n\t},\"c\":\nnull}",
            "{\"a\"@2:2: {\"b\"@3:3: true@3:7-3:11}@2:7-4:3, \"c\"@4:4: null@5:1-5:5}@1:1-5:6",
        ),
        ("{\"\":-1.5e+3}", "{\"\"@1:2: -1.5e+3@1:5-1:12}@1:1-1:13"),
        // A pair of surrogates is one character; columns behind it count the letters of the escapes.
        (r#"{"a":"\ud83d\uDE00","b":1}"#, "{\"a\"@1:2: \"😀\"@1:6-1:20, \"b\"@1:21: 1@1:25-1:26}@1:1-1:27"),
        (r#"{"\uD83D\uDE00":1}"#, "{\"😀\"@1:2: 1@1:17-1:18}@1:1-1:19"),
        // An escaped backslash starts no escape, and outside double quotes nothing does.
        ("a: \"\\\\uD83D \\uD83D\\uDE00\"\n", "{a@1:1: \"\\\\uD83D 😀\"@1:4-1:26}@1:1-1:26"),
        (
            "a: '\\ud83d'\nb: \\uD83d \\\\uDaBc\n",
            "{a@1:1: \"\\\\ud83d\"@1:4-1:12, b@2:1: \\uD83d \\\\uDaBc@2:4-2:18}@1:1-2:18",
        ),
        (r#""\ud83d""#, "yaml_syntax 1:1"),
        (r#""\ude00\ud83d""#, "yaml_syntax 1:1"),
        ("[\"\\ud83d\\ude00\", \"\u{e83d}\"]", "yaml_syntax 1:1"),
        (r#"["\ud83d\ude00", "\ue83d"]"#, "yaml_syntax 1:1"),
        (r#"["\ud83d\ude00", "\U0000e83d"]"#, "yaml_syntax 1:1"),
        (r#"["\ue83d"]"#, "[\"\u{e83d}\"@1:2-1:10]@1:1-1:11"),
    ] {
        // `print` escapes what Rust escapes; the private range is one of these.
        check(text, &expected.replace('\u{e83d}', "\\u{e83d}"));
    }
}

#[test]
fn scalars_are_typed_by_their_reader() {
    let node = parse("[~, null, '', \"null\", true, \"true\", True, 5, [], {}]", &Limits::default()).unwrap();
    let read: Vec<_> =
        node.items().iter().map(|item| (item.is_null(), item.as_bool(), item.text(), item.kind())).collect();
    let expected = [
        (true, None, None, "nothing"),
        (true, None, None, "nothing"),
        (false, None, Some(""), "a value"),
        (false, None, Some("null"), "a value"),
        (false, Some(true), Some("true"), "a value"),
        (false, None, Some("true"), "a value"),
        (false, None, Some("True"), "a value"),
        (false, None, Some("5"), "a value"),
        (false, None, None, "a list"),
        (false, None, None, "a mapping"),
    ];
    assert_eq!(read, expected);
}

/// JSON text of a random tree, and the tree as the same text read back would print without positions.
fn json() -> impl Strategy<Value = String> {
    let string = "[ -~äß😀\u{2028}]{0,8}".prop_map(|text| quote(&text));
    let leaf = prop_oneof![Just("null".to_owned()), Just("-1.5e3".to_owned()), string];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let pair = ("[a-z😀\"\\\\/]{0,4}", inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map(pair.0, pair.1, 0..5).prop_map(|entries| {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{}:{value}", quote(key))).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

/// As a writer of JSON that escapes everything outside ASCII, surrogate pairs included.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '/' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    quoted + "\""
}

fn write_json(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, plain: true } => text.clone(),
        Value::Scalar { text, plain: false } => quote(text),
        Value::Sequence(items) => format!("[{}]", items.iter().map(write_json).collect::<Vec<_>>().join(",")),
        Value::Mapping(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(k, v)| format!("{}:{}", quote(&k.text), write_json(v))).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

proptest! {
    #[test]
    fn json_comes_back_as_it_was_written(text in json()) {
        let node = parse(&text, &Limits::default()).unwrap();
        prop_assert_eq!(write_json(&node), text);
    }

    #[test]
    fn no_text_panics_and_every_place_is_in_it(text in "([-?:,{}&*!|>'\"%@`#a \n\t\r]|\\\\ud83d|\\[|\\]|- |: |a: ){0,40}") {
        let lines = text.matches(['\n', '\r']).count() + 1;
        let within = |p: Position| p.line >= 1 && p.line as usize <= lines && p.column >= 1;
        match parse(&text, &limits(1 << 10, 20, 200)) {
            Ok(node) => prop_assert!(within(node.position) && within(node.end) && node.position <= node.end),
            Err(findings) => {
                prop_assert!(!findings.is_empty());
                prop_assert!(findings.iter().all(|finding| within(finding.position)), "{:?}", findings);
            }
        }
    }
}
