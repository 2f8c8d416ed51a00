//! Each rule with a case that breaks it first, then what it must let pass.

use super::{Files, docs, layers, manifests, mutants, rust_source, sizes, text};
use serde_json::{Value, json};

fn files(rows: &[(&str, &str)]) -> Files {
    rows.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Findings as a person sees them.
#[track_caller]
fn check(found: impl IntoIterator<Item = super::Finding>, expected: &[&str]) {
    let found: Vec<String> = found.into_iter().map(|finding| finding.to_string()).collect();
    assert_eq!(found, expected);
}

/// Metadata of packages written as `name: [(dependency, kind)]`; all of them are members except those from outside.
fn metadata(packages: &[(&str, &[(&str, &str)])]) -> Value {
    let outside = ["tokio", "serde", "bytes", "proptest"];
    let listed = packages.iter().map(|(name, uses)| {
        let dependencies: Vec<Value> = uses
            .iter()
            .map(|(name, kind)| json!({"name": name, "kind": if kind.is_empty() { Value::Null } else { json!(kind) }}))
            .collect();
        json!({"id": name, "name": name, "manifest_path": format!("/x/crates/{name}/Cargo.toml"),
               "dependencies": dependencies})
    });
    let nodes = packages.iter().map(|(name, uses)| {
        let deps: Vec<Value> = uses
            .iter()
            .map(|(name, kind)| {
                let kind = if kind.is_empty() { Value::Null } else { json!(kind) };
                json!({"pkg": name, "dep_kinds": [{"kind": kind}]})
            })
            .collect();
        json!({"id": name, "deps": deps})
    });
    let members: Vec<&str> =
        packages.iter().map(|(name, _)| *name).filter(|name| !outside.contains(name)).collect();
    json!({"packages": listed.collect::<Vec<_>>(), "workspace_members": members,
           "resolve": {"nodes": nodes.collect::<Vec<_>>()}})
}

#[track_caller]
fn check_layers(packages: &[(&str, &[(&str, &str)])], expected: &[&str]) {
    check(layers::check(&metadata(packages)).expect("the fixture is whole"), expected);
}

#[test]
fn an_arrow_in_the_wrong_direction_is_found() {
    check_layers(
        &[("mainstay-proxy", &[("mainstay-config", "")]), ("mainstay-config", &[])],
        &["mainstay-proxy/Cargo.toml: mainstay-proxy must not build on mainstay-config"],
    );
    check_layers(
        &[("mainstay-control", &[("mainstay-proxy", "build")]), ("mainstay-proxy", &[])],
        &["mainstay-control/Cargo.toml: mainstay-control must not build on mainstay-proxy"],
    );
    check_layers(
        &[("mainstay-policy", &[("mainstay-testkit", "dev")]), ("mainstay-testkit", &[])],
        &["mainstay-policy/Cargo.toml: mainstay-policy must not build on mainstay-testkit"],
    );
}

#[test]
fn a_crate_that_nobody_placed_is_found() {
    check_layers(
        &[("mainstay-new", &[])],
        &["mainstay-new/Cargo.toml: mainstay-new has no row in xtask's MAY_USE: say what it may build on"],
    );
}

#[test]
fn input_and_output_behind_a_policy_are_found() {
    check_layers(
        &[("mainstay-policy", &[("bytes", "")]), ("bytes", &[("tokio", "")]), ("tokio", &[])],
        &["mainstay-policy/Cargo.toml: a crate without I/O reaches tokio: mainstay-policy -> bytes -> tokio"],
    );
    check_layers(
        &[("mainstay-policy", &[("tokio", "dev")]), ("tokio", &[])],
        &["mainstay-policy/Cargo.toml: mainstay-policy must not need tokio, in its tests neither"],
    );
}

#[test]
fn arrows_in_the_right_direction_pass() {
    check_layers(
        &[
            ("mainstay-core", &[("serde", "")]),
            ("mainstay-policy", &[("mainstay-core", ""), ("proptest", "dev")]),
            ("mainstay-proxy", &[("mainstay-policy", ""), ("tokio", ""), ("mainstay-testkit", "dev")]),
            ("mainstay-testkit", &[("tokio", "")]),
            ("serde", &[("tokio", "dev")]),
            ("tokio", &[]),
            ("proptest", &[]),
        ],
        &[],
    );
}

#[test]
fn metadata_without_a_graph_is_an_error_and_not_a_pass() {
    assert!(layers::check(&json!({"packages": [], "workspace_members": []})).is_err());
}

#[test]
fn a_crate_without_the_lints_is_found() {
    let expected = ["c/Cargo.toml: does not take the workspace's lints: [lints] workspace = true"];
    let broken = [
        "[package]\nname = \"c\"\n",
        "[lints]\n[dependencies]\nworkspace = true\n",
        "[lints.rust]\nunsafe_code = \"allow\"\n",
    ];
    for manifest in broken {
        check(manifests::check_lints("c/Cargo.toml", manifest), &expected);
    }
    check(manifests::check_lints("c/Cargo.toml", "[lints]\nworkspace = true\n\n[dependencies]\n"), &[]);
}

#[test]
fn a_banned_crate_in_the_build_is_found() {
    let deny = "deny = [\n  # why\n  { crate = \"ring\", reason = \"x\" },\n  { crate = \"h2:<0.4.20\", reason = \"x\" },\n]\n";
    let banned = manifests::banned(deny);
    assert_eq!(banned, ["ring"]);
    let tree = "mainstay v0.1.0 (/x)\nring v0.17.14\nh2 v0.4.20\nring v0.17.14 (*)\n";
    check(
        manifests::check_built(tree, &banned),
        &["Cargo.toml: ring is built and banned; deny.toml says why"],
    );
    check(manifests::check_built("ring-buffer v1.0.0\n", &banned), &[]);
    check(
        manifests::check_built(tree, &[]),
        &["deny.toml: bans no crate that could be read: one entry a line, as it was"],
    );
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let long_function = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(100));
    check(sizes::check_file("a.rs", &long_function), &["a.rs:1: fn long has 102 lines; at most 100"]);
    let long_file = "fn short() {}\n".repeat(801);
    check(sizes::check_file("a.rs", &long_file), &["a.rs: 801 lines without tests; at most 800"]);
}

