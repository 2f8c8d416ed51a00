//! Entries of `operations`: what they name, and which operations of a version they are for.

use mainstay_openapi::Document;

use super::Check;
use super::api::{ApiScope, VersionScope};
use crate::decode::scalar::Date;
use crate::decode::{Entry, Spanned};
use crate::diagnostic::{Place, Report, known, nearest};
use crate::path;
use crate::raw::{Operation, Sunsets};

/// Methods that can be routed. CONNECT asks for a tunnel, not for an operation.
const METHODS: &[&str] = &["*", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// What the name of an entry means.
pub(super) enum Selector<'a> {
    /// An `operationId`.
    Id,
    /// A method (or `*`) and a path.
    Route { method: &'a str, path: &'a str, shape: String },
}

/// Reads the name of an entry.
///
/// # Errors
/// Code, message and help.
pub(super) fn selector(name: &str) -> Result<Selector<'_>, (&'static str, String, String)> {
    let Some((method, path)) = name.split_once(' ').filter(|(_, path)| path.starts_with('/')) else {
        return Ok(Selector::Id);
    };
    if !METHODS.contains(&method) {
        let message = format!("`{method}` is no method that can be routed");
        return Err(("unknown_method", message, known(method, METHODS.iter().copied())));
    }
    match path::shape(path) {
        Ok(shape) => Ok(Selector::Route { method, path, shape }),
        Err(why) => {
            let help = "a path such as `/payments/{id}`, or `/legacy/{*rest}` for all below".to_owned();
            Err(("bad_template", format!("`{path}` is no path template: {why}"), help))
        }
    }
}

/// One operation that a version could serve.
pub(super) struct Candidate {
    pub(super) id: Option<String>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) shape: String,
    pub(super) at: Place,
    /// Its template is its document's, not an entry's.
    pub(super) is_documented: bool,
}

impl Candidate {
    /// The `operationId`, or `METHOD /path`.
    pub(super) fn name(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("{} {}", self.method, self.path))
    }

    /// How closely an entry names this: 3 by id, 2 by method and path, 1 by path; 0 is not at all.
    pub(super) fn named_by(&self, entry: &str, selector: &Selector<'_>) -> u8 {
        if self.id.as_deref() == Some(entry) {
            return 3;
        }
        match selector {
            Selector::Route { method, shape, .. } if *shape == self.shape => match *method {
                exact if exact == self.method => 2,
                "*" if self.is_documented => 1,
                _ => 0,
            },
            _ => 0,
        }
    }
}

/// An entry that applies to a version.
pub(super) struct Applied<'a> {
    pub(super) entry: &'a Entry<Operation>,
    pub(super) selector: Selector<'a>,
    /// Of the version itself, not of the api.
    pub(super) is_narrow: bool,
}

impl Applied<'_> {
    /// The entry's own date for `version`.
    pub(super) fn sunset(&self, version: &str) -> Option<&Spanned<Date>> {
        match &self.entry.value.get()?.sunset.get()?.value {
            Sunsets::ByVersion(dates) => dates.get(version)?.value.get(),
            Sunsets::Date(_) => None,
        }
    }

    /// The entry's own date in the short form.
    pub(super) fn narrow_sunset(&self) -> Option<(i64, &Place)> {
        let sunset = self.entry.value.get()?.sunset.get()?;
        match &sunset.value {
            Sunsets::Date(date) if self.is_narrow => Some((date.0, &sunset.at)),
            _ => None,
        }
    }
}

/// An entry that names nothing of some versions.
pub(super) struct Unmatched {
    entry: Spanned<String>,
    versions: Vec<String>,
    help: String,
}

