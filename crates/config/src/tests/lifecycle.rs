//! Dates: order, notice, successors, guides, brownouts, and what was published.

use std::collections::BTreeMap;

use super::{NOW_S, check, check_files, good, load_files, options, told, whole};
use crate::{Options, Published, published_of};

fn api(v1: &str, v2: &str) -> String {
    let version = |name: &str, rest: &str| {
        format!(
            "      {name}:\n        upstream: up\n        operations: {{ GET /x: {{}}, GET /y: {{}} }}\n        lifecycle: {{ {rest} }}\n"
        )
    };
    format!(
        "apis:\n  a:\n    defaults: {{ auth: none }}\n    versions:\n{}{}",
        version("v1", v1),
        version("v2", v2)
    )
}

#[test]
fn dates_are_in_order_and_leave_time() {
    let with = |text: &str, expected: &[&str]| check(&api(text, ""), expected);
    with("deprecated: tomorrow", &["error bad_date 8:34"]);
    with("deprecated: 2027-02-30", &["error bad_date 8:34"]);
    with("deprecated: 1969-02-03", &["error out_of_range 8:34"]);
    with("deprecated: 2027-06-01, sunset: 2027-05-01", &["error sunset_before_deprecation 8:54"]);
    with("deprecated: 2027-06-01, sunset: 2027-06-30", &["warning short_notice 8:54"]);
    with("sunset: 2027-06-30", &["warning sunset_without_notice 8:30"]);
    with("deprecated: 2027-06-01, sunset: 2027-08-30T00:00:00Z", &[]);
    check(
        "apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, lifecycle: { deprecated: 2027-06-01 }, operations: { GET /x: { sunset: 2027-05-01 } } } } } }",
        &["error sunset_before_deprecation 1:143"],
    );
}

#[test]
fn successors_lead_somewhere_else() {
    check(&api("successor: v3", ""), &["error unknown_successor 8:33"]);
    check(&api("successor: v1", ""), &["error successor_cycle 8:33"]);
    check(
        &api("successor: v2", "successor: v1"),
        &["error successor_cycle 8:33", "error successor_cycle 12:33"],
    );
    check(
        &api(
            "deprecated: 2026-01-01, sunset: 2027-01-01, successor: v2",
            "deprecated: 2026-01-01, sunset: 2026-12-01",
        ),
        &["warning successor_ends_first 8:77"],
    );
    check(&api("successor: v2", ""), &[]);
}

#[test]
fn brownouts_lie_between_the_dates() {
    let dates = "deprecated: 2026-01-01, sunset: 2027-01-01, brownouts: ";
    let with = |text: &str, expected: &[&str]| check(&api(&format!("{dates}{text}"), ""), expected);
    with("[{ for: 15m }]", &["error missing_key 8:78"]);
    with("[{ from: 2026-06-01 }]", &["error missing_key 8:78"]);
    with("[{ from: 2026-06-01, for: 15 }]", &["error bad_duration 8:103"]);
    with("[{ from: 2026-06-01, for: 15m, share: 0 }]", &["error out_of_range 8:115"]);
    with("[{ from: 2025-06-01, for: 15m }]", &["warning brownout_outside 8:86"]);
    with("[{ from: 2026-12-31T23:59:00Z, for: 15m }]", &["warning brownout_outside 8:86"]);
    with(
        "[{ from: 2026-06-01, for: 1h }, { from: 2026-06-01T00:30:00Z, for: 1h }]",
        &["error brownout_overlap 8:117"],
    );
    check(&api("brownouts: { from: 2026-06-01, for: 1h }", ""), &["warning brownout_outside 8:41"]);
    let checked = good(&api(&format!("{dates}{{ from: 2026-06-01, for: 1h, share: 0.1 }}"), ""));
    let brownout = &checked.apis["a"].versions["v1"].lifecycle.brownouts[0];
    assert_eq!((brownout.until_s - brownout.from_s, brownout.share), (3600, 0.1));
}

