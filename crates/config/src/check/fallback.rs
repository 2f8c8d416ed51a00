//! What is answered when an upstream cannot, and which upstreams stand for one another.

use std::collections::HashMap;

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{Fallback, Respond};
use crate::decode::scalar::Text;
use crate::decode::{BlockOrOff, Field, List, Spanned};
use crate::diagnostic::Report;
use crate::raw::{self, FallbackSpec, When};

/// More names are not listed in one sentence.
const NAMES_LISTED_MAX: usize = 8;

/// By upstream, in the order of the files: the upstreams it falls back to.
type Edges = [Vec<(usize, Spanned<Text>)>];

impl Check<'_> {
    pub(super) fn fallback(&mut self, field: &Field<BlockOrOff<List<FallbackSpec>>>) -> Vec<Fallback> {
        let Some(list) = field.keys() else { return Vec::new() };
        if let (true, Some(at)) = (list.0.is_empty(), field.place()) {
            let report = Report::error("empty_list", at, "expected at least one fallback");
            self.report(report.help("`fallback: off` is none"));
        }
        let mut found: Vec<Fallback> = Vec::new();
        for spec in &list.0 {
            let Some(fallback) = self.fallback_of(spec) else { continue };
            if found.iter().any(|earlier| leaves_nothing(earlier, &fallback)) {
                let message = "an earlier entry of the list takes all that could come here";
                self.report(Report::warning("fallback_unreachable", &spec.at, message));
            }
            found.push(fallback);
        }
        found
    }

    fn fallback_of(&mut self, spec: &Spanned<FallbackSpec>) -> Option<Fallback> {
        match &spec.value {
            FallbackSpec::Stale => {
                let message = "this version of Mainstay has no cache, so `stale` does nothing";
                let report = Report::warning("fallback_stale_unavailable", &spec.at, message);
                self.report(report.help("what stands behind it is tried at once"));
                Some(Fallback::Stale)
            }
            FallbackSpec::Upstream(name) => Some(Fallback::Upstream(name.get()?.value.0.clone())),
            FallbackSpec::Respond(respond) => Some(Fallback::Respond(self.respond(&respond.get()?.value))),
        }
    }

    fn respond(&mut self, raw: &raw::Respond) -> Respond {
        let status = u16::try_from(raw.status.value().0).unwrap_or(503);
        // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        if let (204 | 205 | 304, Some(at)) = (status, raw.body.place()) {
            let message = format!("an answer with the status {status} has no content");
            self.report(Report::error("respond_without_content", at, message).help("remove `body`"));
        }
        Respond {
            when_undelivered: raw.when.value() == When::Undelivered,
            status,
            retry_after: raw.retry_after.get().map(|after| after.value.0),
            body: raw.body.get().map(|body| body.value.0.clone()),
        }
    }

    /// Names of upstreams in upstreams: each leads to one that is there, and none leads back.
    pub(super) fn links(&mut self, merged: &Merged, defaults: &raw::UpstreamDefaults) {
        let names: Vec<&str> = merged.upstreams.names().collect();
        let index: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let mut edges = Vec::new();
        for entry in &merged.upstreams.entries {
            let raw = block(&entry.value, raw::Upstream::absent);
            self.shares(&entry.name.value, &raw.shares_idempotency_with, &names);
            let mut known = Vec::new();
            for name in named(&raw.fallback.over(&defaults.fallback)) {
                match index.get(name.value.0.as_str()) {
                    Some(to) => known.push((*to, name)),
                    None => self.dangling("unknown_upstream", "upstream", &name, names.iter().copied()),
                }
            }
            edges.push(known);
        }
        for cycle in cycles(&edges) {
            self.report_cycle(&cycle);
        }
    }

    fn shares(&mut self, own: &str, field: &Field<Text>, names: &[&str]) {
        let Some(wanted) = field.get() else { return };
        if wanted.value.0 == own {
            let message = "an upstream shares keys with another one, not with itself";
            self.report(Report::error("shares_with_itself", &wanted.at, message));
        } else if !names.contains(&wanted.value.0.as_str()) {
            self.dangling("unknown_upstream", "upstream", wanted, names.iter().copied());
        }
    }

    fn report_cycle(&mut self, cycle: &[&Spanned<Text>]) {
        let Some(last) = cycle.last() else { return };
        let (message, help) = if cycle.len() == 1 {
            let help = format!("give `{}` a `fallback` of its own, such as `off`", last.shown());
            (format!("`{}` falls back to itself", last.shown()), help)
        } else {
            let names = [last].into_iter().chain(cycle).map(|name| format!("`{}`", name.shown()));
            let path = names.take(NAMES_LISTED_MAX).collect::<Vec<_>>().join(", then ");
            (format!("falling back leads around in a circle: {path}"), "take one of them away".to_owned())
        };
        self.report(Report::error("fallback_cycle", &last.at, message).help(help));
    }
}

