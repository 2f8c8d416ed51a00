//! The OpenAPI documents of a configuration: each read once, many at a time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mainstay_openapi::{Document, Finding, Limits};

use crate::diagnostic::{FileId, Place, Report};
use crate::files::Files;
use crate::read::{report_of, unreadable};
use crate::store::{ReadError, Store};

/// What one document may cost; the largest public ones are below 10 MiB.
const LIMITS: Limits = Limits { bytes_max: 16 << 20, depth_max: 128, nodes_max: 2_000_000 };
/// All documents together.
const TOTAL_BYTES_MAX: usize = 512 << 20;
/// More threads than this read no faster.
const THREADS_MAX: usize = 8;

/// A document that a version names.
pub(crate) struct Wanted {
    pub(crate) file: FileId,
    pub(crate) path: PathBuf,
    /// Where it is named first.
    pub(crate) asked: Place,
}

/// The documents that could be read, by file.
#[derive(Default)]
pub(crate) struct Documents(HashMap<FileId, Document>);

enum Answer {
    Unreadable(ReadError),
    Read(Arc<str>, Result<Document, Vec<Finding>>),
}

impl Documents {
    pub(crate) fn get(&self, file: FileId) -> Option<&Document> {
        self.0.get(&file)
    }
}

/// Reads all of them. What is wrong with one is reported in its own file.
pub(crate) fn read(wanted: &[Wanted], files: &mut Files, store: &dyn Store) -> (Documents, Vec<Report>) {
    let mut documents = Documents::default();
    let mut reports = Vec::new();
    for (wanted, answer) in wanted.iter().zip(answers(wanted, store)) {
        match answer {
            Answer::Unreadable(error) => {
                reports.push(unreadable(&wanted.path, &error, LIMITS.bytes_max as u64, &wanted.asked));
            }
            Answer::Read(text, result) => {
                files.set_text(wanted.file, text);
                let report = |finding: &Finding| report_of(finding, wanted.file, &wanted.asked.key);
                match result {
                    Ok(document) => {
                        reports.extend(document.warnings.iter().map(report));
                        documents.0.insert(wanted.file, document);
                    }
                    Err(findings) => reports.extend(findings.iter().map(report)),
                }
            }
        }
    }
    (documents, reports)
}

/// One answer for each, in order.
fn answers(wanted: &[Wanted], store: &dyn Store) -> Vec<Answer> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(wanted.len());
    let next = AtomicUsize::new(0);
    let bytes = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(wanted) = wanted.get(index) else { return done };
            done.push((index, answer(wanted, store, &bytes)));
        }
    };
    let mut all = if threads < 2 {
        work()
    } else {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
            joined.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    };
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, answer)| answer).collect()
}

fn answer(wanted: &Wanted, store: &dyn Store, bytes: &AtomicUsize) -> Answer {
    let text = match store.read(&wanted.path, LIMITS.bytes_max as u64) {
        Ok(text) => text,
        Err(error) => return Answer::Unreadable(error),
    };
    if bytes.fetch_add(text.len(), Ordering::Relaxed) + text.len() > TOTAL_BYTES_MAX {
        return Answer::Unreadable(ReadError::Unreadable("all documents together are too large".into()));
    }
    let result = mainstay_openapi::read(&text, &LIMITS);
    Answer::Read(Arc::from(text), result)
}