#[test]
fn tests_are_outside_of_the_limits() {
    let body = "        step();\n".repeat(900);
    let with_tests = format!(
        "fn short() {{}}\n\n#[cfg(test)]\nmod tests {{\n    #[test]\n    fn long() {{\n{body}    }}\n}}\n"
    );
    check(sizes::check_file("a.rs", &with_tests), &[]);
    let not_for_tests = with_tests.replace("cfg(test)", "cfg(not(test))").replace("    #[test]\n", "");
    assert_eq!(sizes::check_file("a.rs", &not_for_tests).len(), 2);
}

#[test]
fn modules_of_tests_in_files_of_their_own_are_known() {
    let long = "fn short() {}\n".repeat(801);
    let tree = files(&[
        ("crates/a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod whole;\n"),
        ("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
        ("crates/a/src/b/tests.rs", &long),
        ("crates/a/src/whole/part.rs", &long),
        ("crates/a/src/c/tests.rs", &long),
        ("crates/a/benches/x.rs", &long),
    ]);
    assert_eq!(sizes::test_modules(&tree), ["crates/a/src/b/tests", "crates/a/src/whole"]);
    check(sizes::check(&tree), &["crates/a/src/c/tests.rs: 801 lines without tests; at most 800"]);
}

#[test]
fn a_loosened_lint_without_a_reason_is_found() {
    let rows = [
        ("#[allow(dead_code)]\nfn f() {}\n", 1),
        ("#![allow(clippy::all)]\n", 1),
        ("#[expect(dead_code, reason = \"\")]\n", 1),
        ("#[cfg_attr(test, allow(dead_code))]\n", 1),
        ("// why\n#[allow(\n    dead_code,\n)]\n", 2),
    ];
    for (source, line) in rows {
        let found = text::loosened_lints("a.rs", source);
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [line], "{source}");
    }
    let fine = "#[allow(dead_code, reason = \"a later stage reads it\")]\n// #[allow(x)]\nlet s = \"#[allow(x)]\";\nmap.expect(\"x\");\n#[derive(Debug)]\n";
    check(text::loosened_lints("a.rs", fine), &[]);
}

#[test]
fn a_stub_is_found() {
    check(text::stubs("a.rs", "fn f() {\n    todo!()\n}\n"), &["a.rs:2: todo! is a stub"]);
    check(text::stubs("a.rs", "fn f() { unimplemented!(\"x\") }"), &["a.rs:1: unimplemented! is a stub"]);
    check(text::stubs("a.rs", "// todo!()\nlet s = \"todo!()\"; let todo = !x;\n"), &[]);
}

#[test]
fn a_path_of_one_machine_is_found() {
    // Put together here, or this file would be a finding of its own.
    for folder in ["work", "root", "home", "Users"] {
        for before in ["", "see ", "\"", "(", "file://"] {
            let line = format!("{before}/{folder}/someone/project");
            let expected = format!("a.md:1: a path under /{folder} exists on one machine only");
            check(text::machine_paths("a.md", &line), &[&expected]);
        }
    }
    for line in ["https://host/home/page", "/v1/work/{id}", "../root/x", "/workers/3", "${dir}/home/x"] {
        check(text::machine_paths("a.md", line), &[]);
    }
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let tree =
        files(&[("docs/guides/a.md", ""), ("docs/b.md", "# One thing\n## Two: `x`, y\n## One thing\n")]);
    let rows = [
        ("[x](missing.md)", "docs/guides/a.md:1: the link to missing.md leads nowhere"),
        ("[x](../../../outside.md)", "docs/guides/a.md:1: the link to ../../../outside.md leads nowhere"),
        ("[x](../b.md#three)", "docs/guides/a.md:1: docs/b.md has no heading for #three"),
        ("[x]: gone.md \"title\"", "docs/guides/a.md:1: the link to gone.md leads nowhere"),
        ("![p](p.png) and [x](a.md)", "docs/guides/a.md:1: the link to p.png leads nowhere"),
    ];
    for (text, expected) in rows {
        check(docs::check_links("docs/guides/a.md", text, &tree, &|_| false), &[expected]);
    }
}

