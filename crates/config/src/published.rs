//! Sunset dates that callers have been told.
//!
//! A caller plans with a published date, so it can only move later: neither `check --against` nor a reload accepts an
//! earlier one, a date taken away, or a version that is gone before its day has come.

use std::collections::BTreeMap;

use mainstay_core::units::show_date;
use serde::{Deserialize, Serialize};

use crate::check::{Found, Places};
use crate::checked::{Checked, Operation, Version};
use crate::diagnostic::{FileId, Place, Report};

/// Sunsets by "api/version" or "api/version/operation", in Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Published(pub BTreeMap<String, i64>);

impl Published {
    /// Takes in what another configuration publishes; the later date wins.
    pub fn merge(&mut self, other: &Published) {
        for (key, date_s) in &other.0 {
            let known = self.0.entry(key.clone()).or_insert(*date_s);
            *known = (*known).max(*date_s);
        }
    }
}

/// What a configuration publishes.
pub fn published_of(checked: &Checked) -> Published {
    let mut dates = BTreeMap::new();
    for api in checked.apis.values() {
        for version in api.versions.values() {
            let key = format!("{}/{}", api.name, version.name);
            for operation in &version.operations {
                if let Some(date_s) = operation.sunset_s {
                    dates.insert(format!("{key}/{}", operation.name), date_s);
                }
            }
            if let Some(date_s) = version.lifecycle.sunset_s {
                dates.insert(key, date_s);
            }
        }
    }
    Published(dates)
}

/// Compares a configuration with what was published before.
pub(crate) fn compare(published: &Published, found: &Found, now_s: i64) -> Vec<Report> {
    // Where something could not be read, its absence means nothing.
    let comparison = Comparison { published, found, now_s, is_whole: !found.has_errors() };
    let mut reports: Vec<Report> =
        published.0.iter().filter_map(|(key, date_s)| comparison.entry(key, *date_s)).collect();
    reports.extend(comparison.new_operation_dates());
    reports
}

struct Comparison<'a> {
    published: &'a Published,
    found: &'a Found,
    now_s: i64,
    is_whole: bool,
}

impl Comparison<'_> {
    fn version(&self, api: &str, version: &str) -> Option<&Version> {
        self.found.checked.apis.get(api)?.versions.get(version)
    }

    fn entry(&self, key: &str, date_s: i64) -> Option<Report> {
        let mut parts = key.splitn(3, '/');
        let (api, name) = (parts.next()?, parts.next()?);
        let operation = parts.next();
        let Some(version) = self.version(api, name) else { return self.gone(key, date_s) };
        let now = match operation {
            None => version.lifecycle.sunset_s,
            Some(operation) => match version.operations.iter().find(|served| served.name == operation) {
                Some(served) => served.sunset_s.or(version.lifecycle.sunset_s),
                None if version.operations.is_empty() => return None,
                None => return self.gone(key, date_s),
            },
        };
        match now {
            Some(now) if now >= date_s => None,
            Some(now) => Some(moved(&self.place(key), key, &format!("is {} now", show_date(now)), date_s)),
            None => Some(moved(&self.place(key), key, "is taken away", date_s)),
        }
    }

    /// What has reached its end may go.
    fn gone(&self, key: &str, date_s: i64) -> Option<Report> {
        let is_over = self.now_s >= date_s;
        (!is_over && self.is_whole)
            .then(|| moved(&self.place(key), key, "comes at once, as it is gone", date_s))
    }

    /// An operation may not end before the published end of its version.
    fn new_operation_dates(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for api in self.found.checked.apis.values() {
            for version in api.versions.values() {
                let version_key = format!("{}/{}", api.name, version.name);
                let Some(date_s) = self.published.0.get(&version_key) else { continue };
                let early =
                    |operation: &&Operation| operation.sunset_s.is_some_and(|sunset_s| sunset_s < *date_s);
                for operation in version.operations.iter().filter(early) {
                    let key = format!("{version_key}/{}", operation.name);
                    if !self.published.0.contains_key(&key) {
                        let now = show_date(operation.sunset_s.unwrap_or_default());
                        reports.push(moved(&self.place(&key), &key, &format!("is {now} now"), *date_s));
                    }
                }
            }
        }
        reports
    }

    /// The date itself where it stands, else the closest that is there.
    fn place(&self, key: &str) -> Place {
        let Places { versions, sunsets, apis, .. } = &self.found.places;
        let mut parts = key.splitn(3, '/');
        let (api, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let version_key = format!("{api}/{version}");
        let found = sunsets.get(key).or_else(|| sunsets.get(&version_key));
        let found = found.or_else(|| versions.get(&version_key)).or_else(|| apis.get(api));
        found.cloned().unwrap_or_else(|| Place::start(FileId(0)))
    }
}

fn moved(at: &Place, key: &str, what: &str, date_s: i64) -> Report {
    let message = format!("the sunset of {} {what}, earlier than was published", key.replacen('/', " ", 2));
    let message = if what.starts_with("is taken") {
        format!("the published sunset of {} {what}", key.replacen('/', " ", 2))
    } else {
        message
    };
    let help = format!("dates can only move later; published was {}", show_date(date_s));
    Report::error("sunset_moved_earlier", at, message).help(help)
}
