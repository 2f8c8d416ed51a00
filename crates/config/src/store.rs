//! Where files come from: the disk, within limits, or memory.
//!
//! Loading only ever asks a [`Store`], so that tests and the fuzz target need no disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

/// Where files come from.
pub(crate) trait Store: Sync {
    /// The text of a file of at most `bytes_max` bytes.
    fn read(&self, path: &Path, bytes_max: u64) -> Result<String, ReadError>;
    /// The files that a pattern names, sorted, at most `files_max` and one more.
    fn glob(&self, dir: &Path, pattern: &str, files_max: usize) -> Result<Vec<PathBuf>, String>;
    /// Whether there is such a file.
    fn is_file(&self, path: &Path) -> bool;
    /// Whether there is such a folder.
    fn is_folder(&self, path: &Path) -> bool;
    /// Whether a file could be read: the bits of its mode (none where files have none), or why it could not.
    fn look(&self, path: &Path) -> Result<u32, String>;
    /// One path for each file, however it is reached.
    fn identity(&self, path: &Path) -> PathBuf;
}

/// Why a file could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Unreadable(String),
    TooLarge,
    /// The line that is no UTF-8.
    NotUtf8(u32),
}

/// The file system.
pub(crate) struct Disk;

impl Store for Disk {
    fn read(&self, path: &Path, bytes_max: u64) -> Result<String, ReadError> {
        let unreadable = |error: std::io::Error| ReadError::Unreadable(error.to_string());
        // A pipe or a device would block, or never end.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(ReadError::Unreadable("this is no regular file".into()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > bytes_max {
            return Err(ReadError::TooLarge);
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            ReadError::NotUtf8(u32::try_from(line).unwrap_or(u32::MAX))
        })
    }

    fn glob(&self, dir: &Path, pattern: &str, files_max: usize) -> Result<Vec<PathBuf>, String> {
        // Only the pattern may have wildcards, not the folder it stands in.
        let dir = glob::Pattern::escape(&dir.to_string_lossy());
        let full = Path::new(&dir).join(pattern);
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let found =
            glob::glob_with(&full.to_string_lossy(), options).map_err(|error| error.msg.to_owned())?;
        let mut paths: Vec<PathBuf> =
            found.flatten().filter(|path| path.is_file()).take(files_max + 1).collect();
        paths.sort();
        Ok(paths)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn look(&self, path: &Path) -> Result<u32, String> {
        let metadata = path.metadata().map_err(|error| error.to_string())?;
        // Opening a pipe would wait for its other end.
        if !metadata.is_file() {
            return Err("this is no regular file".to_owned());
        }
        File::open(path).map_err(|error| error.to_string())?;
        Ok(metadata.permissions().mode())
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| plain(path))
    }
}

/// One file whose text is at hand; all that it names is on the disk.
pub(crate) struct AtHand<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl Store for AtHand<'_> {
    fn read(&self, path: &Path, bytes_max: u64) -> Result<String, ReadError> {
        if path != self.path {
            return Disk.read(path, bytes_max);
        }
        if self.text.len() as u64 > bytes_max { Err(ReadError::TooLarge) } else { Ok(self.text.to_owned()) }
    }

    fn glob(&self, dir: &Path, pattern: &str, files_max: usize) -> Result<Vec<PathBuf>, String> {
        Disk.glob(dir, pattern, files_max)
    }

    fn is_file(&self, path: &Path) -> bool {
        path == self.path || Disk.is_file(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        Disk.is_folder(path)
    }

    fn look(&self, path: &Path) -> Result<u32, String> {
        if path == self.path { Ok(0) } else { Disk.look(path) }
    }

    fn identity(&self, path: &Path) -> PathBuf {
        if path == self.path { plain(path) } else { Disk.identity(path) }
    }
}

/// Files in memory, by path.
pub(crate) struct Memory(pub(crate) BTreeMap<PathBuf, String>);

impl Store for Memory {
    fn read(&self, path: &Path, bytes_max: u64) -> Result<String, ReadError> {
        let text =
            self.0.get(&plain(path)).ok_or_else(|| ReadError::Unreadable("there is no such file".into()))?;
        if text.len() as u64 > bytes_max { Err(ReadError::TooLarge) } else { Ok(text.clone()) }
    }

    fn glob(&self, dir: &Path, pattern: &str, files_max: usize) -> Result<Vec<PathBuf>, String> {
        let full = dir.join(pattern);
        let compiled = glob::Pattern::new(&full.to_string_lossy()).map_err(|error| error.msg.to_owned())?;
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        let found = self.0.keys().filter(|path| compiled.matches_path_with(path, options));
        Ok(found.take(files_max + 1).cloned().collect())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.contains_key(&plain(path))
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.0.keys().any(|known| known.starts_with(plain(path)))
    }

    fn look(&self, path: &Path) -> Result<u32, String> {
        if self.is_file(path) { Ok(0) } else { Err("there is no such file".to_owned()) }
    }

    fn identity(&self, path: &Path) -> PathBuf {
        plain(path)
    }
}

/// Without `.` and, where the parent is known, `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
