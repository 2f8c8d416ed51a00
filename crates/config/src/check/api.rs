//! `apis`: hosts, base path, CORS, and their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{self, Cors};
use crate::decode::{Entry, Spanned};
use crate::diagnostic::{FileId, Place, Report};
use crate::raw;

/// What the rules for a version need to know of its api.
pub(super) struct ApiScope<'a> {
    pub(super) name: &'a str,
    pub(super) raw: &'a raw::Api,
    pub(super) hosts: Vec<String>,
    pub(super) base_path: String,
    pub(super) versions: Vec<&'a str>,
}

/// What the rules for an operation need to know of its version.
pub(super) struct VersionScope<'a> {
    pub(super) api: &'a ApiScope<'a>,
    pub(super) name: &'a Spanned<String>,
    pub(super) raw: &'a raw::Version,
    pub(super) upstream: Arc<checked::Upstream>,
    pub(super) upstream_timeouts: raw::Timeouts,
    pub(super) deprecated_s: Option<i64>,
}

impl Check<'_> {
    /// `is_whole`: no file was lost to an error, so that an absence means something.
    pub(super) fn all_apis(&mut self, merged: &Merged, is_whole: bool) -> BTreeMap<String, checked::Api> {
        if merged.apis.entries.is_empty() && is_whole {
            let report = Report::error("nothing_served", &Place::start(FileId(0)), "no api is configured");
            self.report(
                report.help("an engine without apis answers 404 to everything; add an entry under `apis`"),
            );
        }
        let mut apis = BTreeMap::new();
        for entry in &merged.apis.entries {
            self.places.apis.insert(entry.name.value.clone(), entry.name.at.clone());
            if let Some(raw) = entry.value.get() {
                apis.insert(entry.name.value.clone(), self.api(&entry.name, &raw.value));
            }
        }
        apis
    }

    fn api(&mut self, name: &Spanned<String>, raw: &raw::Api) -> checked::Api {
        let help = "such as `versions: { v1: { upstream: NAME, operations: { \"GET /things\": {} } } }`";
        let message = format!("the api `{}` has no versions", name.value);
        let versions = self.require(&raw.versions, &name.at, &message, help);
        let entries: &[Entry<raw::Version>] =
            versions.map(|map| map.value.entries.as_slice()).unwrap_or_default();
        if let Some(map) = versions.filter(|map| map.value.entries.is_empty() && !map.value.has_lost) {
            self.report(Report::error("api_empty", &map.at, message).help(help));
        }
        let scope = ApiScope {
            name: &name.value,
            raw,
            hosts: self.hosts(raw),
            base_path: raw.base_path.value().0.map_or_else(String::new, |path| path.0),
            versions: entries.iter().map(|entry| entry.name.value.as_str()).collect(),
        };
        self.timeout_order(&block(&raw.defaults, raw::OperationKeys::absent).timeouts(), None);
        self.check_api_entries(&scope);
        let mut versions = BTreeMap::new();
        for entry in entries {
            let key = format!("{}/{}", name.value, entry.name.value);
            self.places.versions.insert(key, entry.name.at.clone());
            if let Some(raw) = entry.value.get() {
                versions.insert(entry.name.value.clone(), self.version(&scope, &entry.name, &raw.value));
            }
        }
        self.report_unmatched();
        self.check_successors(&scope, entries);
        checked::Api {
            name: name.value.clone(),
            owner: raw.owner.get().map(|owner| owner.value.0.clone()),
            hosts: scope.hosts,
            base_path: scope.base_path,
            cors: raw.cors.get().map(|cors| self.cors(&cors.value, &cors.at)),
            versions,
        }
    }

    fn hosts(&mut self, raw: &raw::Api) -> Vec<String> {
        let listed = raw.hosts.value().0;
        let mut hosts: Vec<String> = Vec::new();
        for host in &listed {
            if hosts.contains(&host.value.0) {
                let message = format!("the host `{}` is in the list already", host.shown());
                self.report(Report::error("duplicate_host", &host.at, message));
            } else {
                hosts.push(host.value.0.clone());
            }
        }
        if let (true, Some(star)) = (hosts.len() > 1, listed.iter().find(|host| host.value.0 == "*")) {
            self.report(Report::error("duplicate_host", &star.at, "`*` is every host, so it stands alone"));
        }
        if let (true, Some(at)) = (hosts.is_empty(), raw.hosts.place()) {
            let at = at.clone();
            self.report(
                Report::error("empty_list", &at, "expected at least one host").help("`*` is every host"),
            );
        }
        hosts
    }

    fn cors(&mut self, raw: &raw::Cors, at: &Place) -> Cors {
        self.require(
            &raw.origins,
            at,
            "`cors` needs `origins`",
            "such as `origins: [https://dashboard.example.com]`",
        );
        let origins = raw.origins.get().map(|list| list.value.0.clone()).unwrap_or_default();
        let credentials = raw.credentials.value().0;
        if let Some(star) = origins.iter().find(|origin| origin.value.0 == "*") {
            if origins.len() > 1 {
                self.report(Report::error(
                    "cors_any_origin",
                    &star.at,
                    "`*` is any origin, so it stands alone",
                ));
            }
            if credentials {
                let report =
                    Report::error("cors_any_origin", &star.at, "any origin cannot come with credentials");
                self.report(report.help("list the origins, or leave `credentials` out"));
            }
        }
        if let (true, Some(at)) = (origins.is_empty(), raw.origins.place()) {
            let at = at.clone();
            self.report(Report::error("empty_list", &at, "expected at least one origin"));
        }
        let names = |list: crate::decode::List<raw::HeaderName>| {
            list.0.into_iter().map(|name| name.value.0).collect()
        };
        Cors {
            origins: origins.into_iter().map(|origin| origin.value.0).collect(),
            credentials,
            expose: names(raw.expose.value()),
            headers: names(raw.headers.value()),
            max_age: raw.max_age.value().0,
        }
    }

    fn version(
        &mut self,
        api: &ApiScope<'_>,
        name: &Spanned<String>,
        raw: &raw::Version,
    ) -> checked::Version {
        let (upstream, upstream_timeouts) = self.upstream_of(name, raw);
        let lifecycle = self.lifecycle(api, name, raw);
        let scope = VersionScope {
            api,
            name,
            raw,
            upstream,
            upstream_timeouts,
            deprecated_s: lifecycle.deprecated_s,
        };
        let operations = self.operations(&scope);
        let sandbox = self.sandbox(raw);
        checked::Version {
            name: name.value.clone(),
            upstream: scope.upstream,
            sandbox,
            lifecycle,
            operations,
        }
    }

    fn upstream_of(
        &mut self,
        name: &Spanned<String>,
        raw: &raw::Version,
    ) -> (Arc<checked::Upstream>, raw::Timeouts) {
        let message = format!("the version `{}` names no upstream", name.value);
        let wanted = self.require(&raw.upstream, &name.at, &message, "`upstream: NAME`, one of `upstreams`");
        if let Some(wanted) = wanted {
            let found = self.upstreams.get(&wanted.value.0).map(Arc::clone);
            if let (Some(found), Some(timeouts)) = (found, self.upstream_timeouts.get(&wanted.value.0)) {
                return (found, timeouts.clone());
            }
            let names: Vec<String> = self.upstreams.keys().cloned().collect();
            self.dangling("unknown_upstream", "upstream", wanted, names.iter().map(String::as_str));
        }
        (Arc::new(self.placeholder_upstream()), raw::Timeouts::absent())
    }
}