#[test]
fn links_that_lead_somewhere_pass() {
    let tree =
        files(&[("docs/guides/a.md", ""), ("docs/b.md", "# One thing\n## Two: `x`, y\n## One thing\n")]);
    let text = "[x](../b.md#two-x-y) [x](../b.md#one-thing-1) [h](https://example.com/x) [m](mailto:a@example.com)\n\
                `[x](in-code.md)` [d](../..) [e](../../examples)\n```\n[x](fenced.md)\n```\n";
    check(
        docs::check_links("docs/guides/a.md", text, &tree, &|path| path.is_empty() || path == "examples"),
        &[],
    );
}

#[test]
fn a_document_outside_of_the_list_is_found() {
    check(docs::check_list(&files(&[])), &["docs/README.md: is missing"]);
    let tree = files(&[
        ("docs/README.md", "[a](guides/a.md)"),
        ("docs/guides/a.md", ""),
        ("docs/guides/b.md", ""),
        ("docs/adr/0001-x.md", ""),
    ]);
    check(
        docs::check_list(&tree),
        &[
            "docs/adr/0001-x.md: is not listed in docs/README.md",
            "docs/guides/b.md: is not listed in docs/README.md",
        ],
    );
}

#[test]
fn a_mutant_that_no_longer_fits_is_found() {
    let list = "[[mutant]]\nname = \"a\"\nguards = \"b.\"\nfile = \"crates/wire/src/x.rs\"\nfind = \"if n > max\"\n\
                replace = \"if false\"\npackage = \"mainstay-wire\"\ntests = \"x::tests::limits\"\n";
    let source = "if n > max {}\n#[test]\nfn limits() {}\n";
    let with = |list: &str, source: &str| {
        mutants::check(&files(&[("tests/mutants/wire.toml", list), ("crates/wire/src/x.rs", source)]))
    };
    check(with(list, source), &[]);
    check(
        with(list, &source.repeat(2)),
        &["tests/mutants/wire.toml:1: mutant a: its text stands 2 times in crates/wire/src/x.rs"],
    );
    check(
        with(list, &source.replace("max", "limit")),
        &["tests/mutants/wire.toml:1: mutant a: its text stands 0 times in crates/wire/src/x.rs"],
    );
    check(
        with(list, &source.replace("limits()", "limit()")),
        &["tests/mutants/wire.toml:1: mutant a: no test in crates/wire/ is called x::tests::limits"],
    );
    check(
        with(&list.replace("src/x.rs", "src/y.rs"), source),
        &["tests/mutants/wire.toml:1: mutant a: there is no crates/wire/src/y.rs"],
    );
    check(
        with(&list.repeat(2), source),
        &["tests/mutants/wire.toml:9: mutant a stands in tests/mutants/wire.toml, too"],
    );
    check(with("nonsense\n", source), &["tests/mutants/wire.toml:1: neither a key nor [[mutant]]"]);
}

#[test]
fn a_changelog_without_an_open_section_is_found() {
    check(docs::check_changelog("# Changelog\n"), &["CHANGELOG.md: has no section `## [Unreleased]`"]);
    check(docs::check_changelog("# Changelog\n\n## [Unreleased]\n"), &[]);
}

#[test]
fn what_is_no_code_is_blanked() {
    let rows = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("\"x\\\"y\" z", "\"    \" z"),
        ("r#\"a\"b\"# c", "r        c"),
        ("'{' '\\'' 'a", "' ' '  ' 'a"),
        ("b\"x\" é \"é\"", "b\" \" é \"  \""),
        ("r#fn \"", "r#fn \""),
    ];
    for (source, expected) in rows {
        assert_eq!(rust_source::code_only(source), expected, "{source}");
    }
}

#[test]
fn functions_are_found_with_their_whole_body() {
    let code = "trait T { fn promise(&self, x: [u8; 2]); }\nfn one<T>(f: fn(u8) -> u8) -> T where T: X {\n  if a { b } else { c }\n}\nconst fn two() {}\n";
    let found: Vec<(&str, usize)> = rust_source::functions(code)
        .into_iter()
        .map(|(name, body)| (name, code[body].matches('\n').count() + 1))
        .collect();
    assert_eq!(found, [("one", 3), ("two", 1)]);
}
