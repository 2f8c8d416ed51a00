//! The way in: a file becomes a checked configuration, or the list of everything that is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{self, Found};
use crate::checked::{Checked, ListenAddress};
use crate::diagnostic::{self, FileId, Place, Problem, Report, Severity};
use crate::effect::{diff, effective, loosened_limits};
use crate::published::{self, Published, published_of};
use crate::read;
use crate::store::{AtHand, Disk, Memory, Store};

/// A function that knows environment variables.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
/// A function that knows the name of this host.
pub type HostNamed = Arc<dyn Fn() -> String + Send + Sync>;

/// What loading is told beside the file.
#[derive(Clone)]
pub struct Options {
    /// Where `${NAME}` looks. By default the environment of the process.
    pub env: Variables,
    /// What `server.node.name: auto` means. By default the host's name.
    pub host_name: HostNamed,
    /// How many workers `server.workers: auto` means. By default what this process may use.
    pub workers: usize,
    /// An older configuration: its published dates may only move later, and loosenings are told.
    pub against: Option<PathBuf>,
    /// A missing environment variable is a warning, and the key counts as absent: for checks, never for serving.
    pub allow_missing_env: bool,
    /// Now, in Unix seconds: what has reached its end may be removed.
    pub now_s: i64,
    /// Dates that were published before.
    pub published: Published,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            env: Arc::new(|name| std::env::var(name).ok()),
            host_name: Arc::new(host_name),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            against: None,
            allow_missing_env: false,
            now_s: 0,
            published: Published::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("against", &self.against)
            .field("allow_missing_env", &self.allow_missing_env)
            .field("now_s", &self.now_s)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "mainstay".to_owned() } else { name.to_owned() }
}

/// What loading came to.
#[derive(Debug)]
pub struct Outcome {
    /// The configuration; absent when a problem is an error.
    pub checked: Option<Checked>,
    /// Everything that was found, by file and line, warnings and notes included.
    pub problems: Vec<Problem>,
    /// Where it is written what to listen on.
    pub listen: ListenPlaces,
}

/// Where it is written what to listen on: whether an address can be bound shows only when it is.
#[derive(Clone, Debug, Default)]
pub struct ListenPlaces(Vec<(ListenAddress, Problem)>);

impl ListenPlaces {
    /// What to tell of an address that cannot be bound. One that is nowhere written, as the default is not, has the key
    /// alone.
    pub fn problem(&self, key: &str, address: &ListenAddress, error: &io::Error) -> Problem {
        let is_meant =
            |(written, problem): &&(ListenAddress, Problem)| written == address && problem.key == key;
        let known = self.0.iter().find(is_meant).map(|(_, problem)| problem.clone());
        let mut problem = known.unwrap_or_else(|| Problem::error(BIND, "").for_key(key));
        problem.message = format!("cannot listen on {address}: {error}");
        problem.help = Some(bind_help(error.kind()).to_owned());
        problem
    }
}

/// The code of an address that cannot be bound.
const BIND: &str = "bind";

fn bind_help(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "Is another engine running? Stop it, or choose another address",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 want the right to bind them (CAP_NET_BIND_SERVICE), and a socket a folder that may be written to"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address; `0.0.0.0` or `[::]` listens on all of them"
        }
        io::ErrorKind::NotFound => "the folder of the socket is not there: make it, or choose another path",
        _ => "choose another address",
    }
}

/// Loads a configuration with all that it includes and refers to.
pub fn load(path: &Path, options: &Options) -> Outcome {
    load_from(path, options, &Disk)
}

/// As [`load`], from a text at hand. What it names is read from the disk, relative to `path`, by which it is told of.
pub fn load_text(path: &Path, text: &str, options: &Options) -> Outcome {
    load_from(path, options, &AtHand { path, text })
}

/// As [`load`], from files in memory. `options.against` is looked up among them too.
pub fn load_memory<P: Into<PathBuf>, T: Into<String>>(
    path: &Path,
    files: impl IntoIterator<Item = (P, T)>,
    options: &Options,
) -> Outcome {
    let files: BTreeMap<PathBuf, String> =
        files.into_iter().map(|(path, text)| (path.into(), text.into())).collect();
    load_from(path, options, &Memory(files))
}

fn load_from(path: &Path, options: &Options, store: &dyn Store) -> Outcome {
    let mut found = check::check(read::read(path, options, store), options, store);
    let mut published = options.published.clone();
    if let Some(old_path) = &options.against {
        let old = check::check(read::read(old_path, options, store), options, store);
        compare_with(&old, old_path, &mut found);
        published.merge(&published_of(&old.checked));
    }
    let moved = published::compare(&published, &found, options.now_s);
    found.reports.extend(moved);
    let has_errors = found.has_errors();
    let Found { checked, reports, files, places } = found;
    let file = |id, line| (files.path(id).to_owned(), files.line(id, line));
    let problems = diagnostic::finish(reports, file);
    let listen = places.listen.into_iter().filter_map(|(address, at)| {
        let problem = diagnostic::finish(vec![Report::error(BIND, &at, "")], file).pop()?;
        Some((address, problem))
    });
    let listen = ListenPlaces(listen.collect());
    Outcome { checked: (!has_errors).then_some(checked), problems, listen }
}

/// Tells what loosens against an older configuration.
fn compare_with(old: &Found, old_path: &Path, found: &mut Found) {
    if let Some(first) = old.reports.iter().find(|report| report.severity == Severity::Error) {
        let (old_path, place) = (old_path.display(), old.files.show(&first.at));
        let message =
            format!("{old_path} does not load as a whole; only what could be read of it is compared");
        let report = Report::warning("against_incomplete", &Place::start(FileId(0)), message);
        found.reports.push(report.help(format!("its first error is in {place}: {}", first.message)));
    }
    for change in diff(&effective(&old.checked), &effective(&found.checked)) {
        if !change.loosens {
            continue;
        }
        let version = change.operation.splitn(3, ' ').take(2).collect::<Vec<_>>().join("/");
        let at = found.places.versions.get(&version).cloned().unwrap_or_else(|| Place::start(FileId(0)));
        found.reports.push(Report::note("loosens_old", &at, change.to_string()));
    }
    for (key, message) in loosened_limits(&old.checked.server.limits, &found.checked.server.limits) {
        let unwritten = || Place::start(FileId(0)).of_key(&format!("server.limits.{key}"));
        let at = found.places.limits.get(key).cloned().unwrap_or_else(unwritten);
        found.reports.push(Report::note("loosens_old", &at, message));
    }
}
