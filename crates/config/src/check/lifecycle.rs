//! When a version ends: dates in order, notice, successors, guides, brownouts.

use super::Check;
use super::api::ApiScope;
use crate::checked::{Brownout, Lifecycle};
use crate::decode::scalar::Text;
use crate::decode::{Entry, Spanned};
use crate::diagnostic::{Place, Report};
use crate::raw;

const DAY_S: i64 = 86_400;
/// What integrators need to move, and what most policies promise.
const NOTICE_DAYS: i64 = 90;

impl Check<'_> {
    pub(super) fn lifecycle(
        &mut self,
        api: &ApiScope<'_>,
        name: &Spanned<String>,
        version: &raw::Version,
    ) -> Lifecycle {
        let Some(raw) = version.lifecycle.get() else { return Lifecycle::default() };
        let deprecated_s = raw.deprecated.get().map(|date| date.value.0);
        let sunset_s = raw.sunset.get().map(|date| date.value.0);
        if let Some(sunset) = raw.sunset.get() {
            self.places.sunsets.insert(format!("{}/{}", api.name, name.value), sunset.at.clone());
            if raw.deprecated.is_absent() {
                let message = "a sunset without `deprecated`: callers are not told before it comes";
                let report = Report::warning("sunset_without_notice", &sunset.at, message);
                self.report(report.help(format!("set `deprecated` at least {NOTICE_DAYS} days earlier")));
            }
        }
        if let (Some(deprecated), Some(sunset)) = (raw.deprecated.get(), raw.sunset.get()) {
            self.notice(deprecated.value.0, sunset.value.0, &sunset.at);
        }
        let brownouts = self.brownouts(&raw.value, deprecated_s, sunset_s);
        Lifecycle {
            deprecated_s,
            sunset_s,
            // Whether it exists is looked at when all versions are known.
            successor: raw.successor.get().map(|successor| successor.value.0.clone()),
            guide: raw.guide.get().and_then(|guide| self.guide(guide)),
            brownouts,
        }
    }

    /// The time between the announcement and the end.
    pub(super) fn notice(&mut self, deprecated_s: i64, sunset_s: i64, at: &Place) {
        let days = (sunset_s - deprecated_s).div_euclid(DAY_S);
        if sunset_s < deprecated_s {
            let report =
                Report::error("sunset_before_deprecation", at, "the sunset lies before the deprecation");
            self.report(report.help("first it is deprecated, then it ends"));
        } else if days < NOTICE_DAYS {
            let message = format!("{days} days between deprecation and sunset");
            let report = Report::warning("short_notice", at, message);
            self.report(report.help(format!("callers need at least {NOTICE_DAYS} days")));
        }
    }

    fn brownouts(
        &mut self,
        raw: &raw::Lifecycle,
        deprecated_s: Option<i64>,
        sunset_s: Option<i64>,
    ) -> Vec<Brownout> {
        let mut windows: Vec<(Brownout, Place)> = Vec::new();
        for spanned in &raw.brownouts.value().0 {
            let from =
                self.require(&spanned.value.from, &spanned.at, "the brownout needs `from`", "a time stamp");
            let length =
                self.require(&spanned.value.r#for, &spanned.at, "the brownout needs `for`", "a duration");
            let (Some(from), Some(length)) = (from, length) else { continue };
            let length_s = i64::try_from(length.value.0.as_secs()).unwrap_or(i64::MAX);
            let window = Brownout {
                from_s: from.value.0,
                until_s: from.value.0.saturating_add(length_s),
                share: spanned.value.share.value().0,
            };
            let is_outside = deprecated_s.is_none_or(|at| window.from_s < at)
                || sunset_s.is_none_or(|at| window.until_s > at);
            if is_outside && !raw.deprecated_or_sunset_unreadable() {
                let message = "the brownout does not lie between deprecation and sunset";
                self.report(Report::warning("brownout_outside", &from.at, message));
            }
            let overlapping = windows
                .iter()
                .find(|(known, _)| known.from_s < window.until_s && window.from_s < known.until_s);
            if let Some((_, known)) = overlapping {
                let message = format!("the brownout overlaps the one in {}", self.files.show(known));
                self.report(Report::error("brownout_overlap", &from.at, message));
            }
            windows.push((window, from.at.clone()));
        }
        windows.into_iter().map(|(window, _)| window).collect()
    }

    /// A guide as it stands in a `Link` header.
    fn guide(&mut self, guide: &Spanned<Text>) -> Option<String> {
        let text = &guide.value.0;
        let is_safe = |c: char| {
            c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '}' | '|')
        };
        if text.starts_with("https://") || text.starts_with("http://") {
            if text.chars().all(is_safe) {
                return Some(text.clone());
            }
            self.report(Report::error(
                "bad_url",
                &guide.at,
                "expected a URL with only the characters that URLs have",
            ));
            return None;
        }
        let path = self.files.folder(guide.at.file).join(text);
        if !self.store.is_file(&path) {
            let message = format!("there is no guide `{}`", guide.shown());
            self.report(
                Report::error("guide_missing", &guide.at, message)
                    .help("a file relative to this one, or a URL"),
            );
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if stem.is_empty() || !stem.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)) {
            let message = "the name of a guide becomes part of a URL: letters, digits and `-._~`";
            self.report(Report::error("guide_name", &guide.at, message));
            return None;
        }
        let identity = self.store.identity(&path);
        match self.guides.get(&stem) {
            Some((known, place)) if *known != identity => {
                let message = format!("another guide named `{stem}` is in {}", self.files.show(place));
                self.report(
                    Report::error("guide_name", &guide.at, message).help("their URLs would be the same"),
                );
            }
            Some(_) => {}
            None => {
                self.guides.insert(stem.clone(), (identity, guide.at.clone()));
            }
        }
        let Some(base) = &self.public_url else {
            let report = Report::error(
                "guide_without_portal",
                &guide.at,
                "the guide has no URL that callers could open",
            );
            self.report(report.help("set `portal.public_url`, or give the URL of the guide itself"));
            return None;
        };
        Some(format!("{base}/guides/{stem}"))
    }

    /// Successors exist, are others, and do not lead round in a circle.
    pub(super) fn check_successors(&mut self, api: &ApiScope<'_>, entries: &[Entry<raw::Version>]) {
        let lifecycle = |name: &str| {
            let entry = entries.iter().find(|entry| entry.name.value == name)?;
            entry.value.get()?.lifecycle.get()
        };
        for entry in entries {
            let Some(mine) = lifecycle(&entry.name.value) else { continue };
            let Some(successor) = mine.successor.get() else { continue };
            if !api.versions.contains(&successor.value.0.as_str()) {
                self.dangling("unknown_successor", "version", successor, api.versions.iter().copied());
                continue;
            }
            let mut at = successor.value.0.as_str();
            let mut steps = 0;
            while steps <= entries.len() && at != entry.name.value {
                let Some(next) = lifecycle(at).and_then(|next| next.successor.get()) else { break };
                at = next.value.0.as_str();
                steps += 1;
            }
            if at == entry.name.value {
                let message = format!("`{}` would be its own successor", entry.name.value);
                self.report(Report::error("successor_cycle", &successor.at, message));
                continue;
            }
            let sunset = |of: &raw::Lifecycle| of.sunset.get().map(|date| date.value.0);
            let theirs = lifecycle(&successor.value.0).and_then(|next| sunset(&next.value));
            if let (Some(mine), Some(theirs)) = (sunset(&mine.value), theirs)
                && theirs <= mine
            {
                let message = format!("the successor `{}` ends before this version does", successor.shown());
                self.report(Report::warning("successor_ends_first", &successor.at, message));
            }
        }
    }
}

impl raw::Lifecycle {
    /// Whether a date is there that could not be read.
    fn deprecated_or_sunset_unreadable(&self) -> bool {
        [&self.deprecated, &self.sunset].iter().any(|date| date.get().is_none() && !date.is_absent())
    }
}
