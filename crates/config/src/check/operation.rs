//! What is served: the operations of a version, each with its keys merged.
//!
//! From narrow to wide: the version's entry, the api's entry, the class, the version's own keys, the api's defaults,
//! then the upstream (timeouts) and the server (body). Key by key, the narrowest that says something wins.

use super::Check;
use super::api::VersionScope;
use super::entries::{Applied, Candidate};
use crate::checked::{self, OperationTimeouts, Priority};
use crate::decode::scalar::{Lasting, OrOff};
use crate::decode::{Decode as _, Field, State};
use crate::diagnostic::Report;
use crate::raw::{self, Expose, OperationKeys, Timeouts};

/// More names are not listed in one sentence.
const NAMES_LISTED_MAX: usize = 8;

impl Check<'_> {
    pub(super) fn operations(&mut self, version: &VersionScope<'_>) -> Vec<checked::Operation> {
        let entries = self.applied(version);
        let Some(candidates) = self.candidates(version, &entries) else { return Vec::new() };
        self.check_matches(version, &entries, &candidates);
        let listed_only = matches!(version.api.raw.expose.value(), Expose::Listed);
        let mut operations = Vec::new();
        let mut hidden = Vec::new();
        let mut unsaid = Vec::new();
        for candidate in &candidates {
            let named = named(&entries, candidate);
            if named.is_empty() && listed_only {
                hidden.push(candidate.name());
                continue;
            }
            let (operation, says_auth) = self.operation(version, candidate, &named);
            if !says_auth && named.is_empty() {
                unsaid.push(operation.name.clone());
            }
            operations.push(operation);
        }
        self.report_unsaid(version, &unsaid);
        if !hidden.is_empty() {
            let message = format!("not served, because they have no entry: {}", listed(&hidden));
            self.report(
                Report::note("not_exposed", &version.name.at, message)
                    .help("`expose: listed` serves entries alone"),
            );
        }
        if operations.is_empty() {
            let message = format!("the version `{}` serves no operation", version.name.value);
            let help = "name a document with `openapi`, or write entries such as `\"GET /things\": {}`";
            self.report(Report::error("version_empty", &version.name.at, message).help(help));
        }
        operations
    }

    fn operation(
        &mut self,
        version: &VersionScope<'_>,
        candidate: &Candidate,
        named: &[&Applied<'_>],
    ) -> (checked::Operation, bool) {
        let own = merged_entry(named);
        let class = self.class_of(&own);
        let class = class.unwrap_or_else(OperationKeys::absent);
        self.loosened(&own.keys(), &class, own.class.get().map_or("", |class| class.shown()));
        let defaults = super::block(&version.api.raw.defaults, OperationKeys::absent);
        let of_version =
            OperationKeys { strip_prefix: version.raw.strip_prefix.clone(), ..OperationKeys::absent() };
        let keys = own.keys().over(&class).over(&of_version).over(&defaults);
        let says_auth = !keys.auth.is_absent()
            || has_unreadable(named)
            || unreadable(&own.class)
            || unknown(&own.class, self);
        if let (false, Some(entry)) = (says_auth, named.first()) {
            let message = format!("`{}` does not say who may call it", candidate.name());
            self.report(Report::error("auth_missing", &entry.entry.name.at, message).help(AUTH_HELP));
        }
        let (template, prefix_bytes) = template(version, candidate);
        self.enter_route(version, candidate, &template);
        let strip_prefix = keys.strip_prefix.get().is_some_and(|strip| strip.value.0);
        if let (true, 0, Some(at)) = (strip_prefix, prefix_bytes, keys.strip_prefix.place()) {
            let message = "nothing to take away: the document's own paths carry the version";
            let report = Report::warning("nothing_to_strip", at, message);
            self.report(report);
        }
        self.check_upgrade(version, candidate, &own.keys());
        let timeouts = keys.timeouts();
        let of_upstream = &version.upstream_timeouts;
        let under_class = defaults.timeouts().over(of_upstream);
        let under_own = class.timeouts().over(&under_class);
        self.times(version, candidate, &own.keys().timeouts(), &under_own);
        self.times(version, candidate, &class.timeouts(), &under_class);
        self.times(version, candidate, &defaults.timeouts(), of_upstream);
        let (auth, scopes) = self.auth_of(&keys, &own.keys());
        let operation = checked::Operation {
            name: candidate.name(),
            method: candidate.method.clone(),
            template,
            prefix_bytes,
            strip_prefix,
            body_max: keys.body.get().map_or(self.body_default, |body| body.value.0),
            timeouts: resolved(&timeouts, &version.upstream),
            auth,
            scopes,
            authorize: self.authorize_of(&keys),
            priority: keys.priority.get().map(|given| priority(given.value)),
            upgrade: keys.upgrade.value().0,
            sunset_s: self.own_sunset(version, candidate, named),
        };
        (operation, says_auth)
    }

    /// Warns of timeouts that contradict one another.
    fn times(
        &mut self,
        version: &VersionScope<'_>,
        candidate: &Candidate,
        narrow: &Timeouts,
        wide: &Timeouts,
    ) {
        self.timeout_order(narrow, Some(wide));
        let retries = &version.upstream.retries;
        // What is not safe is not sent again after it took too long, unless the upstream recognises it.
        let honours_key = retries.as_ref().is_some_and(|retries| retries.honours_idempotency_key);
        let is_safe = matches!(&*candidate.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "*");
        if is_safe || honours_key {
            self.no_time_for_retry(narrow, wide, retries);
        }
    }

    /// Warns of an upgrade that can never happen. Only what the operation says itself is looked at: wider places speak of
    /// many operations, to which it need not apply.
    fn check_upgrade(&mut self, version: &VersionScope<'_>, candidate: &Candidate, own: &OperationKeys) {
        let Some(upgrade) = own.upgrade.get().filter(|upgrade| !upgrade.value.0.is_empty()) else { return };
        let at = &upgrade.at;
        if version.upstream.protocol == checked::Protocol::H2 {
            let name = &version.upstream.name;
            let message =
                format!("the upstream `{name}` speaks HTTP/2 alone, over which nothing is upgraded");
            let help = "give the upstream `protocol: auto` or `http1`, or take `upgrade` away";
            self.report(Report::warning("upgrade_impossible", at, message).help(help));
        }
        // Other protocols may begin as they like; this one does not (RFC 6455, 4.1).
        let is_websocket = upgrade.value.0.iter().any(|token| token == "websocket");
        if is_websocket && !matches!(&*candidate.method, "GET" | "*") {
            let message = format!("a WebSocket begins with GET, and this is {}", candidate.method);
            let help = "write the entry for `GET`, or take `upgrade` away";
            self.report(Report::warning("upgrade_impossible", at, message).help(help));
        }
    }

    fn class_of(&mut self, own: &raw::Operation) -> Option<OperationKeys> {
        let wanted = own.class.get()?;
        let classes = self.classes;
        match classes.get(&wanted.value.0) {
            Some(class) => class.value.get().map(|keys| keys.value.clone()),
            None => {
                self.dangling("unknown_class", "class", wanted, classes.names());
                None
            }
        }
    }

    /// What an entry allows that its class does not.
    fn loosened(&mut self, own: &OperationKeys, class: &OperationKeys, name: &str) {
        if let (Some(mine), Some(theirs)) = (own.body.get(), class.body.get())
            && mine.value.0 > theirs.value.0
        {
            let size = mainstay_core::units::show_size(theirs.value.0);
            let message = format!("loosens `body` of its class `{name}`, which is {size}");
            self.report(Report::note("loosens_class", &mine.at, message));
        }
        if let (Some(mine), Some(theirs)) = (own.upgrade.get(), class.upgrade.get())
            && mine.value.0.iter().any(|protocol| !theirs.value.0.contains(protocol))
        {
            let allowed =
                if theirs.value.0.is_empty() { "off".to_owned() } else { theirs.value.0.join(", ") };
            let message = format!("loosens `upgrade` of its class `{name}`, which is {allowed}");
            self.report(Report::note("loosens_class", &mine.at, message));
        }
        let (own, class) = (own.timeouts(), class.timeouts());
        for (key, mine, theirs) in [
            ("attempt", &own.attempt, &class.attempt),
            ("total", &own.total, &class.total),
            ("idle", &own.idle, &class.idle),
        ] {
            let (Some(mine), Some(theirs)) = (mine.get(), theirs.get()) else { continue };
            if let Some(limit) = theirs.value.0
                && mine.value.0.is_none_or(|value| value.0 > limit.0)
            {
                let limit = mainstay_core::units::show_duration(limit.0);
                let message = format!("loosens `timeouts.{key}` of its class `{name}`, which is {limit}");
                self.report(Report::note("loosens_class", &mine.at, message));
            }
        }
        for (key, mine, theirs) in [
            (
                "connect",
                own.connect.get().map(|s| (s.value.0, &s.at)),
                class.connect.get().map(|s| s.value.0),
            ),
            ("settle", own.settle.get().map(|s| (s.value.0, &s.at)), class.settle.get().map(|s| s.value.0)),
        ] {
            let (Some((mine, at)), Some(limit)) = (mine, theirs) else { continue };
            if mine > limit {
                let limit = mainstay_core::units::show_duration(limit);
                let message = format!("loosens `timeouts.{key}` of its class `{name}`, which is {limit}");
                self.report(Report::note("loosens_class", at, message));
            }
        }
    }

    fn own_sunset(
        &mut self,
        version: &VersionScope<'_>,
        candidate: &Candidate,
        named: &[&Applied<'_>],
    ) -> Option<i64> {
        let found = named.iter().find_map(|applied| {
            let short = applied.narrow_sunset().map(|(at_s, at)| (at_s, at.clone()));
            short.or_else(|| applied.sunset(&version.name.value).map(|date| (date.value.0, date.at.clone())))
        });
        let (sunset_s, at) = found?;
        if version.deprecated_s.is_some_and(|deprecated_s| sunset_s < deprecated_s) {
            let message = "the operation's sunset lies before the deprecation of its version";
            self.report(Report::error("sunset_before_deprecation", &at, message));
        }
        let key = format!("{}/{}/{}", version.api.name, version.name.value, candidate.name());
        self.places.sunsets.insert(key, at);
        Some(sunset_s)
    }

    fn report_unsaid(&mut self, version: &VersionScope<'_>, unsaid: &[String]) {
        if unsaid.is_empty() {
            return;
        }
        let message = format!("it is not said who may call {}", listed(unsaid));
        self.report(Report::error("auth_missing", &version.name.at, message).help(AUTH_HELP));
    }
}

const AUTH_HELP: &str =
    "`auth: none` is anyone; say it in the entry, in its class, or in `defaults` of the api";

/// The entries that name an operation, the one that decides first.
fn named<'e, 'a>(entries: &'e [Applied<'a>], candidate: &Candidate) -> Vec<&'e Applied<'a>> {
    let mut named: Vec<(bool, u8, &Applied<'_>)> = entries
        .iter()
        .map(|applied| {
            (applied.is_narrow, candidate.named_by(&applied.entry.name.value, &applied.selector), applied)
        })
        .filter(|(_, closeness, _)| *closeness > 0)
        .collect();
    named.sort_by_key(|(is_narrow, closeness, _)| std::cmp::Reverse((*is_narrow, *closeness)));
    named.into_iter().map(|(_, _, applied)| applied).collect()
}

fn merged_entry(named: &[&Applied<'_>]) -> raw::Operation {
    let given = named.iter().filter_map(|applied| applied.entry.value.get());
    given.fold(raw::Operation::absent(), |merged, wider| merged.over(&wider.value))
}

fn has_unreadable(named: &[&Applied<'_>]) -> bool {
    named.iter().any(|applied| applied.entry.value.get().is_none())
}

pub(super) fn unreadable<T>(field: &Field<T>) -> bool {
    matches!(field.state, State::Unreadable)
}

/// A class that is not there may have said who may call; its absence has been reported.
fn unknown(class: &Field<crate::decode::scalar::Text>, check: &Check<'_>) -> bool {
    class
        .get()
        .is_some_and(|name| check.classes.get(&name.value.0).is_none_or(|class| class.value.get().is_none()))
}

/// The whole template, and how much of it stands before the path as it is written.
fn template(version: &VersionScope<'_>, candidate: &Candidate) -> (String, usize) {
    let base = &version.api.base_path;
    let name = &version.name.value;
    let path = &candidate.path;
    let begins_with = |prefix: &str| {
        candidate.is_documented
            && path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !base.is_empty() && begins_with(&format!("{base}/{name}")) {
        return (path.clone(), 0);
    }
    if begins_with(&format!("/{name}")) {
        return (format!("{base}{path}"), base.len());
    }
    let prefix = format!("{base}/{name}");
    (format!("{prefix}{path}"), prefix.len())
}

fn resolved(own: &Timeouts, upstream: &checked::Upstream) -> OperationTimeouts {
    fn or<const MIN: u64, const MAX: u64>(
        own: &Field<OrOff<Lasting<MIN, MAX>>>,
        wider: Option<std::time::Duration>,
    ) -> Option<std::time::Duration> {
        own.get().map_or(wider, |given| given.value.0.map(|lasting| lasting.0))
    }
    let wider = &upstream.timeouts;
    OperationTimeouts {
        connect: own.connect.get().map_or(wider.connect, |given| given.value.0),
        attempt: or(&own.attempt, wider.attempt),
        total: or(&own.total, wider.total),
        idle: or(&own.idle, wider.idle),
        settle: own.settle.get().map_or(wider.settle, |given| given.value.0),
    }
}

/// Names for a sentence.
fn listed(names: &[String]) -> String {
    let shown =
        names.iter().take(NAMES_LISTED_MAX).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The same word, after every check.
pub(super) fn priority(raw: raw::Priority) -> Priority {
    match raw {
        raw::Priority::Critical => Priority::Critical,
        raw::Priority::High => Priority::High,
        raw::Priority::Normal => Priority::Normal,
        raw::Priority::Low => Priority::Low,
    }
}
