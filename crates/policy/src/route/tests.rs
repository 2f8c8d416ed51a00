//! Rows for the prose of the module, and a matcher written from that prose alone to compare with.

mod canonical;
mod naive;

use proptest::prelude::{Just, Strategy, prop};
use proptest::{prop_assert_eq, prop_oneof, proptest};

use super::{HostPattern, Lookup, MethodSpec, PARAMS_MAX, RouterBuilder, SEGMENTS_MAX, Template};

/// What a lookup says, in one line: `template name=value ...`, `405 ALLOW` or `404`.
fn show(lookup: &Lookup<'_, '_, String>) -> String {
    match lookup {
        Lookup::Found { value, params } => {
            let params: String = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{value}{params}")
        }
        Lookup::MethodNotAllowed { allow } => format!("405 {allow}"),
        Lookup::NotFound => "404".to_owned(),
    }
}

/// `METHOD HOST TEMPLATE`.
fn router(routes: &[&str]) -> super::Router<String> {
    let mut builder = RouterBuilder::new();
    for route in routes {
        let [method, host, template] = route.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let host = HostPattern::parse(host).unwrap();
        let template = Template::parse(template).unwrap();
        builder.insert(&host, &template, MethodSpec::new(method), (*route).to_owned()).unwrap();
    }
    builder.build()
}

#[track_caller]
fn check(routes: &[&str], rows: &[(&str, &str)]) {
    let router = router(routes);
    for (request, expected) in rows {
        let [method, host, path] = request.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let host = (host != "-").then_some(host);
        assert_eq!(show(&router.find(host, path, method)), *expected, "{request}");
    }
}