impl Check<'_> {
    /// Rules for the entries of an api that hold whatever the versions are.
    pub(super) fn check_api_entries(&mut self, api: &ApiScope<'_>) {
        let entries = api.raw.operations.get().map(|map| map.value.entries.as_slice()).unwrap_or_default();
        for entry in entries {
            self.check_entry_name(&entry.name);
            let Some(operation) = entry.value.get() else { continue };
            self.timeout_order(&operation.keys().timeouts(), None);
            if let Some(versions) = operation.versions.get() {
                if versions.value.0.is_empty() {
                    let message = "an entry for no version does nothing";
                    self.report(Report::error("empty_list", &versions.at, message));
                }
                for version in versions
                    .value
                    .0
                    .iter()
                    .filter(|version| !api.versions.contains(&version.value.0.as_str()))
                {
                    self.dangling("unknown_version", "version", version, api.versions.iter().copied());
                }
            }
            match operation.sunset.get().map(|sunset| (&sunset.value, &sunset.at)) {
                Some((Sunsets::Date(_), at)) => {
                    let report =
                        Report::error("sunset_form", at, "an entry for several versions says which one ends");
                    self.report(report.help("such as `sunset: { v1: 2027-08-01 }`"));
                }
                Some((Sunsets::ByVersion(dates), _)) => {
                    for date in &dates.entries {
                        if !api.versions.contains(&date.name.value.as_str()) {
                            let message = format!("there is no version `{}`", date.name.value);
                            let report = Report::error("unknown_version", &date.name.at, message);
                            self.report(report.help(known(&date.name.value, api.versions.iter().copied())));
                        }
                    }
                }
                None => {}
            }
        }
    }

    fn check_version_entry(&mut self, entry: &Entry<Operation>, version: &str) {
        self.check_entry_name(&entry.name);
        let Some(operation) = entry.value.get() else { return };
        self.timeout_order(&operation.keys().timeouts(), None);
        if let Some(versions) = operation.versions.get() {
            let message = "an entry of a version is for that version alone";
            self.report(
                Report::error("versions_in_version", &versions.at, message).help("remove `versions`"),
            );
        }
        if let Some(Spanned { value: Sunsets::ByVersion(dates), .. }) = operation.sunset.get() {
            for other in dates.entries.iter().filter(|date| date.name.value != version) {
                let message = format!("an entry of {version} ends in {version} alone");
                let report = Report::error("sunset_form", &other.name.at, message);
                self.report(report.help("such as `sunset: 2027-08-01`"));
            }
        }
    }

    fn check_entry_name(&mut self, name: &Spanned<String>) {
        if let Err((code, message, help)) = selector(&name.value) {
            self.report(Report::error(code, &name.at, message).help(help));
        }
    }

    /// The entries that are for this version, those of the version itself first.
    pub(super) fn applied<'a>(&mut self, version: &VersionScope<'a>) -> Vec<Applied<'a>> {
        let narrow = version.raw.operations.get().map(|map| map.value.entries.as_slice()).unwrap_or_default();
        let wide =
            version.api.raw.operations.get().map(|map| map.value.entries.as_slice()).unwrap_or_default();
        for entry in narrow {
            self.check_version_entry(entry, &version.name.value);
        }
        let is_for = |entry: &&Entry<Operation>| {
            let versions = entry.value.get().and_then(|operation| operation.versions.get());
            versions.is_none_or(|list| list.value.0.iter().any(|name| name.value.0 == version.name.value))
        };
        let all = narrow.iter().map(|entry| (entry, true));
        let all = all.chain(wide.iter().filter(is_for).map(|entry| (entry, false)));
        let read = |(entry, is_narrow): (&'a Entry<Operation>, bool)| {
            // A name that means nothing has been reported.
            let selector = selector(&entry.name.value).ok()?;
            Some(Applied { entry, selector, is_narrow })
        };
        all.filter_map(read).collect()
    }

    /// Remembers the entries that name nothing of this version.
    pub(super) fn check_matches(
        &mut self,
        version: &VersionScope<'_>,
        entries: &[Applied<'_>],
        candidates: &[Candidate],
    ) {
        let is_documented = version.raw.openapi.get().is_some();
        let name = &version.name.value;
        for applied in entries {
            let entry = &applied.entry.name;
            if candidates.iter().any(|candidate| candidate.named_by(&entry.value, &applied.selector) > 0) {
                continue;
            }
            let help = if is_documented {
                let ids = candidates.iter().filter_map(|candidate| candidate.id.as_deref());
                let near = nearest(&entry.value, ids).map(|near| format!("did you mean `{near}`? "));
                let rule = if applied.is_narrow {
                    "an entry names an `operationId` of the document, or `METHOD /path`"
                } else {
                    "an entry that is not for all versions says so: `versions: [..]`"
                };
                format!("{}{rule}", near.unwrap_or_default())
            } else {
                format!("{name} has no document, so its operations are written as `METHOD /path`")
            };
            match self.unmatched.iter_mut().find(|unmatched| unmatched.entry.at == entry.at) {
                Some(known) => known.versions.push(name.clone()),
                None => {
                    let (entry, versions) = (entry.clone(), vec![name.clone()]);
                    self.unmatched.push(Unmatched { entry, versions, help });
                }
            }
        }
    }

    /// Reports what [`Check::check_matches`] remembered of the versions of one api.
    pub(super) fn report_unmatched(&mut self) {
        for Unmatched { entry, versions, help } in std::mem::take(&mut self.unmatched) {
            let message = format!("`{}` matches no operation of {}", entry.value, versions.join(", "));
            self.report(Report::error("entry_matches_nothing", &entry.at, message).help(help));
        }
    }

    /// What this version could serve; `None` when its document could not be read.
    pub(super) fn candidates(
        &mut self,
        version: &VersionScope<'_>,
        entries: &[Applied<'_>],
    ) -> Option<Vec<Candidate>> {
        match version.raw.openapi.get() {
            Some(openapi) => {
                let file = *self.by_place.get(&openapi.at)?;
                let document = self.documents.get(file)?;
                self.compare_servers(version, document, &openapi.at);
                let key = openapi.at.key.clone();
                let found = document.operations.iter().filter_map(|operation| {
                    let length = u32::try_from(operation.method.len()).unwrap_or(1);
                    let (line, column) = (operation.position.line, operation.position.column);
                    let at = Place { file, line, column, length, key: key.clone() };
                    match path::shape(&operation.path) {
                        Ok(shape) => Some(Candidate {
                            id: operation.operation_id.clone(),
                            method: operation.method.clone(),
                            path: operation.path.clone(),
                            shape,
                            at,
                            is_documented: true,
                        }),
                        Err(why) => {
                            let message =
                                format!("`{}` is no path that can be routed: {why}", operation.path);
                            self.reports.push(Report::error("bad_template", &at, message));
                            None
                        }
                    }
                });
                Some(found.collect())
            }
            None if !version.raw.openapi.is_absent() => None,
            None => Some(undocumented(entries)),
        }
    }

    /// The document tells where it believes to be served; a version there and elsewhere here is worth a word.
    fn compare_servers(&mut self, version: &VersionScope<'_>, document: &Document, at: &Place) {
        let served = format!("{}/{}", version.api.base_path, version.name.value);
        let suffix = format!("/{}", version.name.value);
        let paths: Vec<&str> = document.servers.iter().map(|url| path_of(url)).collect();
        let elsewhere = paths.iter().find(|path| path.ends_with(&suffix));
        if let (Some(path), false) = (elsewhere, paths.contains(&served.as_str())) {
            let message =
                format!("the document says it is served under `{path}`, here it is under `{served}`");
            let base = path.strip_suffix(&suffix).unwrap_or(path);
            let base = if base.is_empty() { "none" } else { base };
            self.report(
                Report::note("servers_differ", at, message)
                    .help(format!("`base_path: {base}` makes them the same")),
            );
        }
    }
}

/// Without a document the entries are the operations.
fn undocumented(entries: &[Applied<'_>]) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for applied in entries {
        let Selector::Route { method, path, shape } = &applied.selector else { continue };
        let name = &applied.entry.name;
        // The same name on both levels is one operation.
        if candidates.iter().any(|known| known.method == *method && known.path == *path) {
            continue;
        }
        candidates.push(Candidate {
            id: None,
            method: (*method).to_owned(),
            path: (*path).to_owned(),
            shape: shape.clone(),
            at: name.at.clone(),
            is_documented: false,
        });
    }
    candidates
}

/// The path of a server's URL, without a trailing slash.
pub(crate) fn path_of(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => url,
    };
    path.trim_end_matches('/')
}
