//! From the first file to everything that was written: includes, substitution, documents.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_openapi::{Finding, tree};
use sha2::{Digest as _, Sha256};

use crate::Options;
use crate::decode::scalar::Text;
use crate::decode::{Decode, Decoder, FILE_BYTES_MAX, Given, Lookup, Spanned};
use crate::diagnostic::{FileId, Place, Report};
use crate::files::Files;
use crate::raw;
use crate::store::{ReadError, Store};

/// What one file of a configuration may cost.
const LIMITS: tree::Limits = tree::Limits { bytes_max: 8 << 20, depth_max: 64, nodes_max: 500_000 };
/// More files are a pattern that matches too much.
const FILES_MAX: usize = 1_000;
/// All configuration files together, without documents.
const TOTAL_BYTES_MAX: usize = 64 << 20;

/// All that was read.
pub(crate) struct Written {
    pub(crate) files: Files,
    /// The roots in the order of their files; the first is that of the main file.
    pub(crate) roots: Vec<raw::Root>,
    pub(crate) reports: Vec<Report>,
    /// What was substituted.
    pub(crate) given: Vec<Given>,
    bytes: usize,
}

struct Environment<'a> {
    options: &'a Options,
    store: &'a dyn Store,
}

impl Lookup for Environment<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (self.options.env)(name)
    }

    fn file(&self, path: &Path) -> Result<String, ReadError> {
        self.store.read(path, FILE_BYTES_MAX)
    }

    fn allow_missing(&self) -> bool {
        self.options.allow_missing_env
    }
}

/// Reads the file and all that it includes.
pub(crate) fn read(path: &Path, options: &Options, store: &dyn Store) -> Written {
    let mut written = Written {
        files: Files::default(),
        roots: Vec::new(),
        reports: Vec::new(),
        given: Vec::new(),
        bytes: 0,
    };
    let (main, _) = written.files.enter(path, store);
    let cx = Environment { options, store };
    written.read_file(main, &Place::start(main), &cx);
    let include = written.roots.first().map(|root| root.include.clone());
    let patterns: Vec<Spanned<Text>> =
        include.iter().filter_map(|field| field.get()).flat_map(|list| list.value.0.clone()).collect();
    let folder = written.files.folder(main).to_owned();
    for pattern in &patterns {
        written.include(pattern, &folder, &cx);
    }
    written
}

impl Written {
    fn include(&mut self, pattern: &Spanned<Text>, folder: &Path, cx: &Environment<'_>) {
        let has_wildcard = pattern.value.0.contains(['*', '?', '[']);
        let found = if has_wildcard {
            cx.store.glob(folder, &pattern.value.0, FILES_MAX)
        } else {
            Ok(vec![folder.join(&pattern.value.0)])
        };
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                let message = format!("`{}` is no pattern: {why}", pattern.shown());
                self.reports.push(Report::error("include_pattern", &pattern.at, message));
                return;
            }
        };
        if found.is_empty() {
            let message = format!("`{}` matches no file", pattern.shown());
            self.reports.push(Report::warning("include_empty", &pattern.at, message));
        }
        for path in found {
            if self.roots.len() >= FILES_MAX {
                let message = format!("more than {FILES_MAX} files are included");
                self.reports.push(Report::error("include_too_many", &pattern.at, message));
                return;
            }
            // A pattern may well match the file it stands in, or match what another one matched.
            if let (id, true) = self.files.enter(&path, cx.store) {
                self.read_file(id, &pattern.at, cx);
            }
        }
    }

    /// Reads one file; what keeps it from being read is reported at `asked`, or at its start where it is the main file.
    fn read_file(&mut self, id: FileId, asked: &Place, cx: &Environment<'_>) {
        let path = self.files.path(id).to_owned();
        let text = match cx.store.read(&path, LIMITS.bytes_max as u64) {
            Ok(text) => text,
            Err(error) => {
                self.reports.push(unreadable(&path, &error, LIMITS.bytes_max as u64, asked));
                return;
            }
        };
        self.bytes += text.len();
        if self.bytes > TOTAL_BYTES_MAX {
            let message = format!("the files together have more than {TOTAL_BYTES_MAX} bytes");
            self.reports.push(Report::error("file_too_large", asked, message));
            return;
        }
        let text: Arc<str> = Arc::from(text);
        self.files.set_text(id, Arc::clone(&text));
        match tree::parse(&text, &LIMITS) {
            Ok(root) => self.decode(id, &root, cx),
            Err(findings) => self.reports.extend(findings.iter().map(|finding| report_of(finding, id, ""))),
        }
    }

    fn decode(&mut self, id: FileId, root: &tree::Node, cx: &Environment<'_>) {
        let mut decoder = Decoder::new(id, self.files.folder(id).to_owned(), cx);
        let root = if root.is_null() {
            let at = decoder.place(root.span());
            decoder.report(
                Report::error("empty_file", &at, "the file is empty").help("`mainstay init` makes a starter"),
            );
            None
        } else {
            raw::Root::decode(root, &mut decoder)
        };
        self.reports.append(&mut decoder.reports);
        self.given.append(&mut decoder.given);
        let Some(mut root) = root else { return };
        if let (false, Some(place)) = (self.roots.is_empty(), root.include.place()) {
            let message = "an included file cannot include others";
            self.reports.push(
                Report::error("include_nested", place, message).help("list the files in the first one"),
            );
            root.include = crate::decode::Field::absent(root.include.default);
        }
        self.roots.push(root);
    }

    /// SHA-256 over the content of all files and everything that was substituted, in order.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        self.files.texts().for_each(|text| add(text.as_bytes()));
        self.given.iter().for_each(|given| add(given.text.as_bytes()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// All files, those that were substituted included.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.files.paths().map(Path::to_owned).collect();
        for path in self.given.iter().filter_map(|given| given.file.as_ref()) {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        paths
    }
}

/// Why a file could not be read, told where it was asked for.
pub(crate) fn unreadable(path: &Path, error: &ReadError, bytes_max: u64, asked: &Place) -> Report {
    let shown = path.display();
    let (code, message) = match error {
        ReadError::Unreadable(why) => ("file_unreadable", format!("{shown} cannot be read: {why}")),
        ReadError::TooLarge => {
            ("file_too_large", format!("{shown} has more than the {bytes_max} bytes allowed"))
        }
        ReadError::NotUtf8(line) => ("file_not_utf8", format!("{shown} is not UTF-8 in line {line}")),
    };
    Report::error(code, asked, message)
}

/// A finding in a text, as a report.
pub(crate) fn report_of(finding: &Finding, file: FileId, key: &str) -> Report {
    let (start, end) = (finding.position, finding.end);
    let length = if start.line == end.line { end.column.saturating_sub(start.column).max(1) } else { 1 };
    let place = Place { file, line: start.line, column: start.column, length, key: Arc::from(key) };
    let report = if finding.warning {
        Report::warning(finding.code, &place, finding.message.clone())
    } else {
        Report::error(finding.code, &place, finding.message.clone())
    };
    match &finding.help {
        Some(help) => report.help(help.clone()),
        None => report,
    }
}
