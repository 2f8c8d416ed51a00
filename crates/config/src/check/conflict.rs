//! Two operations for one method and one shape of path, on hosts that overlap.
//!
//! Which of the two a request would reach would depend on the order of files, so neither is served.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use super::api::VersionScope;
use super::entries::Candidate;
use crate::diagnostic::{Place, Report};
use crate::files::Files;
use crate::path;

/// Every operation that is served, by method and shape.
#[derive(Default)]
pub(super) struct Routes {
    by_shape: HashMap<(String, String), Vec<Route>>,
    /// The order in which they came.
    count: usize,
}

struct Route {
    order: usize,
    hosts: Vec<String>,
    /// "api version"
    version: String,
    name: String,
    template: String,
    at: Place,
    version_at: Place,
}

impl Check<'_> {
    pub(super) fn enter_route(&mut self, version: &VersionScope<'_>, candidate: &Candidate, template: &str) {
        let shape = match path::shape(template) {
            Ok(shape) => shape,
            Err(why) => {
                let message = format!("`{template}` is no path that can be routed: {why}");
                self.report(Report::error("bad_template", &candidate.at, message));
                return;
            }
        };
        self.routes.count += 1;
        let route = Route {
            order: self.routes.count,
            hosts: version.api.hosts.clone(),
            version: format!("{} {}", version.api.name, version.name.value),
            name: candidate.name(),
            template: template.to_owned(),
            at: candidate.at.clone(),
            version_at: version.name.at.clone(),
        };
        self.routes.by_shape.entry((candidate.method.clone(), shape)).or_default().push(route);
    }
}

impl Routes {
    /// Reports all conflicts; those between two versions as one.
    pub(super) fn report_conflicts(
        self,
        files: &Files,
        health_path: Option<&str>,
        reports: &mut Vec<Report>,
    ) {
        let mut between: BTreeMap<(usize, usize), (String, Place, usize)> = BTreeMap::new();
        let mut first_of: HashMap<String, usize> = HashMap::new();
        let mut all: Vec<(&(String, String), &Vec<Route>)> = self.by_shape.iter().collect();
        all.sort_by_key(|(_, routes)| routes.first().map(|route| route.order));
        for ((method, shape), routes) in all {
            if let (Some(path), Some(route)) = (health_path, routes.first())
                && path == shape
                && matches!(method.as_str(), "GET" | "HEAD" | "*")
            {
                let message =
                    format!("`server.health_path` answers `{method} {path}` before this operation can");
                reports.push(Report::warning("health_path_taken", &route.at, message));
            }
            for (index, route) in routes.iter().enumerate() {
                let Some(other) = routes[..index].iter().find(|other| overlap(&other.hosts, &route.hosts))
                else {
                    continue;
                };
                if other.version == route.version {
                    let message = format!(
                        "`{method} {}` is there already: `{}` in {}",
                        route.template,
                        other.name,
                        files.show(&other.at)
                    );
                    reports.push(Report::error("duplicate_route", &route.at, message));
                    continue;
                }
                let pair = [&other.version, &route.version].map(|version| {
                    let next = first_of.len();
                    *first_of.entry(version.clone()).or_insert(next)
                });
                let told = || {
                    let place = files.show(&other.version_at);
                    format!("`{method} {}` is served by {} too, in {place}", route.template, other.version)
                };
                let entry = between
                    .entry((pair[0], pair[1]))
                    .or_insert_with(|| (told(), route.version_at.clone(), 0));
                entry.2 += 1;
            }
        }
        for (message, at, count) in between.into_values() {
            let message =
                if count > 1 { format!("{message}, and {} more operations are", count - 1) } else { message };
            let help = "give one api another `base_path`, other `hosts`, or another name to its version";
            reports.push(Report::error("duplicate_route", &at, message).help(help));
        }
    }
}

fn overlap(a: &[String], b: &[String]) -> bool {
    a.iter().any(|a| b.iter().any(|b| a == b || covers(a, b) || covers(b, a)))
}

/// Whether a pattern stands for a host or pattern too.
fn covers(pattern: &str, other: &str) -> bool {
    pattern == "*" || pattern.strip_prefix('*').is_some_and(|suffix| other.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn hosts_overlap() {
        let check = |a: &str, b: &str, expected| {
            let (a, b) = (vec![a.to_owned()], vec![b.to_owned()]);
            assert_eq!((overlap(&a, &b), overlap(&b, &a)), (expected, expected), "{a:?} {b:?}");
        };
        check("a.example.com", "b.example.com", false);
        check("*.example.com", "example.com", false);
        check("*.example.com", "badexample.com", false);
        check("*.a.com", "*.b.com", false);
        check("*", "a.example.com", true);
        check("*.example.com", "a.b.example.com", true);
        check("*.example.com", "*.b.example.com", true);
        check("a.example.com", "a.example.com", true);
    }
}
