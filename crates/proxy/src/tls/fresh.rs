//! Files that change are loaded again.
//!
//! The control side comes by every few seconds and compares what the file system says of each file. Polling and not
//! a notification, because certificates come by renames, symbolic links and mounts, of which each kind of
//! notification misses another. What does not load (half written, expired, a key of another certificate) changes
//! nothing; it is tried again each time until it does, and said once.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::TlsError;

/// What the file system says of a file: any change of its content changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
        })
    }
}

/// What was last seen of some files.
#[derive(Debug)]
pub struct Fresh {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stamps: Vec<Option<Stamp>>,
    failing: Option<TlsError>,
}

/// What looking at the files came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing to say.
    Same,
    /// They have changed and are in use.
    Loaded,
    /// They have changed and cannot be used; the old ones go on. Said once for each reason.
    Refused(TlsError),
}

impl Fresh {
    /// Notes the files as they are. To be called before they are read, so that a change while they are is not missed.
    pub fn new<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        let stamps = paths.map(Stamp::of).collect();
        Self { state: Mutex::new(State { stamps, failing: None }) }
    }

    /// Loads again if one of the files has changed, or if the last try failed.
    pub fn look<'a>(
        &self,
        paths: impl Iterator<Item = &'a Path>,
        reload: impl FnOnce() -> Result<(), TlsError>,
    ) -> Looked {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<_> = paths.map(Stamp::of).collect();
        if stamps == state.stamps && state.failing.is_none() {
            return Looked::Same;
        }
        state.stamps = stamps;
        match reload() {
            Ok(()) => {
                state.failing = None;
                Looked::Loaded
            }
            Err(error) if state.failing.as_ref() == Some(&error) => Looked::Same,
            Err(error) => {
                state.failing = Some(error.clone());
                Looked::Refused(error)
            }
        }
    }
}