#[test]
fn guides_can_be_opened() {
    let portal = "portal: { public_url: https://p.example.com/docs/ }\n";
    let text = |guides: [&str; 2]| {
        let [a, b] = guides;
        whole(&format!("{portal}{}", api(&format!("guide: {a}"), &format!("guide: {b}"))))
    };
    let files = |guides: [&'static str; 2]| {
        [("mainstay.yaml", text(guides)), ("g/move.md", String::new()), ("h/move.md", String::new())]
    };
    let with = |guides: [&'static str; 2], expected: &[&str]| {
        let files = files(guides);
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        check_files(&files, expected);
    };
    with(["none.md", "g/move.md"], &["error guide_missing 9:29"]);
    with(["'a b.md'", "g/move.md"], &["error guide_missing 9:29", "error guide_name 9:29"]);
    with(["g/move.md", "h/move.md"], &["error guide_name 13:29"]);
    with(["'https://x/<>'", "g/move.md"], &["error bad_url 9:29"]);
    with(["g/move.md", "g/move.md"], &[]);
    with(["https://docs.example.com/move?x=1#y", "g/move.md"], &[]);
    check_files(
        &[("mainstay.yaml", &whole(&api("guide: move.md", ""))), ("move.md", "")],
        &["error guide_without_portal 8:29"],
    );
    let files = files(["g/move.md", "https://x/y"]);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let checked = load_files(&files, &options()).checked.expect("loads");
    let guide = |version: &str| checked.apis["a"].versions[version].lifecycle.guide.clone();
    assert_eq!(guide("v1").as_deref(), Some("https://p.example.com/docs/guides/move"));
    assert_eq!(guide("v2").as_deref(), Some("https://x/y"));
}

const V1: &str = "deprecated: 2026-01-01, sunset: 2027-01-01";
const JANUARY_2027_S: i64 = 1_798_761_600;

#[track_caller]
fn check_published(published: &[(&str, i64)], text: &str, now_s: i64, expected: &[&str]) {
    let published =
        Published(published.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect::<BTreeMap<_, _>>());
    let options = Options { published, now_s, ..options() };
    let outcome = load_files(&[("mainstay.yaml", &whole(text))], &options);
    assert_eq!(told(&outcome.problems), expected, "{}", crate::render_text(&outcome.problems));
}

#[test]
fn published_dates_only_move_later() {
    let later = JANUARY_2027_S + 86_400;
    let code = "error sunset_moved_earlier";
    check_published(&[("a/v1", later)], &api(V1, ""), NOW_S, &[&format!("{code} 8:54")]);
    check_published(&[("a/v1", later)], &api("", ""), NOW_S, &[&format!("{code} 5:7")]);
    check_published(&[("a/v9", later)], &api(V1, ""), NOW_S, &[&format!("{code} 2:3")]);
    check_published(&[("b/v1", later)], &api(V1, ""), NOW_S, &[&format!("{code} 1:1")]);
    check_published(&[("a/v1/GET /x", later)], &api(V1, ""), NOW_S, &[&format!("{code} 8:54")]);
    check_published(&[("a/v2/GET /z", later)], &api(V1, ""), NOW_S, &[&format!("{code} 9:7")]);
    check_published(&[("a/v2/GET /x", later)], &api(V1, ""), NOW_S, &[&format!("{code} 9:7")]);
    // An operation may not end before what its version published.
    let own = api(V1, "").replacen("GET /x: {}", "GET /x: { sunset: 2026-12-01 }", 1);
    check_published(&[("a/v1", JANUARY_2027_S)], &own, NOW_S, &[&format!("{code} 7:41")]);
    // The same date, a later one, and an end that has come.
    check_published(&[("a/v1", JANUARY_2027_S)], &api(V1, ""), NOW_S, &[]);
    check_published(&[("a/v1", JANUARY_2027_S - 5)], &api(V1, ""), NOW_S, &[]);
    check_published(&[("a/v0", NOW_S), ("c/v1/x", NOW_S - 1)], &api(V1, ""), NOW_S, &[]);
    // Whether something is gone is not known when a file is broken.
    check_published(
        &[("a/v9", later)],
        &format!("servr: {{}}\n{}", api(V1, "")),
        NOW_S,
        &["error unknown_key 1:1"],
    );
}

