//! The matcher of the module's prose, without a tree: filter, sort, take the first.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::SEGMENTS_MAX;

/// Smaller is more specific, per segment and then from left to right.
type Rank<'t> = Vec<(u8, Reverse<usize>, Reverse<usize>, &'t str, &'t str)>;
type Match<'t, 'p> = (Rank<'t>, Vec<(&'t str, &'p str)>);

/// As `show` prints it, for routes written `METHOD HOST TEMPLATE`.
pub(super) fn find(routes: &[String], host: Option<&str>, path: &str, method: &str) -> String {
    let mut allow = BTreeSet::from(["OPTIONS"]);
    let mut candidates = Vec::new();
    let mut matched = false;
    for route in routes {
        let [route_method, pattern, template] = route.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let Some(host_rank) = host_rank(pattern, host) else { continue };
        let Some((rank, params)) = matches(template, path) else { continue };
        matched = true;
        allow.insert(route_method);
        if route_method == "GET" {
            allow.insert("HEAD");
        }
        if let Some(method_rank) = method_rank(route_method, method) {
            candidates.push(((host_rank, rank, method_rank), route, params));
        }
    }
    candidates.sort_by(|a, b| a.0.cmp(&b.0));
    match candidates.first() {
        Some((_, route, params)) => {
            let params: String = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{route}{params}")
        }
        None if matched => format!("405 {}", allow.into_iter().collect::<Vec<_>>().join(", ")),
        None => "404".to_owned(),
    }
}

fn host_rank(pattern: &str, host: Option<&str>) -> Option<(u8, Reverse<usize>)> {
    match (pattern, host) {
        ("*", _) => Some((2, Reverse(0))),
        (exact, Some(host)) if exact == host => Some((0, Reverse(0))),
        (suffix, Some(host)) => {
            let suffix = suffix.strip_prefix('*')?;
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some((1, Reverse(suffix.len())))
        }
        (_, None) => None,
    }
}

fn method_rank(route: &str, asked: &str) -> Option<u8> {
    match (route, asked) {
        (route, asked) if route == asked => Some(0),
        ("GET", "HEAD") => Some(1),
        ("*", _) => Some(2),
        _ => None,
    }
}

fn matches<'t, 'p>(template: &'t str, path: &'p str) -> Option<Match<'t, 'p>> {
    let mut wanted = template.strip_prefix('/')?.split('/');
    let path = path.strip_prefix('/')?;
    let all: Vec<&str> = path.split('/').collect();
    if all.len() > SEGMENTS_MAX || all[..all.len() - 1].contains(&"") {
        return None;
    }
    let (mut ranks, mut params, mut at) = (Vec::new(), Vec::new(), 0);
    for segment in &all {
        let wanted = wanted.next()?;
        let Some((prefix, rest)) = wanted.split_once('{') else {
            if wanted != *segment {
                return None;
            }
            ranks.push((0, Reverse(0), Reverse(0), "", ""));
            at += segment.len() + 1;
            continue;
        };
        let (name, suffix) = rest.split_once('}')?;
        if let Some(name) = name.strip_prefix('*') {
            ranks.push((3, Reverse(0), Reverse(0), "", ""));
            params.push((name, &path[at..]));
            return Some((ranks, params));
        }
        if segment.len() <= prefix.len() + suffix.len()
            || !segment.starts_with(prefix)
            || !segment.ends_with(suffix)
        {
            return None;
        }
        let kind = if prefix.is_empty() && suffix.is_empty() { 2 } else { 1 };
        let literal = prefix.len() + suffix.len();
        ranks.push((kind, Reverse(literal), Reverse(prefix.len()), prefix, suffix));
        params.push((name, &segment[prefix.len()..segment.len() - suffix.len()]));
        at += segment.len() + 1;
    }
    wanted.next().is_none().then_some((ranks, params))
}