#[test]
fn what_is_no_template_is_refused() {
    let many_segments = "/a".repeat(SEGMENTS_MAX + 1);
    let many_params: String = (0..=PARAMS_MAX).map(|n| format!("/{{p{n}}}")).collect();
    for (text, part) in [
        ("", "begin with"),
        ("a/b", "begin with"),
        ("/a//b", "empty segment"),
        ("//", "empty segment"),
        (&many_segments, "segments"),
        (&many_params, "parameters"),
        ("/{id", "partner"),
        ("/id}", "partner"),
        ("/}{", "partner"),
        ("/{a}}", "partner"),
        ("/{a{b}}", "partner"),
        ("/{a}-{b}", "two parameters"),
        ("/{}", "no name"),
        ("/{a b}", "no name"),
        ("/{a{b}", "no name"),
        ("/{*}", "no name"),
        ("/{a}/{a}", "occurs twice"),
        ("/x{*rest}", "fill its segment"),
        ("/{*rest}.json", "fill its segment"),
        ("/{*rest}/b", "last segment"),
        ("/{*rest}/", "last segment"),
        ("/a/../b", "`..`"),
        ("/%2e", "`..`"),
        ("/a?b", "no request"),
        ("/a#b", "no request"),
        ("/é", "no request"),
        ("/a%2Fb", "no request"),
        ("/%C3{x}", "no request"),
        ("/%4{x}", "no request"),
    ] {
        let error = Template::parse(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    let long = format!("{}.com", "a".repeat(250));
    for text in [
        "",
        "a:80",
        "a.",
        ".a",
        "a..b",
        "*a.b",
        "a.*.b",
        "*.*.a",
        "*.",
        "bücher.de",
        "a/b",
        "[::1",
        "[x]",
        &long,
    ] {
        assert!(HostPattern::parse(text).is_err(), "{text}");
    }
    for (text, shown) in [
        ("*", "*"),
        ("API.Example.com", "api.example.com"),
        ("*.Example.com", "*.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ] {
        assert_eq!(HostPattern::parse(text).unwrap().to_string(), shown);
    }
}

#[test]
fn the_same_route_twice_is_a_conflict() {
    for (first, second, conflict) in [
        ("GET * /a/{id}", "GET * /a/{name}", true),
        ("GET * /a/{id}:x/{b}", "GET * /a/{name}:x/{c}", true),
        ("GET * /a~b", "GET * /a%7Eb", true),
        ("* * /a", "* * /a", true),
        ("GET * /{*a}", "GET * /{*b}", true),
        ("GET *.a.b /x", "GET *.A.b /x", true),
        ("GET * /a", "* * /a", false),
        ("GET * /a", "GET * /a/", false),
        ("GET * /a", "POST * /a", false),
        ("GET * /a/{id}", "GET * /a/{id}.json", false),
        ("GET * /a", "GET a.b /a", false),
        ("GET a.b /a", "GET *.a.b /a", false),
    ] {
        let mut builder = RouterBuilder::new();
        let mut insert = |route: &str| {
            let [method, host, template] = route.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let (host, template) = (HostPattern::parse(host).unwrap(), Template::parse(template).unwrap());
            builder
                .insert(&host, &template, MethodSpec::new(method), route.to_owned())
                .map_err(|conflict| (conflict.existing.clone(), conflict.existing_template.to_owned()))
        };
        assert_eq!(insert(first), Ok(()));
        let template = first.split(' ').nth(2).unwrap().to_owned();
        let expected = if conflict { Err((first.to_owned(), template)) } else { Ok(()) };
        assert_eq!(insert(second), expected, "{first} / {second}");
        assert_eq!(builder.build().len(), if conflict { 1 } else { 2 });
    }
}

#[test]
fn nothing_is_served_by_accident() {
    let long = format!("GET - {}", "/a".repeat(SEGMENTS_MAX + 1));
    check(
        &["GET * /a", "GET * /b/", "GET * /c/{id}", "GET * /d/{id}.json", "GET * /{*rest}", "GET x.y /only"],
        &[
            ("GET - a", "404"),
            ("GET - //", "404"),
            ("GET - /a//b", "404"),
            ("GET - /a//", "404"),
            ("GET - //a", "404"),
            (&long, "404"),
        ],
    );
    check(
        &[
            "GET * /a",
            "GET * /b/",
            "GET * /c/{id}",
            "GET * /d/{id}.json",
            "GET * /e/{*rest}",
            "GET x.y /only",
        ],
        &[
            ("GET - /", "404"),
            ("GET - /a/", "404"),
            ("GET - /b", "404"),
            ("GET - /A", "404"),
            ("GET - /c/", "404"),
            ("GET - /c/1/", "404"),
            ("GET - /d/.json", "404"),
            ("GET - /d/a.jso", "404"),
            ("GET - /e", "404"),
            ("GET - /only", "404"),
            ("GET y /only", "404"),
            ("GET z.x.y /only", "404"),
        ],
    );
}

#[test]
fn the_most_specific_template_wins() {
    check(
        &[
            "GET * /p/{id}",
            "GET * /p/latest",
            "GET * /p/{id}:cancel",
            "GET * /p/x{id}",
            "GET * /p/{id}l",
            "GET * /p/{*rest}",
            "GET * /p/{id}/refunds/{refund}",
            "GET * /p/latest/refunds",
            "GET * /",
            "GET * /p/",
        ],
        &[
            ("GET - /", "GET * /"),
            ("GET - /p/", "GET * /p/"),
            ("GET - /p/latest", "GET * /p/latest"),
            ("GET - /p/1", "GET * /p/{id} id=1"),
            ("GET - /p/1:cancel", "GET * /p/{id}:cancel id=1"),
            ("GET - /p/x1:cancel", "GET * /p/{id}:cancel id=x1"),
            ("GET - /p/:cancel", "GET * /p/{id}l id=:cance"),
            // Two literals of one character: the prefix goes first.
            ("GET - /p/xl", "GET * /p/x{id} id=l"),
            ("GET - /p/l", "GET * /p/{id} id=l"),
            ("GET - /p/latest/refunds/7", "GET * /p/{id}/refunds/{refund} id=latest refund=7"),
            ("GET - /p/latest/refunds/", "GET * /p/{*rest} rest=latest/refunds/"),
            ("GET - /p/a/b/", "GET * /p/{*rest} rest=a/b/"),
        ],
    );
    check(
        &["GET * /{x}9", "GET * /%C3%A9{x}", "GET * /w/{*rest}"],
        &[
            ("GET - /%C3%A9", "404"),
            ("GET - /%C3%A99", "GET * /%C3%A9{x} x=9"),
            ("GET - /a%C3%A99", "GET * /{x}9 x=a%C3%A9"),
            ("GET - /w/", "GET * /w/{*rest} rest="),
        ],
    );
}

#[test]
fn a_template_without_the_method_does_not_end_the_search() {
    check(
        &[
            "POST * /p/latest",
            "GET * /p/{id}",
            "* * /p/{id}",
            "DELETE * /p/{*rest}",
            "GET * /q",
            "HEAD * /q",
            "PUT * /q",
        ],
        &[
            ("GET - /p/latest", "GET * /p/{id} id=latest"),
            ("POST - /p/latest", "POST * /p/latest"),
            ("HEAD - /p/1", "GET * /p/{id} id=1"),
            ("PATCH - /p/1", "* * /p/{id} id=1"),
            ("DELETE - /p/1", "* * /p/{id} id=1"),
            ("DELETE - /p/1/2", "DELETE * /p/{*rest} rest=1/2"),
            ("GET - /p/1/2", "405 DELETE, OPTIONS"),
            ("HEAD - /q", "HEAD * /q"),
            ("get - /q", "405 GET, HEAD, OPTIONS, PUT"),
            ("OPTIONS - /q", "405 GET, HEAD, OPTIONS, PUT"),
        ],
    );
    check(
        &["POST * /p/latest", "GET * /p/{id}", "PUT a.b /p/{*rest}"],
        &[
            ("DELETE a.b /p/latest", "405 GET, HEAD, OPTIONS, POST, PUT"),
            ("DELETE - /p/latest", "405 GET, HEAD, OPTIONS, POST"),
            ("GET a.b /p/latest", "GET * /p/{id} id=latest"),
        ],
    );
}

#[test]
fn hosts_are_tried_from_the_most_specific() {
    check(
        &[
            "GET * /any",
            "GET * /all",
            "GET *.b.c /all",
            "GET *.b.c /bc",
            "GET *.c /all",
            "GET *.c /c",
            "GET a.b.c /all",
            "GET a.b.c /abc",
        ],
        &[
            ("GET a.b.c /all", "GET a.b.c /all"),
            ("GET a.b.c /bc", "GET *.b.c /bc"),
            ("GET a.b.c /c", "GET *.c /c"),
            ("GET a.b.c /any", "GET * /any"),
            ("GET x.a.b.c /abc", "404"),
            ("GET x.a.b.c /all", "GET *.b.c /all"),
            ("GET b.c /all", "GET *.c /all"),
            ("GET c /all", "GET * /all"),
            ("GET xb.c /bc", "404"),
            ("GET - /all", "GET * /all"),
            ("GET - /abc", "404"),
            ("GET 127.0.0.1 /any", "GET * /any"),
        ],
    );
}

/// Few letters, so that templates overlap and paths hit several of them.
fn template() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        3 => Just("a".to_owned()),
        2 => Just("ab".to_owned()),
        1 => "[ab]{1,3}",
        3 => Just("{N}".to_owned()),
        3 => ("[ab]{0,2}", "[ab]{0,2}").prop_map(|(prefix, suffix)| format!("{prefix}{{N}}{suffix}")),
    ];
    let last =
        prop_oneof![5 => Just(None), 1 => Just(Some(String::new())), 1 => Just(Some("{*N}".to_owned()))];
    (prop::collection::vec(segment, 0..4), last, "[xyz]").prop_map(|(mut segments, last, name)| {
        if segments.is_empty() && last.is_none() {
            segments.push(String::new());
        }
        segments.extend(last);
        let named =
            segments.iter().enumerate().map(|(n, segment)| segment.replace('N', &format!("{name}{n}")));
        format!("/{}", named.collect::<Vec<_>>().join("/"))
    })
}

fn route() -> impl Strategy<Value = String> {
    let method = prop_oneof![3 => Just("GET"), 2 => Just("POST"), 1 => Just("HEAD"), 1 => Just("*")];
    let host = prop_oneof![4 => Just("*"), 1 => Just("h.i"), 1 => Just("*.i"), 1 => Just("*.h.i")];
    (method, host, template()).prop_map(|(method, host, template)| format!("{method} {host} {template}"))
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![20 => "[ab]{1,4}", 1 => Just(String::new())];
    let last = prop_oneof![6 => Just(""), 2 => Just("/")];
    (prop::collection::vec(segment, 0..5), last)
        .prop_map(|(segments, last)| format!("/{}{last}", segments.join("/")))
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_tree_agrees_with_the_prose(
        routes in prop::collection::vec(route(), 1..24),
        requests in prop::collection::vec((path(), "GET|POST|HEAD|PUT", "-|h\\.i|x\\.i|x\\.h\\.i|i|x\\.y"), 1..12),
    ) {
        let mut builder = RouterBuilder::new();
        let mut kept = Vec::new();
        for route in routes {
            let [method, host, template] = route.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let (host, template) = (HostPattern::parse(host).unwrap(), Template::parse(template).unwrap());
            if builder.insert(&host, &template, MethodSpec::new(method), route.clone()).is_ok() {
                kept.push(route);
            }
        }
        let router = builder.build();
        for (path, method, host) in requests {
            let host = (host != "-").then_some(host.as_str());
            let found = show(&router.find(host, &path, &method));
            prop_assert_eq!(found, naive::find(&kept, host, &path, &method), "{:?} {} {} in {:?}", host, method, path, kept);
        }
    }
}
