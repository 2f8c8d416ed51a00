//! From what was written to what is meant: names resolved, defaults applied, every rule looked at.
//!
//! Rules of this room:
//! - Checking goes on after an error, with something harmless in its place, so that all problems are told at once.
//!   What comes out is only used when nothing was an error.
//! - A key that could not be read ([`crate::decode::State::Unreadable`]) has been reported; nothing here says so again.
//! - Files are reached through [`Files`] and the store alone.

mod api;
mod conflict;
mod entries;
mod fallback;
mod identity;
mod introspection;
mod lifecycle;
mod merge;
mod operation;
mod permissions;
mod resilience;
mod server;
mod tls;
mod token;
mod upstream;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::Options;
use crate::checked::{self, Checked, ListenAddress};
use crate::decode::scalar::Text;
use crate::decode::{Field, Spanned, State};
use crate::diagnostic::{FileId, Place, Report, Severity, known};
use crate::documents::{self, Documents, Wanted};
use crate::files::Files;
use crate::raw;
use crate::read::Written;
use crate::store::Store;

use conflict::Routes;
use entries::Unmatched;
use merge::Merged;

pub(crate) use entries::path_of;

/// What checking found.
pub(crate) struct Found {
    pub(crate) checked: Checked,
    pub(crate) reports: Vec<Report>,
    pub(crate) files: Files,
    pub(crate) places: Places,
}

impl Found {
    /// Whether the configuration is refused.
    pub(crate) fn has_errors(&self) -> bool {
        self.reports.iter().any(|report| report.severity == Severity::Error)
    }
}

/// Where things stand that later comparisons talk about.
#[derive(Default)]
pub(crate) struct Places {
    /// By "api/version".
    pub(crate) versions: BTreeMap<String, Place>,
    /// By "api/version" or "api/version/operation".
    pub(crate) sunsets: BTreeMap<String, Place>,
    /// By api.
    pub(crate) apis: BTreeMap<String, Place>,
    /// By key of `server.limits`, where it is written.
    pub(crate) limits: BTreeMap<&'static str, Place>,
    /// Addresses to listen on that are written somewhere.
    pub(crate) listen: Vec<(ListenAddress, Place)>,
}

/// The state of one check.
struct Check<'a> {
    files: &'a Files,
    store: &'a dyn Store,
    documents: &'a Documents,
    by_place: &'a HashMap<Place, FileId>,
    classes: &'a crate::decode::Map<raw::Name, raw::OperationKeys>,
    reports: Vec<Report>,
    places: Places,
    routes: Routes,
    unmatched: Vec<Unmatched>,
    /// Guides by what their URL ends in.
    guides: BTreeMap<String, (PathBuf, Place)>,
    upstreams: BTreeMap<String, Arc<checked::Upstream>>,
    upstream_timeouts: BTreeMap<String, raw::Timeouts>,
    public_url: Option<String>,
    /// `server.limits.body`.
    body_default: u64,
    /// How many workers share the pools.
    workers: usize,
    /// Whether `auth.jwt.issuers` names somebody.
    has_issuers: bool,
    /// `auth.introspection` names a server.
    has_introspection: bool,
    /// Where it was told that it should.
    told_issuers: HashSet<Place>,
}

/// Checks everything that was written.
pub(crate) fn check(mut written: Written, options: &Options, store: &dyn Store) -> Found {
    let mut reports = std::mem::take(&mut written.reports);
    let is_whole = !reports.iter().any(|report| report.severity == Severity::Error);
    let roots = std::mem::take(&mut written.roots);
    let merged = merge::merge(roots, &written.files, &mut reports);
    let (wanted, by_place) = wanted_documents(&merged, &mut written.files, store);
    let (documents, found) = documents::read(&wanted, &mut written.files, store);
    reports.extend(found);
    let mut check = Check {
        files: &written.files,
        store,
        documents: &documents,
        by_place: &by_place,
        classes: &merged.classes,
        reports,
        places: Places::default(),
        routes: Routes::default(),
        unmatched: Vec::new(),
        guides: BTreeMap::new(),
        upstreams: BTreeMap::new(),
        upstream_timeouts: BTreeMap::new(),
        public_url: None,
        body_default: 0,
        workers: options.workers,
        has_issuers: false,
        has_introspection: false,
        told_issuers: HashSet::new(),
    };
    let (server, control) = check.server(&merged, options);
    check.workers = server.workers.unwrap_or(options.workers);
    let log = check.log(&merged);
    check.class_timeouts(&merged);
    check.all_upstreams(&merged);
    let tokens = check.tokens(&merged);
    let apis = check.all_apis(&merged, is_whole);
    check.hash_parameters(&merged, &apis);
    let identity = check.identity(&merged, &apis, tokens);
    let permissions = check.permissions(&merged);
    let routes = std::mem::take(&mut check.routes);
    routes.report_conflicts(check.files, server.health_path.as_deref(), &mut check.reports);
    let Check { reports, places, upstreams, public_url, .. } = check;
    let checked = Checked {
        sources: written.sources(),
        digest: written.digest(),
        server,
        control,
        public_url,
        identity,
        permissions,
        upstreams,
        apis,
        log,
    };
    Found { checked, reports, files: written.files, places }
}

/// The documents that versions name, each once, and which one is meant where.
fn wanted_documents(
    merged: &Merged,
    files: &mut Files,
    store: &dyn Store,
) -> (Vec<Wanted>, HashMap<Place, FileId>) {
    let mut wanted = Vec::new();
    let mut by_place = HashMap::new();
    let versions = merged.apis.entries.iter().filter_map(|api| api.value.get()).flat_map(|api| {
        let versions = api.versions.get().map(|versions| versions.value.entries.as_slice());
        versions.unwrap_or_default().iter().filter_map(|version| version.value.get())
    });
    for openapi in versions.filter_map(|version| version.openapi.get()) {
        let path = files.folder(openapi.at.file).join(&openapi.value.0);
        let (file, is_new) = files.enter(&path, store);
        by_place.insert(openapi.at.clone(), file);
        if is_new {
            wanted.push(Wanted { file, path, asked: openapi.at.clone() });
        }
    }
    (wanted, by_place)
}

impl Check<'_> {
    fn report(&mut self, report: Report) {
        self.reports.push(report);
    }

    /// The folder that a relative name of this place starts in.
    fn folder(&self, place: Option<&Place>) -> PathBuf {
        self.files.folder(place.map_or(FileId(0), |place| place.file)).to_owned()
    }

    /// A required key that is absent is reported at `at`.
    fn require<'f, T>(
        &mut self,
        field: &'f Field<T>,
        at: &Place,
        message: &str,
        help: &str,
    ) -> Option<&'f Spanned<T>> {
        if field.is_absent() {
            self.report(Report::error("missing_key", at, message).help(help));
        }
        field.get()
    }

    /// Reports a name that leads nowhere.
    fn dangling<'c>(
        &mut self,
        code: &'static str,
        what: &str,
        name: &Spanned<Text>,
        candidates: impl Iterator<Item = &'c str> + Clone,
    ) {
        let report = Report::error(code, &name.at, format!("there is no {what} `{}`", name.shown()));
        let help = match name.written {
            // What came out of the environment is not compared with anything in public.
            Some(_) => known("", candidates),
            None => known(&name.value.0, candidates),
        };
        self.report(report.help(help));
    }
}

/// The block, or one in which every key is absent.
fn block<T: Clone>(field: &Field<T>, absent: impl FnOnce() -> T) -> T {
    match &field.state {
        State::Given(block) => block.value.clone(),
        State::Absent | State::Unreadable => absent(),
    }
}
