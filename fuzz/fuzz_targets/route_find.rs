//! Any route table and any request. The table may not be worse than its routes one by one, and the parameters put back
//! into the template must give the path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_policy::route::{
    HostPattern, Lookup, MethodSpec, Router, RouterBuilder, Template, canonical_path,
};

struct Route {
    method: String,
    host: HostPattern,
    template: Template,
}

// The first line is the request, `METHOD HOST PATH`; every other line a route, `METHOD HOST TEMPLATE`.
fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some([method, host, path]) = lines.next().and_then(words) else { return };
    let Ok(path) = canonical_path(path.as_bytes()) else { return };
    let host = (host != "-").then_some(host);

    let mut builder = RouterBuilder::new();
    let mut routes = Vec::new();
    for [method, host, template] in lines.filter_map(words).take(40) {
        let (Ok(host), Ok(template)) = (HostPattern::parse(host), Template::parse(template)) else {
            continue;
        };
        if builder.insert(&host, &template, MethodSpec::new(method), routes.len()).is_ok() {
            routes.push(Route { method: method.to_owned(), host, template });
        }
    }
    let router = builder.build();
    let found = router.find(host, &path, method);
    let alone: Vec<Router<usize>> = routes.iter().enumerate().map(single).collect();
    let mut served = false;
    let mut known = false;
    for router in &alone {
        match router.find(host, &path, method) {
            Lookup::Found { .. } => served = true,
            Lookup::MethodNotAllowed { .. } => known = true,
            Lookup::NotFound => {}
        }
    }
    match found {
        Lookup::Found { value, params } => {
            assert!(served);
            let template = &routes[*value].template;
            let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
            assert_eq!(names, template.names().collect::<Vec<_>>());
            // From the right, so that a value which itself looks like a parameter is left alone.
            let values: Vec<&str> = params.iter().map(|(_, value)| value).collect();
            let mut filled = template.text().to_owned();
            let mut end = filled.len();
            for value in values.into_iter().rev() {
                let (open, close) = (filled[..end].rfind('{').unwrap(), filled[..end].rfind('}').unwrap());
                filled.replace_range(open..=close, value);
                end = open;
            }
            assert_eq!(canonical_path(filled.as_bytes()).as_deref(), Ok(&*path));
        }
        Lookup::MethodNotAllowed { allow } => {
            assert!(known && !served);
            assert!(!allow.split(", ").any(|allowed| allowed == method) || method == "OPTIONS");
        }
        Lookup::NotFound => assert!(!known && !served),
    }
});

fn words(line: &str) -> Option<[&str; 3]> {
    line.split(' ').collect::<Vec<_>>().try_into().ok()
}

fn single((index, route): (usize, &Route)) -> Router<usize> {
    let mut builder = RouterBuilder::new();
    let inserted = builder.insert(&route.host, &route.template, MethodSpec::new(&route.method), index);
    assert!(inserted.is_ok(), "a table of one route has no conflict");
    builder.build()
}