/// Whether nothing comes past an earlier entry that a later one could take.
fn leaves_nothing(earlier: &Fallback, later: &Fallback) -> bool {
    match (earlier, later) {
        (Fallback::Respond(earlier), Fallback::Respond(later)) => {
            !earlier.when_undelivered || later.when_undelivered
        }
        (Fallback::Respond(earlier), _) => !earlier.when_undelivered,
        _ => earlier == later,
    }
}

/// The upstreams that a list names.
fn named(field: &Field<BlockOrOff<List<FallbackSpec>>>) -> Vec<Spanned<Text>> {
    let specs = field.keys().map(|list| list.0.as_slice()).unwrap_or_default();
    let upstream = |spec: &Spanned<FallbackSpec>| match &spec.value {
        FallbackSpec::Upstream(name) => name.get().cloned(),
        FallbackSpec::Stale | FallbackSpec::Respond(_) => None,
    };
    specs.iter().filter_map(upstream).collect()
}

/// How far the search for cycles has come with an upstream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    OnPath,
    Done,
}

/// Each cycle as the names that lead around it, the one that closes it last. Chains may be longer than the stack.
fn cycles(edges: &Edges) -> Vec<Vec<&Spanned<Text>>> {
    let mut seen = vec![Seen::No; edges.len()];
    let mut found = Vec::new();
    for start in 0..edges.len() {
        if seen[start] != Seen::No {
            continue;
        }
        seen[start] = Seen::OnPath;
        let mut path = vec![(start, edges[start].iter(), None)];
        while let Some((at, rest, _)) = path.last_mut() {
            let Some((to, name)) = rest.next() else {
                seen[*at] = Seen::Done;
                path.pop();
                continue;
            };
            match seen[*to] {
                Seen::No => {
                    seen[*to] = Seen::OnPath;
                    path.push((*to, edges[*to].iter(), Some(name)));
                }
                Seen::OnPath => {
                    let led_here = path.iter().rev().take_while(|(at, ..)| at != to);
                    let mut cycle: Vec<_> = led_here.filter_map(|(.., name)| *name).collect();
                    cycle.reverse();
                    cycle.push(name);
                    found.push(cycle);
                }
                Seen::Done => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::cycles;
    use crate::decode::Spanned;
    use crate::decode::scalar::Text;
    use crate::diagnostic::{FileId, Place};

    fn to(index: usize) -> (usize, Spanned<Text>) {
        (index, Spanned { value: Text(index.to_string()), at: Place::start(FileId(0)), written: None })
    }

    fn found(edges: &[&[usize]]) -> Vec<String> {
        let edges: Vec<Vec<_>> = edges.iter().map(|list| list.iter().map(|i| to(*i)).collect()).collect();
        let names =
            |cycle: &Vec<&Spanned<Text>>| cycle.iter().map(|n| n.value.0.as_str()).collect::<String>();
        cycles(&edges).iter().map(names).collect()
    }

    #[test]
    fn each_way_back_is_found_once() {
        assert_eq!(found(&[]), [""; 0]);
        assert_eq!(found(&[&[1, 2], &[2], &[]]), [""; 0]);
        assert_eq!(found(&[&[0]]), ["0"]);
        assert_eq!(found(&[&[1], &[2], &[1]]), ["21"]);
        assert_eq!(found(&[&[1], &[0, 1], &[0]]), ["10", "1"]);
        assert_eq!(found(&[&[1, 2], &[3], &[3], &[0]]), ["130"]);
    }

    /// Guards against: a search that is as deep as a chain is long.
    #[test]
    fn a_long_chain() {
        let edges: Vec<Vec<_>> = (0..100_000).map(|i| vec![to((i + 1) % 100_000)]).collect();
        assert_eq!(cycles(&edges).iter().map(Vec::len).collect::<Vec<_>>(), [100_000]);
    }
}
