//! The files of one load, by number, and how problems find their names and lines.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{FileId, Place};
use crate::store::Store;

/// All files that were met, in the order in which they were met.
#[derive(Default)]
pub(crate) struct Files {
    list: Vec<SourceFile>,
    by_identity: HashMap<PathBuf, FileId>,
}

struct SourceFile {
    path: PathBuf,
    text: Option<Arc<str>>,
}

impl Files {
    /// The number of a file, and whether it is new.
    pub(crate) fn enter(&mut self, path: &Path, store: &dyn Store) -> (FileId, bool) {
        let identity = store.identity(path);
        if let Some(id) = self.by_identity.get(&identity) {
            return (*id, false);
        }
        let id = FileId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.by_identity.insert(identity, id);
        self.list.push(SourceFile { path: path.to_owned(), text: None });
        (id, true)
    }

    pub(crate) fn set_text(&mut self, id: FileId, text: Arc<str>) {
        if let Some(file) = self.list.get_mut(id.0 as usize) {
            file.text = Some(text);
        }
    }

    pub(crate) fn path(&self, id: FileId) -> &Path {
        self.list.get(id.0 as usize).map_or(Path::new(""), |file| &file.path)
    }

    /// The folder of a file: relative names in it start there.
    pub(crate) fn folder(&self, id: FileId) -> &Path {
        self.path(id).parent().unwrap_or(Path::new(""))
    }

    /// One line of a file, if it has been read.
    pub(crate) fn line(&self, id: FileId, line: u32) -> Option<String> {
        let text = self.list.get(id.0 as usize)?.text.as_deref()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        text.lines().nth((line as usize).checked_sub(1)?).map(str::to_owned)
    }

    /// `file:line:column`.
    pub(crate) fn show(&self, place: &Place) -> String {
        format!("{}:{}:{}", self.path(place.file).display(), place.line, place.column)
    }

    /// The texts that were read, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|file| file.text.as_deref())
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.list.iter().filter(|file| file.text.is_some()).map(|file| file.path.as_path())
    }
}