#[test]
fn what_is_published_is_remembered() {
    let own = api(V1, "").replacen("GET /x: {}", "GET /x: { sunset: 2028-01-01 }", 1);
    let mut published = published_of(&good(&own));
    let expected = [("a/v1", JANUARY_2027_S), ("a/v1/GET /x", 1_830_297_600)];
    assert_eq!(published.0, expected.map(|(key, at)| (key.to_owned(), at)).into());
    let other = Published([("a/v1".to_owned(), 5), ("b/v1".to_owned(), 6)].into());
    published.merge(&other);
    assert_eq!((published.0["a/v1"], published.0["b/v1"]), (JANUARY_2027_S, 6));
    let text = serde_json::to_string(&other).expect("serialises");
    assert_eq!(text, r#"{"a/v1":5,"b/v1":6}"#);
}

#[test]
fn against_an_older_file() {
    let old = whole(&api("deprecated: 2026-01-01, sunset: 2027-02-01", ""))
        .replace("auth: none", "auth: none, body: 1KiB");
    let new = whole(&api(V1, "")).replace("auth: none", "auth: none, body: 2KiB");
    let options = Options { against: Some("old.yaml".into()), ..options() };
    let outcome = load_files(&[("mainstay.yaml", &new), ("old.yaml", &old)], &options);
    let expected = [
        "note loosens_old 5:7",
        "note loosens_old 5:7",
        "error sunset_moved_earlier 8:54",
        "note loosens_old 9:7",
        "note loosens_old 9:7",
    ];
    assert_eq!(told(&outcome.problems), expected);
    assert!(
        outcome.problems[2]
            .help
            .as_deref()
            .is_some_and(|help| help.contains("published was 2027-02-01T00:00:00Z"))
    );
    let same = load_files(&[("mainstay.yaml", &new), ("old.yaml", &new)], &options);
    assert_eq!(told(&same.problems), [""; 0]);
    // An old file that does not load as a whole still gives its dates.
    let broken = format!("nonsense: 1\n{old}");
    let outcome = load_files(&[("mainstay.yaml", &new), ("old.yaml", &broken)], &options);
    assert_eq!(outcome.problems[0].code, "against_incomplete");
    assert!(outcome.problems.iter().any(|problem| problem.code == "sunset_moved_earlier"));
}

/// Guards against: only what stands in operations was compared, so that raised limits of the engine went unnoticed.
#[test]
fn limits_that_loosen_against_an_older_file_are_told() {
    let text = |limits: &str| format!("server: {{ limits: {{ {limits} }} }}\n{}", whole(&api(V1, "")));
    let rows: [(&str, &str, &[&str]); 14] = [
        ("connections: 2000", "connections: 2001", &["note loosens_old 1:34 connections 2000 -> 2001"]),
        // Taken away, the default counts.
        ("headers: 50", "", &["note loosens_old 1:1 headers 50 -> 100"]),
        ("connection_age: 1h", "connection_age: off", &["note loosens_old 1:37 connection_age 1h -> off"]),
        ("connection_age: 1h", "", &["note loosens_old 1:1 connection_age 1h -> off"]),
        (
            "header_bytes: 16KiB",
            "header_bytes: 64KiB",
            &["note loosens_old 1:35 header_bytes 16KiB -> 64KiB"],
        ),
        (
            "idle_timeout: 5s, body_timeout: 5s",
            "idle_timeout: 6s, body_timeout: 6s",
            &["note loosens_old 1:35 idle_timeout 5s -> 6s", "note loosens_old 1:53 body_timeout 5s -> 6s"],
        ),
        ("memory: 1GiB", "memory: 2GiB", &["note loosens_old 1:29 memory 1GiB -> 2GiB"]),
        ("memory: 1GiB", "memory: off", &["note loosens_old 1:29 memory 1GiB -> off"]),
        ("", "memory: off", &["note loosens_old 1:29 memory auto -> off"]),
        // What `auto` comes to is not known here.
        ("memory: 1GiB", "memory: auto", &[]),
        ("memory: off", "memory: 2GiB", &[]),
        ("connections: 2001", "connections: 2000", &[]),
        ("connection_age: off", "connection_age: 1h", &[]),
        ("", "headers: 100", &[]),
    ];
    for (old, new, expected) in rows {
        let options = Options { against: Some("old.yaml".into()), ..options() };
        let outcome = load_files(&[("mainstay.yaml", &text(new)), ("old.yaml", &text(old))], &options);
        let told: Vec<_> = outcome
            .problems
            .iter()
            .map(|p| {
                let message = p.message.strip_prefix("server.limits.").and_then(|m| m.split(" (").next());
                format!("{} {} {}:{} {}", "note", p.code, p.line, p.column, message.unwrap_or(&p.message))
            })
            .collect();
        assert_eq!(told, expected, "{old} | {new}");
        assert!(
            outcome.problems.iter().all(|p| p.key.starts_with("server.limits.")),
            "{:?}",
            outcome.problems
        );
    }
}
